"""Phantoms of DRIVE: layout and formats, and what a fundus looks like."""

import filecmp

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, distance_transform_edt

from common.datasets.drive import DriveDataset
from common.datasets.phantoms.drive import write_phantoms
from common.errors import InputError

SIZE = (96, 92)


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("drive")


def check(folder, **settings):
    return DriveDataset(root=folder, **settings).check()


def read_array(path):
    return np.asarray(Image.open(path))


def test_phantoms_have_the_layout_and_formats_of_drive(pristine):
    expected = {
        f"{part}/{name.format(number)}"
        for part, numbers in (("training", range(21, 29)), ("test", ("01", "02", "03")))
        for name in (f"images/{{}}_{part}.tif", f"mask/{{}}_{part}_mask.gif", "1st_manual/{}_manual1.gif")
        for number in numbers
    }
    assert {path.relative_to(pristine).as_posix() for path in pristine.rglob("*.*")} == expected
    image = Image.open(pristine / "training/images/21_training.tif")
    assert (image.format, image.mode, image.size) == ("TIFF", "RGB", SIZE[::-1])
    for path in ("training/1st_manual/21_manual1.gif", "test/mask/01_test_mask.gif"):
        mask = Image.open(pristine / path)
        assert (mask.format, mask.mode, mask.size) == ("GIF", "L", SIZE[::-1])
        assert np.unique(mask).tolist() == [0, 255]


def test_test_labels_can_be_withheld_as_in_the_present_release(tmp_path):
    root = write_phantoms(tmp_path / "DRIVE", 5, 1, SIZE, test_labels=False)
    assert (root / "test" / "images" / "01_test.tif").is_file()
    assert not (root / "test" / "1st_manual").exists()
    assert check(root) == {"training": 2, "validation": 2, "test": 1}


def test_same_seed_writes_the_same_bytes_and_another_seed_others(pristine, tmp_path):
    again = write_phantoms(tmp_path / "again", 8, 3, SIZE)
    other = write_phantoms(tmp_path / "other", 2, 1, SIZE, seed=1)
    names = [path.relative_to(pristine) for path in pristine.rglob("*.*")]
    assert filecmp.cmpfiles(pristine, again, names, shallow=False)[0] == names
    images = sorted(path.relative_to(other) for path in other.rglob("*.tif"))
    assert filecmp.cmpfiles(pristine, other, images, shallow=False)[1] == images


def test_phantoms_differ_from_each_other(pristine):
    labels = {read_array(path).tobytes() for path in pristine.rglob("*_manual1.gif")}
    assert len(labels) == 11


def test_existing_dataset_is_not_overwritten_by_phantoms(pristine):
    before = (pristine / "training/images/21_training.tif").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        write_phantoms(pristine, 1, 1, SIZE, seed=5)
    assert (pristine / "training/images/21_training.tif").read_bytes() == before


@pytest.fixture(scope="module")
def full_size(tmp_path_factory):
    root = write_phantoms(tmp_path_factory.mktemp("full") / "DRIVE", num_training=1, num_test=2)
    entries = [("training", "21"), ("test", "01"), ("test", "02")]
    return [
        (
            read_array(root / part / "images" / f"{number}_{part}.tif").astype(float),
            read_array(root / part / "1st_manual" / f"{number}_manual1.gif") > 0,
            read_array(root / part / "mask" / f"{number}_{part}_mask.gif") > 0,
        )
        for part, number in entries
    ]


def test_phantom_vessels_are_darker_than_what_surrounds_them(full_size):
    for image, vessels, field in full_size:
        ring = binary_dilation(vessels, iterations=6) & ~binary_dilation(vessels, iterations=2) & field
        contrast = image[vessels].mean(0) / image[ring].mean(0)
        assert contrast[1] < 0.95, "vessels show best in green"
        assert contrast[1] == contrast.min()


def test_phantom_vessels_have_several_widths_and_thin_ones_are_fainter(full_size):
    for image, vessels, _ in full_size:
        depth = distance_transform_edt(vessels)
        assert 3.5 <= depth.max() <= 12
        wide = binary_dilation(depth > 2.5, iterations=3) & vessels
        thin = vessels & ~wide
        assert min(thin.mean(), wide.mean()) > 0.01

        def contrast(part, green=image[..., 1], vessels=vessels):
            ring = binary_dilation(part, iterations=6) & ~binary_dilation(vessels, iterations=2)
            return green[ring].mean() / green[part].mean()

        assert 1.0 < contrast(thin) < contrast(wide)


def test_phantom_vessels_cover_the_share_that_drive_has(full_size):
    for _, vessels, field in full_size:
        assert not (vessels & ~field).any()
        assert 0.07 < vessels[field].mean() < 0.17  # 0.12 in DRIVE


def test_phantom_is_black_outside_its_round_field(full_size):
    for image, _, field in full_size:
        assert image[~binary_dilation(field, iterations=2)].max() < 20
        assert image[field].mean() > 50
        assert 0.65 < field.mean() < 0.72  # 0.69 in DRIVE
