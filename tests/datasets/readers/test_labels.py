"""Labels of datasets and of annotation servers: the same ids, whatever the file."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from integration import refused
from PIL import Image

from common.datasets.readers.labels import LoadLabeld
from common.datasets.readers.nifti import read_volume

IDS = np.zeros((7, 11), np.uint8)  # (H, W)
IDS[:3, :2] = 1
IDS[5:, 4:] = 2


def load(path: Path, num_classes: int | None, **entry) -> np.ndarray:
    """Return the label ``(W, H)``."""
    return np.asarray(LoadLabeld("label", num_classes)({"label": str(path), **entry})["label"][0])


def save_nifti(path: Path, values: np.ndarray, axes: str = "LPS") -> Path:
    """Save a volume that is given in LPS with its axes running elsewhere."""
    volume = nibabel.Nifti1Image(values, np.diag([-1.0, -1.0, 2.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(volume.affine), nibabel.orientations.axcodes2ornt(axes)
    )
    nibabel.save(volume.as_reoriented(turn), path)
    return path


class TestFormats:
    @pytest.mark.parametrize("name", ["ids.png", "ids.tif", "ids.bmp"])
    def test_images_of_ids(self, name, tmp_path):
        Image.fromarray(IDS).save(tmp_path / name)
        np.testing.assert_array_equal(load(tmp_path / name, 3), IDS.T)

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
    def test_masks_of_black_and_white(self, mode, tmp_path):
        inside = IDS > 0
        if mode == "P":
            mask = Image.fromarray(inside.astype(np.uint8)).convert("P")
            mask.putpalette([0, 0, 0, 255, 255, 255])
        else:
            mask = Image.fromarray(inside.astype(np.uint8) * 255).convert(mode)
        mask.save(tmp_path / "mask.png")
        np.testing.assert_array_equal(load(tmp_path / "mask.png", 2), inside.T)

    @pytest.mark.parametrize("shape", [(11, 7), (11, 7, 1)])
    def test_the_nifti_file_of_a_picture_stays_as_it_is_whatever_its_affine(self, shape, tmp_path):
        for sign in (1.0, -1.0):
            volume = nibabel.Nifti1Image(IDS.T.reshape(shape), np.diag([sign, sign, 1.0, 1.0]))
            nibabel.save(volume, tmp_path / "ids.nii.gz")
            image = torch.zeros(3, 11, 7)
            np.testing.assert_array_equal(load(tmp_path / "ids.nii.gz", 3, image=image), IDS.T)

    @pytest.mark.parametrize("axes", ["LPS", "RAS", "SPR"])
    def test_volumes_are_turned_as_their_images_are(self, axes, tmp_path):
        values = np.stack([IDS.T, 2 * (IDS.T == 1), 0 * IDS.T], axis=-1).astype(np.uint8)
        path = save_nifti(tmp_path / "ids.nii.gz", values, axes)
        np.testing.assert_array_equal(load(path, 3, image=torch.zeros(1, 11, 7, 3)), values)
        np.testing.assert_array_equal(load(path, 3, slice=1, image=torch.zeros(1, 11, 7)), values[..., 1])

    def test_a_file_that_has_changed_is_read_again(self, tmp_path):
        for number in (1, 2):
            path = save_nifti(tmp_path / "volume.nii", np.full((3, 4, 5), number, np.uint8))
            assert read_volume(path).values.max() == number


class TestRefused:
    @pytest.mark.parametrize(("value", "classes"), [(7, 2), (7, 4), (255, 4), (127, 2)])
    def test_a_class_that_the_model_does_not_have(self, value, classes, tmp_path):
        wrong = IDS.copy() // 2
        wrong[0, 0] = value
        Image.fromarray(wrong).save(tmp_path / "wrong.png")
        with refused(
            rf"wrong\.png: has pixels of class {value}, which the model does not have; expected class ids from 0 to "
            f"{classes - 1}$"
        ):
            load(tmp_path / "wrong.png", classes)

    def test_ids_and_white_in_one_mask(self, tmp_path):
        Image.fromarray(IDS // 2 + np.uint8(255) * (IDS == 1)).save(tmp_path / "wrong.png")
        with refused("has pixels of class 255"):
            load(tmp_path / "wrong.png", 2)

    def test_another_size_than_the_image(self, tmp_path):
        Image.fromarray(IDS).save(tmp_path / "ids.png")
        with refused(r"ids\.png: is 11 x 7 pixels, but its image is 7 x 11"):
            load(tmp_path / "ids.png", 3, image=torch.zeros(3, 7, 11))

    @pytest.mark.parametrize("name", ["label.png", "label.nii.gz"])
    def test_a_missing_or_damaged_file(self, name, tmp_path):
        with refused(f"{name}: no such file"):
            load(tmp_path / name, 2)
        (tmp_path / name).write_bytes(b"no label")
        with refused(f"{name}: cannot be read as"):
            load(tmp_path / name, 2)
