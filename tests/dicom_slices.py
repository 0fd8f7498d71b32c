"""DICOM slices for tests, whose pixels are given as they are to stand in the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import UID, CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

PUBLISHED = Path(pydicom.__file__).parent / "data" / "test_files"  # files of scanners, which come with pydicom


def write_slice(
    path: Path,
    pixels: bytes,
    shape: tuple[int, int] = (4, 6),
    bits: tuple[int, int] = (16, 12),
    signed: bool = False,
    syntax: str = ExplicitVRLittleEndian,
    **tags: Any,
) -> Path:
    """Write an axial slice of CT.

    Args:
        path: file to write.
        pixels: bytes of the pixels, of one frame if they are compressed.
        shape: rows and columns.
        bits: allocated and stored for each pixel.
        signed: whether values are.
        syntax: transfer syntax.
        tags: other elements; None leaves one out.
    """
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.is_little_endian = syntax != ExplicitVRBigEndian
    dataset.is_implicit_VR = syntax == ImplicitVRLittleEndian
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": "1.2.3.4",
        "Modality": "CT",
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1, 1],
        "Rows": shape[0],
        "Columns": shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits[0],
        "BitsStored": bits[1],
        "HighBit": bits[1] - 1,
        "PixelRepresentation": int(signed),
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
    }
    for name, value in (values | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    if pixels:
        compressed = UID(syntax).is_compressed
        dataset.PixelData = encapsulate([pixels]) if compressed else pixels + b"\0" * (len(pixels) % 2)
        dataset["PixelData"].VR = "OB" if compressed or bits[0] == 8 else "OW"
        dataset["PixelData"].is_undefined_length = compressed
    dataset.save_as(path, write_like_original=False)
    return path


def edit(path: Path, removed: Sequence[str] = (), **tags: Any) -> None:
    """Change elements of a file, and take some out."""
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(dataset, name, value)
    for name in removed:
        delattr(dataset, name)
    dataset.save_as(path)


def write_raw(path: Path, name: str, content: bytes) -> None:
    """Put bytes, whatever they mean, into an element of a file."""
    content += b" " * (len(content) % 2)
    dataset = pydicom.dcmread(path)
    tag = Tag(name)
    dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(content), content, 0, False, True)
    dataset.save_as(path)
    assert content in path.read_bytes()


def without_preamble(path: Path, target: Path, keep_meta: bool = True) -> Path:
    """Write a file again as it was done before there were preambles, with or without what comes before the dataset."""
    content = path.read_bytes()[132:]
    if not keep_meta:
        group_length = int.from_bytes(content[8:12], "little")
        content = content[12 + group_length :]
    target.write_bytes(content)
    return target
