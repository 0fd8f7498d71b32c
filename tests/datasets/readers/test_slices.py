"""Slices of volumes."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from integration import refused
from monai.transforms import Compose
from oriented import ORIENTATIONS, SHAPE, oblique_affine, save, turned
from PIL import Image

from common.datasets.readers.chaos import LoadGroundd
from common.datasets.readers.slices import LoadSliced, SliceDataset


def save_nifti(path: Path, values: np.ndarray, axes: str = "LPS") -> Path:
    """Save a volume that is given in LPS with its axes running elsewhere."""
    volume = nibabel.Nifti1Image(values, np.diag([-1.0, -1.0, 2.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(volume.affine), nibabel.orientations.axcodes2ornt(axes)
    )
    nibabel.save(volume.as_reoriented(turn), path)
    return path


class TestSlices:
    def test_a_volume_stands_for_its_slices_and_a_slice_for_itself(self, tiny_phantoms, tmp_path):
        values = np.random.default_rng(0).normal(size=(11, 7, 3)).astype(np.float32)
        ids = np.random.default_rng(1).integers(0, 5, (11, 7, 3)).astype(np.uint8)
        volume = {
            "image": str(save_nifti(tmp_path / "image.nii.gz", values, "PIR")),
            "label": str(save_nifti(tmp_path / "label.nii.gz", ids, "RAS")),
        }
        patient = tiny_phantoms("chaos") / "Train_Sets" / "MR"
        image = next(patient.glob("*/T2SPIR/DICOM_anon/*.dcm"))
        label = image.parents[1] / "Ground" / f"{image.stem}.png"
        dataset = SliceDataset(
            [volume, {"image": str(image), "label": str(label)}],
            transform=lambda entry: LoadGroundd("label", "t2")(LoadSliced("image")(entry)),
            progress=False,
        )
        assert len(dataset) == 4
        for index in range(3):
            np.testing.assert_array_equal(dataset[index]["image"][0], values[..., index])
            np.testing.assert_array_equal(dataset[index]["label"][0], ids[..., index])
        grey = np.asarray(Image.open(label)).T
        np.testing.assert_array_equal(dataset[3]["label"][0], np.round(grey / 63))
        assert dataset[3]["image"].shape == (1, *grey.shape)

    @pytest.mark.parametrize("axes", ORIENTATIONS)
    def test_slices_are_axial_whichever_way_image_and_label_run(self, axes, tmp_path):
        values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
        ids = np.random.default_rng(1).integers(0, 5, SHAPE).astype(np.uint8)
        entry = {
            "image": str(save(turned(values, oblique_affine(), axes), tmp_path / "image.nii", "different")),
            "label": str(save(turned(ids, oblique_affine(), axes[::-1]), tmp_path / "label.nii", "sform")),
        }
        load = Compose([LoadSliced("image"), LoadGroundd("label", "t2")])
        for index, item in enumerate(SliceDataset([entry], transform=load, progress=False)):
            np.testing.assert_array_equal(item["image"][0], values[..., index])
            np.testing.assert_array_equal(item["label"][0], ids[..., index])

    def test_a_label_that_lies_elsewhere_is_refused_before_any_work(self, tmp_path):
        volume = nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), oblique_affine())
        image = str(save(volume, tmp_path / "image.nii"))
        for name, values, affine in (
            ("identity", np.zeros(SHAPE, np.uint8), np.eye(4)),
            ("mirrored", np.zeros(SHAPE, np.uint8), np.diag([-1, 1, 1, 1]) @ oblique_affine()),
            ("cropped", np.zeros((15, 9, 4), np.uint8), oblique_affine()),
        ):
            label = str(save(nibabel.Nifti1Image(values, affine), tmp_path / f"{name}.nii"))
            with refused(rf"{name}\.nii: .* its image .*image\.nii"):
                SliceDataset([{"image": image, "label": label}])

    def test_a_header_that_contradicts_itself_is_logged_once(self, tmp_path, caplog):
        volume = nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), oblique_affine())
        image = str(save(volume, tmp_path / "image.nii", "sform"))
        SliceDataset([{"image": image}] * 3, transform=LoadSliced("image"), progress=False)
        assert caplog.text.count("by pixdim: the sform counts") == 1

    def test_a_picture_is_no_volume(self, tmp_path):
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5), np.uint8), np.eye(4)), tmp_path / "flat.nii")
        with refused(r"flat\.nii: expected a volume of three axes, got shape \(4, 5\)"):
            SliceDataset([{"image": str(tmp_path / "flat.nii")}])
