"""Masks of volumes are written where their images lie, to the last bit of the header."""

from __future__ import annotations

import errno
import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd
from oriented import SHAPE, oblique_affine, registered, save, turned

from common.datasets.readers.series import SeriesReader
from common.datasets.readers.volumes import LoadVolumed
from common.errors import InputError
from common.transforms.save_volume_masks import SaveVolumeMaskd

VALUES = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.int16)


def write_mask(source: Path, folder: Path, edit: Any = None) -> Path:
    """Read a volume, let a network that returns what it sees segment it, and write the mask."""
    read = Compose([LoadVolumed("image"), Orientationd("image", axcodes="LPS", labels=None)])
    data = read({"image": str(source)})
    data["pred"] = data["image"].clone()
    undone = Invertd("pred", read, orig_keys="image")(data)
    if edit is not None:
        undone["pred"] = edit(undone["pred"])
    SaveVolumeMaskd("pred", output_dir=folder, output_ext=".nii.gz", output_postfix="mask", separate_folder=False)(
        undone
    )
    return folder / f"{source.name.split('.')[0]}_mask.nii.gz"


@pytest.mark.parametrize("header", ["both", "sform", "qform", "different", "neither"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_mask_and_image_have_the_same_geometry_in_the_same_kind_of_file(kind, header, tmp_path):
    image = turned(VALUES, oblique_affine(), "PIR")
    path = save(kind(np.asarray(image.dataobj), image.affine), tmp_path / "scan.nii", header)
    image, mask = nibabel.load(path), nibabel.load(write_mask(path, tmp_path / "masks"))
    assert type(mask) is type(image)
    assert type(mask) is kind
    np.testing.assert_array_equal(mask.affine, image.affine)
    for name in set(image.header) - {"datatype", "bitpix", "scl_slope", "scl_inter"}:
        np.testing.assert_array_equal(mask.header[name], image.header[name], name)
    np.testing.assert_array_equal(mask.dataobj, image.dataobj)


@pytest.mark.parametrize("shape", [(15, 9, 1), (15, 1, 5), (1, 9, 5), (15, 9, 5, 1), (15, 9, 5, 1, 1)])
def test_axes_of_length_one_are_kept(shape, tmp_path):
    ids = np.resize(VALUES, shape)
    path = save(nibabel.Nifti1Image(ids, oblique_affine()), tmp_path / "scan.nii")
    mask = nibabel.load(write_mask(path, tmp_path / "masks"))
    assert mask.shape == shape
    np.testing.assert_array_equal(mask.dataobj, ids)
    np.testing.assert_array_equal(mask.affine, nibabel.load(path).affine)


def test_sheared_volumes_keep_what_no_qform_holds(tmp_path):
    path = save(nibabel.Nifti1Image(VALUES, registered(oblique_affine())), tmp_path / "scan.nii", "sform")
    mask = nibabel.load(write_mask(path, tmp_path / "masks"))
    np.testing.assert_array_equal(mask.affine, nibabel.load(path).affine)
    assert mask.header["qform_code"] == 0


def test_the_mask_of_a_dicom_folder_lies_where_its_slices_do(tiny_phantoms, tmp_path):
    folder = tiny_phantoms("chaos") / "Train_Sets/CT/1/DICOM_anon"
    ids, meta = SeriesReader().get_data(folder)
    mask = nibabel.load(write_mask(folder, tmp_path, edit=lambda pred: (pred > 0).byte()))
    np.testing.assert_array_equal(mask.affine, meta["affine"].astype(np.float32))
    np.testing.assert_array_equal(mask.dataobj, ids > 0)
    np.testing.assert_allclose(mask.get_qform(), meta["affine"], atol=1e-4)
    assert (int(mask.header["sform_code"]), int(mask.header["qform_code"])) == (1, 1)
    assert mask.header.get_xyzt_units()[0] == "mm"


def test_the_mask_of_a_tilted_gantry_has_no_qform(tmp_path):
    (tmp_path / "series").mkdir()
    sheared = oblique_affine() @ np.array([[1, 0, 0, 0], [0, 1, 0.4, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    meta = {"filename_or_obj": str(tmp_path / "series"), "original_affine": torch.tensor(sheared)}
    pred = MetaTensor(torch.zeros(1, *SHAPE, dtype=torch.uint8), affine=sheared, meta=meta)
    SaveVolumeMaskd("pred", output_dir=tmp_path, output_ext=".nii.gz", separate_folder=False)({"pred": pred})
    mask = nibabel.load(next(tmp_path.glob("*.nii.gz")))
    assert mask.header["qform_code"] == 0
    np.testing.assert_allclose(mask.affine, sheared, atol=1e-4)


def test_the_same_mask_is_the_same_file(tmp_path):
    path = save(nibabel.Nifti1Image(VALUES, oblique_affine()), tmp_path / "scan.nii")
    first, second = (write_mask(path, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second
    assert first[3:8] == bytes(5), "neither a name nor a time"
    assert len(gzip.decompress(first)) == 352 + VALUES.size, "one byte a voxel"


def test_a_mask_of_another_shape_is_not_written(tmp_path):
    path = save(nibabel.Nifti1Image(VALUES, oblique_affine()), tmp_path / "scan.nii")
    with pytest.raises(ValueError, match=r"its mask is \(15, 9, 4\), but the image is \(15, 9, 5\)"):
        write_mask(path, tmp_path / "masks", edit=lambda pred: pred[..., :4])
    assert not list((tmp_path / "masks").glob("*"))


def test_a_full_disk_leaves_the_earlier_mask(tmp_path, monkeypatch):
    path = save(nibabel.Nifti1Image(VALUES, oblique_affine()), tmp_path / "scan.nii")
    mask = write_mask(path, tmp_path / "masks")
    before = mask.read_bytes()

    def fail(self, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gzip.GzipFile, "write", fail)
    with pytest.raises(InputError, match="no space left"):
        write_mask(path, tmp_path / "masks")
    assert [each.read_bytes() for each in (tmp_path / "masks").iterdir() if each.is_file()] == [before]
