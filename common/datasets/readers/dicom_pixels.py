"""Pixels of a DICOM slice: from the bytes in the file to what they mean, such as Hounsfield units."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from common.datasets.readers.dicom_codecs import decode_frame, join_fragments
from common.datasets.readers.dicom_files import is_ct, numbers_of, value_of
from common.errors import InputError

_UNCOMPRESSED = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
_FORMAT = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel")
_RLE_STARTS = tuple(bytes([count, 0, 0, 0]) for count in (1, 2, 4))  # number of segments, one for each byte of a pixel


class PixelFormat(NamedTuple):
    """How the values of a slice are stored."""

    rows: int
    columns: int
    allocated: int  # bits that a value takes in the file
    stored: int  # the lower bits of them, which hold the value
    signed: bool


def read_format(dataset: pydicom.Dataset, path: Path) -> PixelFormat:
    """Return how the values of a slice are stored.

    MONOCHROME1 says that low values are to be shown bright, not that values mean anything else (PS3.3, C.7.6.3.1.2).
    Hounsfield units are right as they are, whatever they are shown as. Values of other modalities have no unit, so that
    nothing tells whether they are the negative of what others store; such slices are refused.

    Raises:
        InputError: if they are not grey values, or the header contradicts itself.
    """
    colours = value_of(dataset, "PhotometricInterpretation", path)
    missing = [name for name in _FORMAT if value_of(dataset, name, path) is None]
    missing += [] if colours else ["PhotometricInterpretation"]
    if missing:
        raise InputError(f"{path}: has no {', '.join(missing)}; expected an image slice that says how it is stored")
    if colours == "MONOCHROME1" and not is_ct(dataset, path):
        raise InputError(
            f"{path}: expected grey values (MONOCHROME2), got MONOCHROME1, which may be a negative; convert the series "
            "to MONOCHROME2"
        )
    (rows,), (columns,) = (numbers_of(dataset, name, 1, path) for name in ("Rows", "Columns"))
    allocated, stored, high, sign, samples = (int(numbers_of(dataset, name, 1, path)[0]) for name in _FORMAT)
    if colours not in ("MONOCHROME1", "MONOCHROME2") or samples != 1:
        raise InputError(
            f"{path}: expected grey values (MONOCHROME2), got {colours} with {samples} "
            f"{'sample' if samples == 1 else 'samples'} a pixel"
        )
    if min(rows, columns) < 1:
        raise InputError(f"{path}: has {rows:g} rows and {columns:g} columns; expected pixels")
    if allocated not in (8, 16, 32):
        raise InputError(f"{path}: its BitsAllocated is {allocated}; expected 8, 16 or 32")
    if not 1 <= stored <= allocated or high != stored - 1 or sign not in (0, 1):
        raise InputError(
            f"{path}: BitsAllocated {allocated}, BitsStored {stored}, HighBit {high} and PixelRepresentation {sign} "
            "do not fit; expected HighBit to be BitsStored - 1, below BitsAllocated, and 0 or 1"
        )
    return PixelFormat(int(rows), int(columns), allocated, stored, bool(sign))


def read_values(dataset: pydicom.Dataset, path: Path) -> np.ndarray:
    """Return what the pixels of a slice mean: Hounsfield units in CT.

    Windows and other VOI LUTs are left alone: they say how values are shown.

    Returns:
        Stored values times RescaleSlope plus RescaleIntercept, float32 of shape ``(rows, columns)``.

    Raises:
        InputError: if pixels are missing, cut off, damaged, or compressed in a way that nothing decodes here, or the
            header does not say what they mean.
    """
    layout = read_format(dataset, path)
    slope, intercept = _read_rescaling(dataset, path)
    if "PixelData" not in dataset:
        floats = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
        what = "its pixels are floating-point numbers, expected integers" if floats else "has no pixels, copy it again"
        raise InputError(f"{path}: {what}")
    values = _stored_values(dataset, layout, path) * slope + intercept
    return values.astype(np.float32)


def _read_rescaling(dataset: pydicom.Dataset, path: Path) -> tuple[float, float]:
    """Return slope and intercept (PS3.3, C.11.1), which other modalities than CT may go without."""
    if "ModalityLUTSequence" in dataset:
        raise InputError(f"{path}: its values have a modality LUT, which is not read; expected RescaleSlope")
    present = [name in dataset for name in ("RescaleSlope", "RescaleIntercept")]
    if not any(present) and not is_ct(dataset, path):
        return 1.0, 0.0
    if not all(present):
        missing = " and no ".join(
            name for name, there in zip(("RescaleSlope", "RescaleIntercept"), present, strict=True) if not there
        )
        raise InputError(f"{path}: has no {missing}, so that nothing tells what its values mean; restore them")
    try:
        (slope,), (intercept,) = (numbers_of(dataset, name, 1, path) for name in ("RescaleSlope", "RescaleIntercept"))
    except InputError as error:
        raise InputError(f"{path}: its RescaleSlope or RescaleIntercept is damaged; expected numbers") from error
    if slope == 0:
        raise InputError(f"{path}: its RescaleSlope is 0, which makes all values the same; restore it")
    return slope, intercept


def _stored_values(dataset: pydicom.Dataset, layout: PixelFormat, path: Path) -> np.ndarray:
    """Return the values as they are stored, integers of shape ``(rows, columns)``."""
    data = value_of(dataset, "PixelData", path) or b""
    syntax = _transfer_syntax(dataset, path)
    shape = (layout.rows, layout.columns)
    if syntax == RLELossless:
        values = _decode_rle(dataset, data, shape, path)
    elif syntax not in _UNCOMPRESSED:
        values = decode_frame(data, syntax, shape, layout.stored, layout.signed, path)
    else:
        values = _read_uncompressed(data, layout, syntax.is_little_endian, path)
    return _extend_sign(values, layout)


def _transfer_syntax(dataset: pydicom.Dataset, path: Path) -> UID:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax:
        return UID(syntax)
    if dataset["PixelData"].is_undefined_length:  # only compressed pixels have none
        raise InputError(f"{path}: has no TransferSyntaxUID, so that nothing tells how its pixels are compressed")
    if not dataset.is_little_endian:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if dataset.is_implicit_VR else ExplicitVRLittleEndian


def _read_uncompressed(data: bytes, layout: PixelFormat, little_endian: bool, path: Path) -> np.ndarray:
    size = layout.allocated // 8
    expected = layout.rows * layout.columns * size
    if len(data) not in (expected, expected + expected % 2):  # an odd number of bytes gets one more
        raise InputError(
            f"{path}: its pixels cannot be read, copy it again ({len(data)} bytes, expected {expected} for "
            f"{layout.rows} rows and {layout.columns} columns of {layout.allocated} bits)"
        )
    if size == 1 and not little_endian:  # may be pairs of bytes, swapped
        raise InputError(f"{path}: has 8 bits a pixel in big endian, which is not read; convert it to little endian")
    values = np.frombuffer(data[:expected], f"{'<' if little_endian else '>'}u{size}")
    if not layout.signed and _looks_negative(values, layout):
        raise InputError(
            f"{path}: some values are stored as negative numbers, but its PixelRepresentation 0 says that none is"
        )
    return values.reshape(layout.rows, layout.columns)


def _looks_negative(values: np.ndarray, layout: PixelFormat) -> bool:
    """Tell whether the bits above those stored are all set in some values, in no value only some of them are."""
    width = layout.allocated - layout.stored
    if width < 2:
        return False
    unused = values >> layout.stored
    return bool(unused.any() and np.isin(unused, (0, (1 << width) - 1)).all())


def _decode_rle(dataset: pydicom.Dataset, data: bytes, shape: tuple[int, int], path: Path) -> np.ndarray:
    join_fragments(data, path, _RLE_STARTS)
    try:
        values = dataset.pixel_array
    except Exception as error:  # the decoder raises whatever the damage makes it stumble over
        raise InputError(f"{path}: its pixels cannot be decoded, copy it again (RLE: {error})") from error
    if values.shape != shape:
        raise InputError(f"{path}: its pixels cannot be decoded, copy it again (RLE of shape {values.shape})")
    return values


def _extend_sign(values: np.ndarray, layout: PixelFormat) -> np.ndarray:
    """Return the stored bits alone as numbers; the bits above may hold overlays or nothing (PS3.5, 8.1.1)."""
    size = layout.allocated // 8
    unused = layout.allocated - layout.stored
    raised = values.astype(f"u{size}") << unused
    return raised.view(f"i{size}" if layout.signed else f"u{size}") >> unused
