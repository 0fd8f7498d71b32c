"""DICOM series whose labels are a picture for each slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_slices import write_slice
from PIL import Image

from common.creation.drafts import draft_source
from common.creation.options import Options
from common.creation.places import find_places
from common.datasets.folder_volumes import FolderVolumeDataset
from common.datasets.readers.folder_labels import LoadFolderLabeld
from common.datasets.readers.slice_labels import read_slice_labels
from common.datasets.readers.volumes import LoadVolumed
from common.errors import InputError

SHAPE, DEPTH = (5, 6), 12  # rows and columns, slices
CLASSES = ("background", "liver")
BESIDE = {"images": ".", "image_suffix": "DICOM_anon", "label_suffix": "Ground"}
APART = {"images": "scans", "labels": "labels"}


def ids_of(number: int, index: int) -> np.ndarray:
    ids = np.zeros(SHAPE, np.uint8)
    ids[1 : 3 + number % 2, 1 : 2 + index % 4] = 1
    return ids


def write(root: Path, layout: dict[str, str], count: int = 5, flipped: bool = False) -> Path:
    """Write series whose names count on from feet to head, or the reverse, with a picture for each slice."""
    for number in range(count):
        apart = layout is APART
        images = root / (f"scans/P{number}" if apart else f"P{number}/DICOM_anon")
        labels = root / (f"labels/P{number}" if apart else f"P{number}/Ground")
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(DEPTH):
            pixels = np.full(SHAPE, 10 * index + number, np.int16)
            pixels[ids_of(number, index) > 0] += 400
            depth = DEPTH - index if flipped else index
            position = {"ImagePositionPatient": [0, 0, 3 * depth], "SOPInstanceUID": f"1.2.{number}.{index}"}
            write_slice(images / f"i{index}.dcm", pixels.tobytes(), SHAPE, (16, 16), True, **position)
            Image.fromarray(ids_of(number, index) * 255).save(labels / f"liver_{index}.png")
    return root


def open_dataset(root: Path, layout: dict[str, str]) -> FolderVolumeDataset:
    source = {**layout, "classes": list(CLASSES), "kind": "volumes", "channels": 1, "label_format": "black_white"}
    return FolderVolumeDataset(root=root, source=source, num_validation=1)


@pytest.mark.parametrize(("layout", "flipped"), [(BESIDE, False), (APART, True)], ids=["beside", "apart, flipped"])
def test_every_slice_gets_its_picture_whichever_way_the_series_runs(layout, flipped, tmp_path):
    dataset = open_dataset(write(tmp_path, layout, flipped=flipped), layout)
    assert sum(dataset.check().values()) == 5 * DEPTH
    for entry in (entry for each in ("test", "validation") for entry in dataset.all_entries()[each]):
        number = int(Path(entry["label"]).parent.name[1:] if layout is BESIDE else Path(entry["label"]).name[1:])
        index = DEPTH - 1 - entry["slice"] if flipped else entry["slice"]
        np.testing.assert_array_equal(dataset.load(entry)[1], ids_of(number, index))
    assert not [note for note in dataset.notes if "not read" in note]


def test_whole_volumes_and_their_labels_lie_on_each_other(tmp_path):
    dataset = open_dataset(write(tmp_path, BESIDE, flipped=True), BESIDE)
    (volume, *_) = dataset.volumes("test")
    loaded = LoadFolderLabeld("label", source=dataset.source)(LoadVolumed("image")(volume))
    image, label = loaded["image"].numpy()[0], loaded["label"].numpy()[0]
    np.testing.assert_array_equal(image >= 400, label > 0)


def test_a_picture_that_changed_is_read_again(tmp_path):
    dataset = open_dataset(write(tmp_path, BESIDE), BESIDE)
    entry = dataset.all_entries()["test"][0]
    assert dataset.load(entry)[1].any()
    Image.new("L", SHAPE[::-1]).save(Path(entry["label"]) / "liver_0.png")
    assert not dataset.load({**entry, "slice": 0})[1].any()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder: (folder / "liver_3.png").unlink(), "has 11 pictures for the 12 slices of"),
        (lambda folder: Image.new("L", (6, 9)).save(folder / "liver_3.png"), "liver_3.png: is 6 x 9 pixels, but its"),
        (lambda folder: (folder / "liver_3.png").write_bytes(b"x"), "liver_3.png"),
    ],
)
def test_what_does_not_pair_is_refused(change, expected, tmp_path):
    change(write(tmp_path, BESIDE) / "P2" / "Ground")
    with pytest.raises(InputError, match="P2/Ground") as caught:
        open_dataset(tmp_path, BESIDE).check()
    assert expected in str(caught.value)


def renamed(folder: Path, new_names: dict[str, str]) -> Path:
    """Give files other names, all at once."""
    for name in new_names:
        (folder / name).rename(folder / f"{name}.old")
    for name, new in new_names.items():
        (folder / f"{name}.old").rename(folder / new)
    return folder


def values_of(patient: Path) -> np.ndarray:
    return read_slice_labels(patient / "Ground", patient / "DICOM_anon").values


def test_slices_whose_names_do_not_follow_the_patient_need_pictures_of_their_names(tmp_path):
    patient = write(tmp_path, BESIDE, count=1) / "P0"
    expected = values_of(patient)
    shuffled = {f"i{index}.dcm": f"1.2.{5 * index % DEPTH}.dcm" for index in range(DEPTH)}
    renamed(patient / "DICOM_anon", shuffled)
    with pytest.raises(
        InputError, match=r"Ground: .* do not follow the patient, first 1\.2\.\d+\.dcm and 1\.2\.\d+\.dcm"
    ):
        values_of(patient)
    pictures = {f"liver_{index}.png": f"1.2.{5 * index % DEPTH}.png" for index in range(DEPTH)}
    renamed(patient / "Ground", pictures)
    np.testing.assert_array_equal(values_of(patient), expected)


def test_a_picture_called_as_another_slice_is_refused(tmp_path):
    patient = write(tmp_path, BESIDE, count=1) / "P0"
    renamed(patient / "Ground", {f"liver_{index}.png": f"i{index + 1}.png" for index in range(DEPTH)})
    with pytest.raises(InputError, match=r"i1\.png would be the label of i0\.dcm, .* but is called as i1\.dcm"):
        values_of(patient)


def test_pictures_are_no_label_of_a_nifti_file(tmp_path):
    write(tmp_path, APART)
    with pytest.raises(InputError, match="which is no folder of DICOM slices; expected a label in NIfTI or NRRD"):
        LoadFolderLabeld("label", source=open_dataset(tmp_path, APART).source)(
            {"label": str(tmp_path / "labels/P0"), "slice": 0}
        )


@pytest.mark.parametrize("layout", [BESIDE, APART], ids=["beside", "apart"])
def test_create_finds_the_layout(layout, tmp_path):
    write(tmp_path, layout)
    labels = {"labels": tmp_path / "labels"} if layout is APART else {}
    images = tmp_path / layout["images"]
    options = Options(name="x", images=images, classes=CLASSES, **labels)
    source = draft_source(options, find_places(options)).source
    expected = open_dataset(tmp_path, layout).source
    assert {key: getattr(source, key) for key in (*layout, "kind", "label_format")} == {
        key: expected[key] for key in (*layout, "kind", "label_format")
    }
    assert source.patient == ("^([^/]+)" if layout is BESIDE else None)
