"""Compressed pixels of DICOM files: what decodes them, and whether what is decoded is what the file says.

The libraries are called themselves and not through pydicom: which one pydicom takes depends on its version and on what
else is installed, and so do the results, above all of signed values. GDCM is not among them: damaged files make it
end the whole process.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from PIL import Image
from pydicom.uid import UID

from common.datasets.readers.optional import optional_import
from common.errors import InputError

_DECOMPRESS = "decompress the files, for example with gdcmconv --raw"


class _Codec(NamedTuple):
    """A library that decodes one frame."""

    module: str
    decode: Callable[[ModuleType, bytes], np.ndarray]
    advice: str  # where it is not installed


_JPEG_2000 = _Codec("openjpeg", lambda library, frame: library.decode(frame), "pip install pylibjpeg-openjpeg")
_JPEG_LS = _Codec(
    "jpeg_ls", lambda library, frame: library.decode(np.frombuffer(frame, np.uint8)), "pip install pyjpegls"
)
# Not in our extras, as its licence is the GPL.
_JPEG = _Codec(
    "libjpeg", lambda library, frame: library.decode(frame), f"pip install pylibjpeg-libjpeg, or {_DECOMPRESS}"
)
_BASELINE = _Codec("PIL", lambda library, frame: np.asarray(Image.open(io.BytesIO(frame))), "pip install pillow")
_CODECS = {
    "1.2.840.10008.1.2.4.50": _BASELINE,
    "1.2.840.10008.1.2.4.51": _JPEG,  # extended, 12 bits
    "1.2.840.10008.1.2.4.57": _JPEG,  # lossless
    "1.2.840.10008.1.2.4.70": _JPEG,  # lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,  # near-lossless
    "1.2.840.10008.1.2.4.90": _JPEG_2000,  # lossless
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
}
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")  # of a JPEG or JPEG-LS frame, of one of JPEG 2000


class _FrameHeader(NamedTuple):
    """What a compressed frame says of itself."""

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool


def decode_frame(data: bytes, syntax: UID, shape: tuple[int, int], stored: int, signed: bool, path: Path) -> np.ndarray:
    """Return the values ``(rows, columns)`` of compressed pixels, integers whose lower bits are what is stored.

    Args:
        data: the encapsulated pixels.
        syntax: how they are compressed.
        shape: rows and columns.
        stored: number of bits of a value.
        signed: whether values are signed.
        path: of the file, for the messages.

    Raises:
        InputError: if the library that decodes them is not installed, they are damaged, or not what the file says.
    """
    codec = _CODECS.get(syntax)
    if codec is None:
        raise InputError(f"{path}: its pixels are compressed ({syntax.name}) and cannot be decoded here: {_DECOMPRESS}")
    library, installed = optional_import(codec.module)
    if not installed:
        raise InputError(
            f"{path}: its pixels are compressed ({syntax.name}) and cannot be decoded here: {codec.advice}"
        )
    frame = join_fragments(data, path)
    header = _read_header(frame, path)
    if (header.rows, header.columns, header.samples) != (*shape, 1):
        raise InputError(
            f"{path}: its compressed pixels are {header.columns} x {header.rows} with {header.samples} samples each, "
            f"but its header says {shape[1]} x {shape[0]} with one"
        )
    if header.bits != stored and signed and not header.signed:  # where would the sign be?
        raise InputError(f"{path}: its compressed pixels have {header.bits} bits, but its BitsStored is {stored}")
    try:
        values = codec.decode(library, frame)
    except Exception as error:  # on damaged bytes the libraries raise whatever they stumble over
        raise InputError(f"{path}: its pixels cannot be decoded, copy it again ({syntax.name}: {error})") from error
    low = -(1 << stored - 1) if signed and header.signed else 0
    if values.shape != shape or values.min() < low or values.max() >= low + (1 << stored):
        raise InputError(f"{path}: its compressed pixels have {header.bits} bits, more than its BitsStored {stored}")
    return values


def join_fragments(data: bytes, path: Path, starts: tuple[bytes, ...] = _STARTS) -> bytes:
    """Return the bytes of the only frame of encapsulated pixels (PS3.5, A.4).

    Args:
        data: the encapsulated pixels.
        path: of the file, for the messages.
        starts: how a frame begins.

    Raises:
        InputError: if the pixels are cut off, or there are several frames.
    """
    fragments, position = [], 0
    while position + 8 <= len(data):
        tag, size = struct.unpack_from("<4sL", data, position)
        if tag == b"\xfe\xff\xdd\xe0":
            break
        position += 8 + size
        if tag != b"\xfe\xff\x00\xe0" or position > len(data):
            raise InputError(f"{path}: its pixels cannot be read, copy it again (a compressed part is cut off)")
        fragments.append(data[position - size : position])
    if len(fragments) < 2:  # the first is the table of offsets
        raise InputError(f"{path}: its pixels cannot be read, copy it again (there are none)")
    frames = sum(each.startswith(starts) for each in fragments[1:])
    if frames > 1:
        raise InputError(f"{path}: holds {frames} frames, but its header says one; split it into slices")
    return b"".join(fragments[1:])


def _read_header(frame: bytes, path: Path) -> _FrameHeader:
    """Read the size of a JPEG, JPEG-LS (ISO 10918-1, B.2.2; 14495-1, C.2.2) or JPEG 2000 frame (15444-1, A.5.1)."""
    if not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise InputError(f"{path}: its pixels cannot be decoded, copy it again (their end is missing)")
    try:
        if frame.startswith(b"\xff\x4f\xff\x51"):
            right, bottom, left, top = struct.unpack_from(">4L", frame, 8)
            samples, depth = struct.unpack_from(">HB", frame, 40)
            return _FrameHeader(bottom - top, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80))
        position = 2
        while frame.startswith(b"\xff\xd8"):
            marker, size = struct.unpack_from(">2sH", frame, position)
            if marker[1] == 0xF7 or (0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC)):
                bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, position + 4)
                return _FrameHeader(rows, columns, samples, bits, signed=False)
            if marker[0] != 0xFF or size < 2:
                break
            position += 2 + size
    except struct.error:
        pass  # it ends before its header does
    raise InputError(f"{path}: its pixels cannot be decoded, copy it again (they have no header)")
