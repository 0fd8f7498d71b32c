"""Phantoms of KidneyUS: layout and formats, and what ultrasound looks like."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.datasets.kidneyus import KidneyUSDataset
from common.datasets.phantoms.kidneyus import write_phantoms
from common.datasets.readers.kidneyus import TASKS, read_label
from common.datasets.splits import SPLITS
from common.errors import InputError

SIZE = (120, 160)


IMAGES = "kidneyUS_images_14_june_2022"


def names_in(folder):
    return sorted(path.name for path in (folder / IMAGES).iterdir())


def mask_path(folder, name, kind="regions", number=1):
    return folder / "labels" / f"reviewed_masks_{number}" / kind / name


def read_array(path):
    return np.asarray(Image.open(path))


def entries_of(folder, split, **settings):
    return KidneyUSDataset(root=folder, **settings).entries(split)


def all_entries(folder, **arguments):
    return [entry for split in SPLITS for entry in entries_of(folder, split, **arguments)]


def test_phantoms_have_the_layout_and_formats_of_kidneyus(pristine):
    names = names_in(pristine)
    assert len(names) == 12
    expected = {f"{IMAGES}/{name}" for name in names} | {f"labels/reviewed_labels_{number}.csv" for number in (1, 2)}
    expected |= {
        mask_path(Path(), name, kind, number).as_posix()
        for name in names
        for kind in ("capsule", "regions")
        for number in (1, 2)
    }
    assert {path.relative_to(pristine).as_posix() for path in pristine.rglob("*.*")} == expected
    assert len({Image.open(pristine / IMAGES / name).size for name in names}) > 8
    assert {Image.open(path).mode for path in (pristine / "labels").rglob("*.png")} == {"L"}


def test_phantom_table_is_written_as_the_annotator_does(pristine):
    lines = (pristine / "labels" / "reviewed_labels_1.csv").read_text().splitlines()
    columns = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    assert lines[0] == columns
    assert '"{""name"":""polygon"",""all_points_x"":[' in lines[1]
    assert lines[1].endswith('"{""Anatomy"":""Capsule""}"')


def test_every_split_shows_every_class(pristine):
    for split in SPLITS:
        entries = entries_of(pristine, split, task="all", annotator="intersection")
        shown = {value for entry in entries for value in np.unique(read_label(entry["label"])).tolist()}
        assert shown == set(TASKS["all"])


def test_same_seed_writes_the_same_bytes_and_another_seed_others(pristine, tmp_path):
    again = write_phantoms(tmp_path / "again", 1, SIZE)
    other = write_phantoms(tmp_path / "other", 1, SIZE, seed=1)
    (name,) = names_in(again)
    assert (again / IMAGES / name).read_bytes() == (pristine / IMAGES / name).read_bytes()
    assert mask_path(again, name).read_bytes() == mask_path(pristine, name).read_bytes()
    assert (other / IMAGES / names_in(other)[0]).read_bytes() != (again / IMAGES / name).read_bytes()


def test_existing_dataset_is_not_overwritten_by_phantoms(pristine):
    with pytest.raises(InputError, match="exists already"):
        write_phantoms(pristine, 1, SIZE)


@pytest.fixture(scope="module")
def half_size(tmp_path_factory):
    root = write_phantoms(tmp_path_factory.mktemp("half") / "KidneyUS", 3, (384, 512))
    entries = all_entries(root, num_validation=1, task="all", annotator="intersection")
    pairs = [(read_array(entry["image"]).astype(float), read_label(entry["label"])) for entry in entries]
    return [pair for pair in pairs if pair[0].ndim == 2]


def test_phantom_structures_differ_in_brightness(half_size):
    for image, label in half_size:
        background, echo_complex, medulla, cortex, other = (image[label == value].mean() for value in range(5))
        inside = image[(label == 0) & (image > 0)].mean()
        assert medulla < other < cortex < echo_complex
        assert cortex < 0.95 * inside
        assert background < inside


def test_phantom_is_black_outside_a_sector(half_size):
    for image, label in half_size:
        field = image > 0
        height, width = image.shape
        assert not field[-height // 50 :, : width // 8].any()
        assert not field[: height // 2, : width // 8].any()
        assert 0.3 < field.mean() < 0.7
        assert not label[~np.maximum.accumulate(field, axis=0)].any()


def test_phantom_speckle_is_granular(half_size):
    """Its deviation is a sizeable part of its mean, and neighbouring pixels are alike but distant ones are not."""
    for image, label in half_size:
        echo_complex = np.where(label == 1, image, np.nan)
        deviation = echo_complex - np.nanmean(echo_complex)
        assert np.nanstd(echo_complex) > 0.1 * np.nanmean(echo_complex)
        near, far = (np.nanmean(deviation[:, step:] * deviation[:, :-step]) for step in (1, 12))
        assert near > 0.5 * np.nanvar(echo_complex)
        assert abs(far) < 0.3 * np.nanvar(echo_complex)


def test_phantom_labels_are_asymmetric(half_size):
    """A flip or a turn that is applied to the image alone must not go unnoticed."""
    for _, label in half_size:
        for flipped in (label[::-1], label[:, ::-1], label[::-1, ::-1]):
            assert (label != flipped).sum() > 0.2 * (label > 0).sum()


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("kidneyus")
