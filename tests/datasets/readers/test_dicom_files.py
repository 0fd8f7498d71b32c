"""DICOM files: what is taken for one, and what of them is refused because it is no slice."""

import shutil

import numpy as np
import pydicom
import pytest
from dicom_slices import PUBLISHED, edit, without_preamble, write_raw, write_slice
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from common.datasets.readers.dicom import list_slices, read_pixels, read_slice
from common.datasets.readers.dicom_signature import is_dicom
from common.errors import InputError

VALUES = np.arange(24, dtype="<u2").reshape(4, 6)


def element(number: int) -> bytes:
    """Return an element of group 8."""
    return bytes([8, 0, number, 0]) + b"CS\x02\x00AB"


@pytest.fixture
def path(tmp_path):
    return write_slice(tmp_path / "slice.dcm", VALUES.tobytes())


@pytest.mark.parametrize("keep_meta", [True, False])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_slice_without_preamble_and_suffix_is_found_and_read(tmp_path, syntax, keep_meta):
    pixels = VALUES.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
    write_slice(tmp_path / "slice.dcm", pixels, syntax=syntax)
    bare = without_preamble(tmp_path / "slice.dcm", tmp_path / "IM0001", keep_meta)
    assert list_slices(tmp_path) == [bare, tmp_path / "slice.dcm"]
    assert np.array_equal(read_pixels(bare)[1], VALUES.T)


@pytest.mark.parametrize("name", ["ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm"])
def test_published_files_without_preamble_are_known(name):
    assert (PUBLISHED / name).read_bytes()[128:132] != b"DICM"
    assert is_dicom(PUBLISHED / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"\x08\x00 no element"),
        ("README", b"A text that says what is in the folder. " * 20),
        ("table.csv", b"name,value\n" * 99),
        ("Thumbs.db", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)),
        ("zeros", bytes(4096)),
        ("eights", b"\x08\x00" * 2048),
        ("two_elements", b"\x08\x00\x05\x00CS\x02\x00AB\x08\x00\x08\x00CS\x02\x00AB" + b"no more of them" * 9),
        (
            "backwards",
            b"\x08\x00\x08\x00CS\x02\x00AB\x08\x00\x05\x00CS\x02\x00AB\x08\x00\x01\x00CS\x02\x00AB" + bytes(99),
        ),
        ("tiny", b"\x08"),
        ("empty", b""),
    ],
)
def test_other_files_are_not_taken_for_dicom(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert list_slices(tmp_path) == []


def test_index_of_a_disc_is_no_slice(tmp_path):
    shutil.copy(PUBLISHED / "dicomdirtests" / "DICOMDIR", tmp_path / "DICOMDIR")
    assert pydicom.dcmread(tmp_path / "DICOMDIR").DirectoryRecordSequence
    assert list_slices(tmp_path) == []


def test_random_bytes_are_not_taken_for_dicom(tmp_path):
    rng = np.random.default_rng(0)
    for start in (b"\x08\x00", b"\x02\x00", b"\x00\x08", b"\x08\x00\x05\x00CS"):
        for _ in range(50):
            (tmp_path / "file").write_bytes(start + rng.bytes(500))
            assert not is_dicom(tmp_path / "file")


@pytest.mark.parametrize("frames", [1, 8])
@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.2.1", "enhanced CT"),
        ("1.2.840.10008.5.1.4.1.1.4.1", "enhanced MR"),
        ("1.2.840.10008.5.1.4.1.1.2.2", "Legacy Converted enhanced CT"),
    ],
)
def test_enhanced_file_is_named_as_such_before_what_it_lacks(path, uid, name, frames):
    edit(path, ["ImagePositionPatient", "PixelSpacing"], SOPClassUID=uid, NumberOfFrames=frames)
    with pytest.raises(InputError) as caught:
        read_slice(path)
    count = f"{frames} frame{'s' if frames > 1 else ''}"
    advice = "split it into slices or convert it to NIfTI (for example dcm2niix)"
    assert str(caught.value) == f"{path}: {name}, {count}: {advice}"


def test_frames_without_a_class_of_their_own_are_named(path):
    edit(path, PerFrameFunctionalGroupsSequence=Sequence([pydicom.Dataset()]), SOPClassUID="1.2.3.4.5")
    with pytest.raises(InputError, match=r"slice.dcm: multi-frame, 1 frame: split it into slices"):
        read_slice(path)


def test_old_multi_frame_file_is_named(path):
    edit(path, NumberOfFrames="3", SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3")
    with pytest.raises(InputError, match="Multi-frame Grayscale Word Secondary Capture, 3 frames: split it"):
        read_slice(path)


@pytest.mark.parametrize("frames", ["", "1", None])
def test_one_frame_is_a_slice_however_it_is_said(tmp_path, frames):
    path = write_slice(tmp_path / "slice.dcm", VALUES.tobytes(), NumberOfFrames=frames)
    assert np.array_equal(read_pixels(path)[1], VALUES.T)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rtstruct.dcm", "RT Structure Set"), ("rtdose.dcm", "RT Dose"), ("liver_1frame.dcm", "Segmentation")],
)
def test_objects_that_are_no_images_are_named(name, kind):
    with pytest.raises(InputError, match=rf"{name}: is no image but {kind}; move it out of the folder"):
        read_slice(PUBLISHED / name)


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("PixelSpacing", b"1.0\\a text"),
        ("ImagePositionPatient", b"0\\0"),
        ("ImagePositionPatient", b"0\\0\\nan "),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\1"),
        ("RescaleSlope", b"1\\2"),
        ("NumberOfFrames", b"many"),
    ],
)
def test_numbers_that_are_none_are_named(path, name, damaged):
    write_raw(path, name, damaged)
    with pytest.raises(InputError, match=rf"slice.dcm: its {name}.* damaged"):
        read_pixels(path)


@pytest.mark.parametrize(
    "spacing", [b"1.5 \\ 2.25", b"1.50000000000000000000\\2.2500000000000000000 ", b"15e-1\\+2.25 "]
)
def test_decimal_strings_are_read_with_spaces_and_more_digits_than_allowed(path, spacing):
    write_raw(path, "PixelSpacing", spacing)
    assert read_slice(path).spacing == (1.5, 2.25)


def test_spacing_of_the_detector_alone_is_refused(path):
    edit(path, ["PixelSpacing"], ImagerPixelSpacing=[0.2, 0.2])
    with pytest.raises(InputError, match=r"has no PixelSpacing \(its ImagerPixelSpacing is that of the detector"):
        read_slice(path)
