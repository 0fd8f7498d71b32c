"""What is found wrong with the contents of CHAOS."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

from common.datasets.chaos import ChaosDataset
from common.errors import InputError

SEQUENCE = {"ct": "CT/1", "t1_in": "MR/1/T1DUAL", "t1_out": "MR/1/T1DUAL", "t2": "MR/1/T2SPIR"}
IMAGES = {"ct": "DICOM_anon", "t1_in": "DICOM_anon/InPhase", "t1_out": "DICOM_anon/OutPhase", "t2": "DICOM_anon"}


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("chaos")


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine / "Train_Sets", tmp_path / "CHAOS" / "Train_Sets")).parent


def check(folder, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).check()


def issues_of(folder, modality, **arguments):
    with pytest.raises(InputError) as caught:
        check(folder, modality, **arguments)
    return str(caught.value)


def sequence_of(folder, modality):
    return folder / "Train_Sets" / SEQUENCE[modality]


def files_of(folder, modality, what="Ground"):
    return sorted((sequence_of(folder, modality) / (IMAGES[modality] if what == "images" else what)).iterdir())


def read_array(path):
    return np.asarray(Image.open(path))


def test_slice_and_label_missing_together_are_found_by_the_gap(phantoms):
    files_of(phantoms, "ct", "images")[3].unlink()
    files_of(phantoms, "ct")[3].unlink()
    message = issues_of(phantoms, "ct")
    assert "CT/1/DICOM_anon: 1 slice is missing between i0002,0000b.dcm and i0004,0000b.dcm" in message
    assert "1 issue\n" in message


def test_mixed_series_name_the_patient(phantoms):
    target = sequence_of(phantoms, "t1_in") / IMAGES["t1_in"]
    shutil.copytree(sequence_of(phantoms, "t1_in") / IMAGES["t1_out"], target, dirs_exist_ok=True)
    message = issues_of(phantoms, "t1_in")
    assert "MR/1/T1DUAL/DICOM_anon/InPhase: 10 extra slices" in message
    assert "MR/1/T1DUAL: 20 slices in DICOM_anon/InPhase, but 10 labels in Ground" in message
    assert check(phantoms, "t1_out")["test"] == 10


def test_names_that_do_not_follow_the_slices_are_refused(phantoms):
    second, third = files_of(phantoms, "ct", "images")[3:5]
    second.rename(second.with_name("swap"))
    third.rename(second)
    second.with_name("swap").rename(third)
    message = issues_of(phantoms, "ct")
    assert "CT/1/DICOM_anon: sorted by name, the slices are not in the order" in message


def test_compression_that_cannot_be_decoded_is_one_issue_for_a_patient(phantoms):
    for path in files_of(phantoms, "ct", "images"):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xc3 not a picture \xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.save_as(path)
    message = issues_of(phantoms, "ct")
    assert "CT/1/DICOM_anon/i0000,0000b.dcm and 7 more: its pixels are compressed (JPEG Lossless" in message
    assert "1 issue\n" in message


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"NumberOfFrames": 4}, "CT, 4 frames: split it into slices"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "enhanced CT, 1 frame: split it into slices"),
        ({"HighBit": 15}, "BitsAllocated 16, BitsStored 12, HighBit 15"),
        ({"Rows": 39}, "its pixels cannot be read, copy it again"),
        ({"RescaleSlope": 0}, "its RescaleSlope is 0"),
    ],
)
def test_slices_that_would_be_read_wrongly_are_one_issue_for_a_patient(phantoms, tags, reason):
    for path in files_of(phantoms, "ct", "images")[2:5]:
        dataset = pydicom.dcmread(path)
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(path)
    message = issues_of(phantoms, "ct")
    assert f"CT/1/DICOM_anon/i0002,0000b.dcm and 2 more: {reason}" in message
    assert "1 issue\n" in message


@pytest.mark.parametrize(
    ("modality", "value"), [("ct", 254), ("ct", 63), ("t1_in", 54), ("t1_in", 71), ("t2", 150), ("t2", 239)]
)
def test_grey_value_that_belongs_to_no_class_is_named(phantoms, modality, value):
    first, second = files_of(phantoms, modality)[1:3]
    for path in (first, second):
        mask = read_array(path).copy()
        mask[3, 4] = value
        Image.fromarray(mask).save(path)
    message = issues_of(phantoms, modality)
    assert f"{SEQUENCE[modality]}/Ground/{first.name} and 1 more: grey values {value} are outside the known" in message
    assert ("liver 255" if modality == "ct" else "liver 55-70, right kidney 110-135") in message


def test_label_of_another_size_is_named_with_both_sizes(phantoms):
    path = files_of(phantoms, "t2")[3]
    Image.open(path).resize((20, 30), Image.Resampling.NEAREST).save(path)
    assert f"T2SPIR/Ground/{path.name}: is 20 x 30, but its slice is 42 x 35 pixels" in issues_of(phantoms, "t2")


def test_turned_label_is_named(phantoms):
    path = files_of(phantoms, "ct")[3]
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    assert f"CT/1/Ground/{path.name}: is 40 x 48, but its slice is 48 x 40 pixels" in issues_of(phantoms, "ct")


def test_label_in_colour_is_named(phantoms):
    path = files_of(phantoms, "ct")[3]
    Image.open(path).convert("RGB").save(path)
    expected = f"CT/1/Ground/{path.name}: expected one 8-bit grey channel, got Pillow mode RGB"
    assert expected in issues_of(phantoms, "ct")


def test_scan_without_any_structure_is_named(phantoms):
    for path in files_of(phantoms, "t2"):
        Image.fromarray(np.zeros_like(read_array(path))).save(path)
    message = issues_of(phantoms, "t2")
    assert "MR/1/T2SPIR/Ground: every label is empty; expected liver, right kidney, left kidney, spleen" in message


@pytest.mark.parametrize("what", ["images", "Ground"])
def test_empty_and_truncated_files_are_named_by_reason(phantoms, what):
    empty, also_empty, cut = files_of(phantoms, "ct", what)[2:5]
    for path in (empty, also_empty):
        path.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:60])
    message = issues_of(phantoms, "ct")
    folder = IMAGES["ct"] if what == "images" else "Ground"
    assert f"CT/1/{folder}/{empty.name} and 1 more: the file is empty" in message
    assert f"CT/1/{folder}/{cut.name}: cannot be read" in message
    assert "2 issues\n" in message
