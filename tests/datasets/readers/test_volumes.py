"""Whole volumes, of DICOM folders and NIfTI files."""

import logging
import shutil

import nibabel
import numpy as np
import pytest
from integration import refused
from monai.transforms import LoadImage
from oriented import SHAPE, oblique_affine, save, turned

from common.datasets.readers.series import SeriesReader
from common.datasets.readers.volumes import LoadVolumed, VolumeReader, check_volume
from common.errors import InputError

VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("chaos")


@pytest.fixture
def folder(pristine, tmp_path):
    """Two DICOM folders, one of them deep, and two NIfTI files."""
    shutil.copytree(pristine / "Test_Sets/CT/3", tmp_path / "mine" / "patient10")
    shutil.copytree(pristine / "Train_Sets/CT/1/DICOM_anon", tmp_path / "mine" / "patient9")
    for name in ("a.nii.gz", "b.nii"):
        nibabel.save(nibabel.Nifti1Image(VALUES, np.eye(4)), tmp_path / "mine" / name)
    (tmp_path / "mine" / "notes.txt").write_text("x")
    return tmp_path / "mine"


def test_reader_takes_dicom_folders_and_nifti_files_without_a_word(folder, caplog):
    """MONAI logs what sounds like a failure for every reader that it tries in vain."""
    with caplog.at_level(logging.INFO):
        load = LoadImage(reader=VolumeReader)
        caplog.clear()
        series, nifti = load(folder / "patient9"), load(folder / "a.nii.gz")
    assert not caplog.text
    expected, meta = SeriesReader().get_data(folder / "patient9")
    assert np.array_equal(series, expected)
    assert np.array_equal(series.affine, meta["affine"])
    assert np.array_equal(nifti, VALUES)


def test_reader_passes_on_what_is_wrong_with_a_series(folder):
    sorted((folder / "patient9").iterdir())[3].unlink()
    with pytest.raises(InputError, match="1 slice is missing"):
        LoadImage(reader=VolumeReader)(folder / "patient9")


@pytest.mark.parametrize("header", ["both", "sform", "qform", "different", "neither"])
def test_a_nifti_file_lies_where_nibabel_says(header, tmp_path):
    path = save(turned(np.ones(SHAPE, np.int16), oblique_affine(), "PIR"), tmp_path / "scan.nii", header)
    read = LoadImage(reader=VolumeReader)(path)
    np.testing.assert_array_equal(read.affine, nibabel.load(path).affine)
    np.testing.assert_array_equal(read.meta["original_affine"], nibabel.load(path).affine)


@pytest.mark.parametrize("kind", ["<u1", ">i2", "<i4", ">f4", "<f8"])
def test_values_are_nibabels_whatever_their_type_and_scale(kind, tmp_path):
    header = nibabel.Nifti1Header(endianness=kind[0])
    header.set_data_dtype(kind)
    header.set_slope_inter(2.5, -7) if kind[1] != "f" else None
    values = np.random.default_rng(0).integers(0, 50, SHAPE) * 2.5 - 7
    image = nibabel.Nifti1Image(values, oblique_affine(), header)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    read = LoadVolumed("image")({"image": str(tmp_path / "scan.nii.gz")})["image"]
    np.testing.assert_allclose(read[0], nibabel.load(tmp_path / "scan.nii.gz").get_fdata(), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ((15, 9), r"expected a volume of three axes, got shape \(15, 9\)"),
        ((15, 9, 5, 2), "holds 2 volumes, its shape is .*; save each by itself"),
        ((15, 9, 5, 1, 3), "expected a volume of three axes"),
    ],
)
def test_other_than_one_volume_is_refused(shape, problem, tmp_path):
    path = save(nibabel.Nifti1Image(np.ones(shape, np.int16), oblique_affine()), tmp_path / "scan.nii")
    with refused(rf"scan\.nii: {problem}"):
        LoadVolumed("image")({"image": str(path)})


@pytest.mark.parametrize("name", ["scan.img", "scan.bin", "scan"])
def test_nifti_under_another_name_is_told_apart(name, tmp_path):
    save(nibabel.Nifti1Image(np.ones(SHAPE, np.int16), oblique_affine()), tmp_path / name)
    with refused(rf"{name}: expected a volume, .* let its name end in \.nii"):
        check_volume(tmp_path / name)


def test_values_that_are_no_numbers_are_refused(tmp_path):
    values = np.ones(SHAPE)
    values[0, 0, 0] = 1e300  # is infinite as the network would see it
    for content, problem in ((values, "1 voxels are NaN or infinite"), (values.astype(complex), "one number a voxel")):
        nibabel.save(nibabel.Nifti1Image(content, oblique_affine()), tmp_path / "scan.nii")
        with refused(rf"scan\.nii: .*{problem}"):
            check_volume(tmp_path / "scan.nii")


@pytest.mark.parametrize("change", ["another checksum", "no end"])
def test_a_compressed_file_is_read_to_its_checksum(change, tmp_path):
    path = tmp_path / "scan.nii.gz"
    values = np.random.default_rng(0).uniform(1, 2, (40, 50, 60)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content if change == "another checksum" else content[:-8])
    assert np.asarray(nibabel.load(path).dataobj).all(), "nibabel does not look at it"
    with refused(r"scan\.nii\.gz: cannot be read as a NIfTI file, copy it again"):
        LoadVolumed("image")({"image": str(path)})


def test_a_volume_with_nothing_in_it_is_named(tmp_path, caplog):
    path = tmp_path / "empty.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), path)
    LoadVolumed("image")({"image": str(path)})
    assert [text for text in caplog.messages if "every voxel is 0" in text and str(path) in text]
