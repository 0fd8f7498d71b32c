"""Phantoms of Autooral: layout and formats, and what a mouth looks like."""

from pathlib import Path

import numpy as np
import openpyxl
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from common.datasets.autooral import AutooralDataset
from common.datasets.phantoms.autooral import write_phantoms
from common.errors import InputError

SIZE = (60, 80)
WORKBOOK = "Training Set disease classification.xlsx"


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("autooral")


def entries_of(folder, split, **settings):
    return AutooralDataset(root=folder, **settings).entries(split)


def image_path(folder, stem="0001", part="Train"):
    return folder / part / f"data_{part.lower()}" / f"{stem}.png"


def label_path(folder, stem="0001", part="Train"):
    return folder / part / f"mask_{part.lower()}" / f"{stem}.png"


def patients_in(folder):
    rows = list(openpyxl.load_workbook(folder / WORKBOOK).active.values)[1:]
    return {f"Train/{number:04d}": patient for patient, number in rows}


def test_phantoms_have_the_layout_and_formats_of_autooral(pristine):
    expected = {WORKBOOK}
    for part, count in (("Train", 12), ("Val", 3), ("Test", 4)):
        for path_of in (image_path, label_path):
            expected |= {path_of(Path(), f"{number:04d}", part).as_posix() for number in range(1, count + 1)}
    assert {path.relative_to(pristine).as_posix() for path in pristine.rglob("*.*")} == expected
    sizes = set()
    for number in range(1, 13):
        image, label = (Image.open(path_of(pristine, f"{number:04d}")) for path_of in (image_path, label_path))
        assert (image.mode, label.mode) == ("RGB", "L")
        assert image.size == label.size
        assert np.unique(label).tolist() == [0, 255]
        sizes.add(image.size)
    assert len(sizes) > 8


def test_phantom_workbook_has_patients_with_one_to_three_images(pristine):
    patients = list(patients_in(pristine).values())
    assert sorted(patients.count(patient) for patient in set(patients)) == [1, 1, 2, 2, 3, 3]


def test_same_seed_writes_the_same_pixels_and_another_seed_others(pristine, tmp_path):
    again = write_phantoms(tmp_path / "again", 1, 1, 1, SIZE)
    other = write_phantoms(tmp_path / "other", 1, 1, 1, SIZE, seed=1)
    for path_of in (image_path, label_path):
        assert path_of(again).read_bytes() == path_of(pristine).read_bytes()
        assert path_of(other).read_bytes() != path_of(pristine).read_bytes()
        assert path_of(again, part="Test").read_bytes() != path_of(pristine).read_bytes()


def test_existing_dataset_is_not_overwritten_by_phantoms(pristine):
    with pytest.raises(InputError, match="exists already"):
        write_phantoms(pristine, 1, 1, 1, SIZE)


def pairs(root):
    for entry in entries_of(root, "training"):
        yield np.asarray(Image.open(entry["image"]), float), np.asarray(Image.open(entry["label"])) > 0


def test_phantom_ulcers_are_paler_than_the_inflamed_mucosa_around_them(pristine):
    for image, ulcer in pairs(pristine):
        ring = binary_dilation(ulcer, iterations=5) & ~binary_dilation(ulcer, iterations=2)
        redness = [image[part, 0].mean() / image[part, 1].mean() for part in (ulcer, ring)]
        assert redness[0] < 0.85 * redness[1]
        assert 0.01 < ulcer.mean() < 0.25


def test_phantom_teeth_are_pale_but_no_ulcer(pristine):
    for image, ulcer in pairs(pristine):
        teeth = slice(0, len(image) // 20)
        assert not ulcer[teeth].any()
        assert image[teeth, :, 1].mean() > 1.1 * image[len(image) // 3 :, :, 1][~ulcer[len(image) // 3 :]].mean()


def test_phantom_ulcers_are_off_the_centre_and_asymmetric(pristine):
    """A flip or a turn that is applied to the image alone must not go unnoticed."""
    for _, ulcer in pairs(pristine):
        for flipped in (ulcer[::-1], ulcer[:, ::-1], ulcer[::-1, ::-1]):
            assert (ulcer != flipped).sum() > 0.1 * ulcer.sum()
