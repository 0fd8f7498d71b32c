"""Single DICOM slices: which files are taken, and which are refused."""

import shutil
from pathlib import Path

import pytest
from dicom_slices import edit

from common.datasets.readers.dicom import list_slices, read_pixels, read_slice
from common.errors import InputError


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("chaos")


@pytest.fixture
def series(pristine, tmp_path):
    """A copy of a CT series, stored from the feet up, to be damaged."""
    return Path(shutil.copytree(pristine / "Train_Sets/CT/1/DICOM_anon", tmp_path / "series"))


def test_files_are_sorted_by_number_and_other_files_ignored(series):
    names = ["image2", "image10.dcm", "image9.DCM"]
    paths = list_slices(series)
    for path, name in zip(paths[:3], names, strict=True):
        path.rename(series / name)
    for path in paths[3:]:
        path.unlink()
    shutil.copy(series / "image2", series / "DICOMDIR")
    for name in (".DS_Store", "Thumbs.db", "._image2.dcm"):
        (series / name).write_bytes(b"x")
    (series / "folder.dcm").mkdir()
    assert [path.name for path in list_slices(series)] == ["image2", "image9.DCM", "image10.dcm"]


@pytest.mark.parametrize(
    ("share", "reason"), [(0, "the file is empty"), (0.05, "cannot be read|has no"), (0.7, "its pixels cannot be read")]
)
def test_truncated_file_is_named(series, share, reason):
    path = list_slices(series)[0]
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=rf"{path.name}: .*({reason})"):
        read_pixels(path)


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"<html>" * 99, "cannot be read as DICOM")])
def test_file_that_is_no_dicom_is_named(series, content, reason):
    path = series / "i0099.dcm"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name}: {reason}"):
        read_pixels(path)


def test_rescaling_that_is_no_number_is_named(series):
    path = list_slices(series)[0]
    edit(path, RescaleSlope="1234567")
    path.write_bytes(path.read_bytes().replace(b"1234567", b"a text!"))
    with pytest.raises(InputError, match=rf"{path.name}: its RescaleSlope or RescaleIntercept is damaged"):
        read_pixels(path)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImagePositionPatient": None}, "has no ImagePositionPatient"),
        ({"PixelSpacing": None, "Rows": None}, "has no Rows, PixelSpacing"),
        ({"NumberOfFrames": 5}, "CT, 5 frames: split it into slices"),
        ({"PhotometricInterpretation": "RGB"}, r"expected grey values \(MONOCHROME2\), got RGB with 1 sample"),
        ({"PixelSpacing": [0.0, 1.0]}, "its PixelSpacing is damaged; expected positive numbers"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "its ImageOrientationPatient is damaged; expected two unit"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "its ImageOrientationPatient is damaged"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "its ImageOrientationPatient is damaged"),
    ],
)
def test_slice_that_does_not_say_where_it_lies_is_named(series, tags, reason):
    path = list_slices(series)[0]
    edit(path, **tags)
    with pytest.raises(InputError, match=rf"{path.name}: .*{reason}"):
        read_slice(path)
