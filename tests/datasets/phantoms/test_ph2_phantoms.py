"""Phantoms of PH2: layout and formats, and what a dermoscope looks like."""

from collections import Counter
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from common.datasets.ph2 import PH2Dataset
from common.datasets.phantoms.ph2 import write_phantoms
from common.errors import InputError

SIZE = (60, 80)


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("ph2")


def entries_of(folder, split, **settings):
    return PH2Dataset(root=folder, **settings).entries(split)


def image_path(folder, name="IMD004"):
    return folder / "PH2 Dataset images" / name / f"{name}_Dermoscopic_Image" / f"{name}.bmp"


def label_path(folder, name="IMD004"):
    return folder / "PH2 Dataset images" / name / f"{name}_lesion" / f"{name}_lesion.bmp"


def names_of(entries):
    return [Path(entry["image"]).stem for entry in entries]


def test_phantoms_have_the_layout_and_formats_of_ph2(pristine):
    names = [f"IMD{number:03d}" for number in range(2, 22)]
    expected = {"PH2_dataset.xlsx", "PH2_dataset.txt"}
    expected |= {path_of(Path(), name).as_posix() for path_of in (image_path, label_path) for name in names}
    assert {path.relative_to(pristine).as_posix() for path in pristine.rglob("*.*")} == expected
    modes = Counter()
    for name in names:
        image, label = Image.open(image_path(pristine, name)), Image.open(label_path(pristine, name))
        assert (image.format, image.mode, label.format) == ("BMP", "RGB", "BMP")
        assert image.size == label.size
        modes[label.mode] += 1
    assert modes == {"1": 19, "RGB": 1}
    assert len({Image.open(image_path(pristine, name)).size for name in names}) > 3


def test_phantom_tables_hold_every_image(pristine):
    rows = list(openpyxl.load_workbook(pristine / "PH2_dataset.xlsx").active.values)
    assert rows[12][:5] == ("Image Name", "Histological Diagnosis", "Common Nevus", "Atypical Nevus", "Melanoma")
    assert sorted(row[0] for row in rows[13:]) == [f"IMD{number:03d}" for number in range(2, 22)]
    lines = (pristine / "PH2_dataset.txt").read_text().splitlines()[1:]
    codes = {fields[1].strip(): int(fields[3]) for fields in (line.split("||") for line in lines)}
    assert codes == {row[0]: row[2:5].index("X") for row in rows[13:]}


def test_same_seed_writes_the_same_pixels_and_another_seed_others(pristine, tmp_path):
    again = write_phantoms(tmp_path / "again", 2, SIZE)
    other = write_phantoms(tmp_path / "other", 2, SIZE, seed=1)
    for path_of in (image_path, label_path):
        expected = path_of(pristine, "IMD003").read_bytes()
        assert path_of(again, "IMD003").read_bytes() == expected
        assert path_of(other, "IMD003").read_bytes() != expected


def test_existing_dataset_is_not_overwritten_by_phantoms(pristine):
    with pytest.raises(InputError, match="exists already"):
        write_phantoms(pristine, 1, SIZE)


def test_phantom_lesions_are_darker_than_the_skin_around_them(pristine):
    for name in names_of(entries_of(pristine, "training")):
        image = np.asarray(Image.open(image_path(pristine, name)), float)
        lesion = np.asarray(Image.open(label_path(pristine, name)).convert("L")) > 0
        ring = binary_dilation(lesion, iterations=6) & ~binary_dilation(lesion, iterations=2)
        assert image[lesion].mean() < 0.85 * image[ring].mean()


def test_phantom_lesions_are_off_the_centre_and_asymmetric(pristine):
    """A flip or a turn that is applied to the image alone must not go unnoticed."""
    for name in names_of(entries_of(pristine, "training")):
        lesion = np.asarray(Image.open(label_path(pristine, name)).convert("L")) > 0
        for flipped in (lesion[::-1], lesion[:, ::-1], lesion[::-1, ::-1]):
            assert (lesion != flipped).sum() > 0.03 * lesion.sum()
