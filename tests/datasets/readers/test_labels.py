"""Labels of datasets and of annotation servers: the same ids, whatever the file."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from integration import refused
from monai.data import MetaTensor
from oriented import ORIENTATIONS, SHAPE, oblique_affine, save, turned
from PIL import ExifTags, Image

from common.datasets.readers.labels import LoadLabeld
from common.datasets.readers.nifti import read_volume
from common.datasets.readers.series import SeriesReader, read_series
from common.datasets.readers.slices import LoadSliced
from common.datasets.readers.volumes import LoadVolumed

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

    @pytest.mark.parametrize("axes", ORIENTATIONS)
    def test_a_label_may_run_another_way_than_its_image(self, axes, tmp_path):
        ids = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
        label = save(turned(ids, oblique_affine(), axes), tmp_path / "label.nii")
        for way in ("LPS", "AIR"):
            image = turned(ids, oblique_affine(), way)
            whole = MetaTensor(torch.zeros(1, *image.shape), affine=image.affine, meta={"filename_or_obj": "scan"})
            np.testing.assert_array_equal(load(label, 3, image=whole), np.asarray(image.dataobj))

    def test_the_label_of_a_dicom_slice_is_turned_onto_it(self, tiny_phantoms, tmp_path):
        folder = tiny_phantoms("chaos") / "Train_Sets/CT/1/DICOM_anon"
        first, *_ = read_series(folder)
        image = LoadSliced("image")({"image": str(first.path)})["image"]
        ids = np.random.default_rng(0).integers(0, 2, (*image.shape[1:], 1)).astype(np.uint8)
        affine = SeriesReader().get_data(folder)[1]["affine"]
        for axes in ("LPS", "RAS", "SAL"):
            label = save(turned(ids, affine, axes), tmp_path / f"{axes}.nii")
            np.testing.assert_array_equal(load(label, 2, image=image), ids[..., 0])
        with refused(r"one\.nii: does not lie on its image .*\.dcm"):
            load(save(nibabel.Nifti1Image(ids, np.eye(4)), tmp_path / "one.nii"), 2, image=image)

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

    @pytest.mark.parametrize(("shift", "fits"), [(0.09, True), (0.11, False)])
    def test_a_label_more_than_a_tenth_of_a_voxel_away_from_its_image(self, shift, fits, tmp_path):
        moved = oblique_affine() @ np.array([[1, 0, 0, 0], [0, 1, 0, shift], [0, 0, 1, 0], [0, 0, 0, 1]])
        label = save(turned(np.ones(SHAPE, np.uint8), moved, "RIA"), tmp_path / "label.nii")
        meta = {"filename_or_obj": "the/scan"}
        image = MetaTensor(torch.zeros(1, *SHAPE), affine=oblique_affine(), meta=meta)
        if fits:
            assert load(label, 2, image=image).all()
            return
        with refused(r"label\.nii: does not lie on its image the/scan: they are up to 0\.11 voxels apart; resample"):
            load(label, 2, image=image)

    @pytest.mark.parametrize("header", ["neither", "sform"])
    def test_a_label_that_was_saved_without_the_place_of_its_image(self, header, tmp_path):
        affine = np.eye(4) if header == "sform" else oblique_affine()
        label = save(nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), affine), tmp_path / "label.nii", header)
        image = MetaTensor(torch.zeros(1, *SHAPE), affine=oblique_affine(), meta={"filename_or_obj": "scan"})
        with refused(r"label\.nii: does not lie on its image scan"):
            load(label, 2, image=image)

    def test_a_label_of_another_shape_than_its_volume(self, tmp_path):
        label = save(nibabel.Nifti1Image(np.ones((15, 9, 4), np.uint8), oblique_affine()), tmp_path / "label.nii")
        image = MetaTensor(torch.zeros(1, *SHAPE), affine=oblique_affine(), meta={"filename_or_obj": "scan"})
        with refused(r"label\.nii: is 15 x 9 x 4 voxels, but its image scan is 15 x 9 x 5"):
            load(label, 2, image=image)

    def test_two_files_without_a_place_agree(self, tmp_path):
        entry = {}
        for name in ("image", "label"):
            volume = nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), oblique_affine())
            entry[name] = str(save(volume, tmp_path / f"{name}.nii", "neither"))
        assert LoadLabeld("label", 2)(LoadVolumed("image")(entry))["label"].shape == (1, *SHAPE)

    def test_a_picture_that_viewers_turn(self, tmp_path):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        Image.fromarray(np.zeros((7, 11), np.uint8)).save(tmp_path / "image.jpg", exif=exif)
        Image.fromarray(np.zeros((11, 7), np.uint8)).save(tmp_path / "label.png")
        image = MetaTensor(torch.zeros(1, 11, 7), meta={"filename_or_obj": str(tmp_path / "image.jpg")})
        with refused(r"label\.png: is 7 x 11 pixels, but its image is 11 x 7; the EXIF orientation of the image"):
            load(tmp_path / "label.png", 2, image=image)

    @pytest.mark.parametrize("name", ["label.png", "label.nii.gz"])
    def test_a_missing_or_damaged_file(self, name, tmp_path):
        with refused(f"{name}: no such file"):
            load(tmp_path / name, 2)
        (tmp_path / name).write_bytes(b"no label")
        with refused(f"{name}: cannot be read as"):
            load(tmp_path / name, 2)
