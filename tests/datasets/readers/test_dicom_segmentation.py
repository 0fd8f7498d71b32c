"""DICOM SEG as labels: frames go to the slices that they name, whatever their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_slices import write_slice

from common.creation.drafts import draft_source
from common.creation.options import Options
from common.creation.places import find_places
from common.datasets.folder_files.finding import find_items
from common.datasets.folder_volumes import FolderVolumeDataset
from common.datasets.issues import DatasetIssues
from common.datasets.readers.dicom_segmentation import read_on_series
from common.datasets.readers.label_survey import describe_label_files
from common.datasets.source import Source
from common.errors import InputError
from common.prediction.dicom_seg import write_segmentation

SHAPE, DEPTH = (5, 6), 4  # rows and columns, slices
NAMES = ("background", "liver", "spleen")
SOURCE = {"images": "scans", "labels": "labels", "classes": list(NAMES), "kind": "volumes", "channels": 1}


def write_series(folder: Path, number: int = 0) -> Path:
    folder.mkdir(parents=True)
    for index in range(DEPTH):
        uids = {
            "SOPInstanceUID": f"1.2.{number + 1}.{index + 1}",
            "StudyInstanceUID": "1.2.8",
            "SeriesInstanceUID": f"1.2.9.{number + 1}",
            "FrameOfReferenceUID": "1.2.7",
            "SliceThickness": 3,
        }
        pixels = np.full(SHAPE, 10 * index + number, np.int16).tobytes()
        place = {"ImagePositionPatient": [0, 0, -3 * index]}  # names run from head to feet
        write_slice(folder / f"{index}.dcm", pixels, SHAPE, (16, 16), True, **place, **uids)
    return folder


def ids_of(number: int = 0) -> np.ndarray:
    """Return class ids ``(columns, rows, slices)``, from feet to head, the first slice without any."""
    ids = np.zeros((SHAPE[1], SHAPE[0], DEPTH), np.uint8)
    for index in range(1, DEPTH):
        ids[1 : 2 + index, 1:3, index] = 1
        ids[2 : 3 + number % 3, 3, index] = 2
    return ids


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    """A segmentation, and the series that it is of."""
    series = write_series(tmp_path / "scans" / "a")
    (tmp_path / "labels").mkdir()
    write_segmentation(ids_of(), series, NAMES, tmp_path / "labels" / "a.dcm")
    return tmp_path / "labels" / "a.dcm", series


def change(path: Path, **tags) -> None:
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def test_segments_lie_where_they_were_drawn(pair):
    volume = read_on_series(*pair)
    np.testing.assert_array_equal(volume.values, ids_of())


def test_the_order_of_frames_does_not_matter(pair):
    dataset = pydicom.dcmread(pair[0])
    frames = dataset.pixel_array[::-1]
    dataset.PerFrameFunctionalGroupsSequence = list(dataset.PerFrameFunctionalGroupsSequence)[::-1]
    dataset.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes() + b"\0" * (-(-frames.size // 8) % 2)
    dataset.save_as(pair[0])
    np.testing.assert_array_equal(read_on_series(*pair).values, ids_of())


def test_a_dataset_of_them_is_checked_and_created(tmp_path):
    for number in range(5):
        series = write_series(tmp_path / "scans" / f"P{number}", number)
        (tmp_path / "labels").mkdir(exist_ok=True)
        write_segmentation(ids_of(number), series, NAMES, tmp_path / "labels" / f"P{number}.dcm")
    options = Options(name="x", images=tmp_path / "scans", labels=tmp_path / "labels", classes=NAMES)
    source = draft_source(options, find_places(options)).source
    assert (source.kind, source.label_format, source.values) == ("volumes", "ids", None)
    dataset = FolderVolumeDataset(root=tmp_path, source=source, num_validation=1)
    assert sum(dataset.check().values()) == 5 * DEPTH
    for entry in dataset.all_entries()["test"]:
        expected = ids_of(int(Path(entry["label"]).stem[1:]))[..., entry["slice"]].T
        np.testing.assert_array_equal(dataset.load(entry)[1], expected)


def test_those_beside_their_series_are_no_series(tmp_path):
    series = write_series(tmp_path / "P1" / "CT")
    (tmp_path / "P1" / "SEG").mkdir()
    write_segmentation(ids_of(), series, NAMES, tmp_path / "P1" / "SEG" / "seg.dcm")
    source = {"images": ".", "image_suffix": "CT", "label_suffix": "SEG/seg", "kind": "volumes", "channels": 1}
    issues = DatasetIssues("volumes", tmp_path)
    found = find_items(tmp_path, Source.from_config({**source, "classes": NAMES}), issues)
    assert issues.messages == []
    assert {name: item.label for name, item in found.items.items()} == {"P1": tmp_path / "P1" / "SEG" / "seg.dcm"}


def test_names_of_segments_that_contradict_the_classes_are_refused(pair, tmp_path):
    source = {**SOURCE, "classes": ["background", "spleen", "liver"]}
    entry = {"image": str(pair[1]), "label": str(pair[0]), "slice": 1}
    dataset = FolderVolumeDataset(root=tmp_path, source=source)
    with pytest.raises(InputError, match="its segment 1 is called liver, which is the class 2; give --values 1=2,2=1"):
        dataset.load(entry)
    told = FolderVolumeDataset(root=tmp_path, source={**source, "values": {1: 2, 2: 1}})
    np.testing.assert_array_equal(told.load(entry)[1], np.array([0, 2, 1], np.uint8)[ids_of()[..., 1].T])


class TestOneClass:
    """A file of one class has one segment, of any number, and of any name but those of other classes."""

    def load(self, root: Path, ids: np.ndarray, names: tuple[str, ...], **source) -> np.ndarray:
        series = write_series(root / "scans" / "a")
        write_segmentation(ids, series, names, root / "a.dcm")
        entry = {"image": str(series), "label": str(root / "a.dcm"), "slice": 1}
        source = {**SOURCE, "label_format": "file_per_class", "class_files": {"liver": "_l", "spleen": "_s"}, **source}
        if source["label_format"] == "file_per_class":
            entry["label"] = {"spleen": entry["label"]}
        return FolderVolumeDataset(root=root, source=source).load(entry)[1]

    @pytest.mark.parametrize("names", [NAMES, ("background", "table", "Spleen "), ("background", "liver", "segment 2")])
    def test_the_second_segment_is_read_as_what_its_file_is_of(self, names, tmp_path):
        second = np.where(ids_of() == 2, 2, 0).astype(np.uint8)
        np.testing.assert_array_equal(self.load(tmp_path, second, names), second[..., 1].T)

    def test_it_is_the_structure_of_black_and_white_too(self, tmp_path):
        second = np.where(ids_of() == 2, 2, 0).astype(np.uint8)
        source = {"label_format": "black_white", "classes": ["background", "spleen"], "class_files": None}
        np.testing.assert_array_equal(self.load(tmp_path, second, NAMES, **source), second[..., 1].T > 0)

    def test_that_of_another_class_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="segment 1 is called liver, but it is a label of spleen; see whether"):
            self.load(tmp_path, (ids_of() == 1).astype(np.uint8), NAMES)

    def test_several_are_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"has 2 segments \(1 left, 2 right\), but is a label of spleen alone"):
            self.load(tmp_path, ids_of(), ("background", "left", "right"))


def test_a_survey_sees_the_numbers_of_segments(pair):
    survey = describe_label_files([pair[0]])
    assert (survey.formats, set(survey.values), survey.label_formats) == ({"DICOM SEG": 1}, {0, 1, 2}, ("ids",))


def test_overlaps_are_refused(pair):
    dataset = pydicom.dcmread(pair[0])
    frames = np.ones_like(dataset.pixel_array)
    dataset.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes() + b"\0" * (-(-frames.size // 8) % 2)
    dataset.save_as(pair[0])
    with pytest.raises(InputError, match=r"a\.dcm: segments overlap in 30 pixels of "):
        read_on_series(*pair)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"SegmentationType": "FRACTIONAL"}, "its SegmentationType is FRACTIONAL; expected BINARY"),
        ({"PixelData": b"\0\0"}, "cannot be read as DICOM SEG, export it again"),
        ({"PerFrameFunctionalGroupsSequence": []}, "frames and 0 descriptions differ"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "is CT Image Storage; expected DICOM SEG, NIfTI or NRRD"),
    ],
)
def test_what_is_none_or_damaged_is_refused(tags, expected, pair):
    change(pair[0], **tags)
    with pytest.raises(InputError, match=r"a\.dcm") as caught:
        read_on_series(*pair)
    assert expected in str(caught.value)


def test_another_series_is_refused(pair, tmp_path):
    with pytest.raises(InputError, match=r"frames are of slices that .*other does not have, first 1\.2\.1\."):
        read_on_series(pair[0], write_series(tmp_path / "other", 7))


def test_frames_that_lie_elsewhere_are_refused(pair):
    dataset = pydicom.dcmread(pair[0])
    dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 99]
    dataset.save_as(pair[0])
    with pytest.raises(InputError, match="does not lie on it; convert it to NIfTI"):
        read_on_series(*pair)


def test_frames_without_their_slices_are_refused(pair):
    dataset = pydicom.dcmread(pair[0])
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    dataset.save_as(pair[0])
    with pytest.raises(InputError, match="does not say which slices its frames are of"):
        read_on_series(*pair)
