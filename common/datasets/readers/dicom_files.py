"""DICOM files: which files are, what is in them, and what of them is no slice."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pydicom

from common.errors import InputError

# Value representations whose length takes 4 bytes, and those in which it takes 2 (PS3.5, 7.1.2).
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT_VRS = {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL"}
_SHORT_VRS |= {b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_HEAD = 4096  # bytes; holds the first elements of any file
_ENOUGH = 3  # elements in a row are no coincidence
_CT_CLASSES = ("CT Image Storage", "Enhanced CT Image Storage", "Legacy Converted Enhanced CT Image Storage")


def is_dicom(path: Path) -> bool:
    """Tell by its first bytes whether a file is DICOM; a DICOMDIR, the index of a disc, does not count.

    A DICOM file has "DICM" behind a preamble of 128 bytes. Older ones begin without both, at once with the elements of
    group 0002 or 0008; they are taken only if several elements in a row make sense.

    Raises:
        OSError: if it cannot be opened.
    """
    if path.name.upper() == "DICOMDIR":
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return head[128:132] == b"DICM" or _begins_with_elements(head)


def _begins_with_elements(head: bytes) -> bool:
    encodings = (("<", True), ("<", False), (">", True))  # DICOM has no implicit VR with big endian
    return any(_count_elements(head, order, explicit) >= _ENOUGH for order, explicit in encodings)


def _count_elements(head: bytes, order: str, explicit: bool) -> int:
    """Return how many elements follow each other from the first byte on, as far as they make sense."""
    count, position, last = 0, 0, (0, 0)
    while position + 12 <= len(head):
        tag = struct.unpack_from(f"{order}HH", head, position)
        vr = head[position + 4 : position + 6]
        if tag <= last or (count == 0 and tag[0] not in (0x0002, 0x0008)):
            break
        if last[0] == 0x0002 and tag[0] == 0x0008:  # the file's own header is over, the rest may be encoded differently
            return count + _count_elements(head[position:], order, False) if vr not in _SHORT_VRS else count + 1
        if not explicit:
            size, start = struct.unpack_from(f"{order}L", head, position + 4)[0], position + 8
        elif vr in _LONG_VRS:
            size, start = struct.unpack_from(f"{order}L", head, position + 8)[0], position + 12
        elif vr in _SHORT_VRS:
            size, start = struct.unpack_from(f"{order}H", head, position + 6)[0], position + 8
        else:
            break
        if size == _UNDEFINED_LENGTH:  # a sequence
            return count + 1
        if size % 2 or start + size > len(head):
            break
        count, position, last = count + 1, start + size, tag
    return count


def open_dicom(path: Path, **options: Any) -> pydicom.Dataset:
    """Read a DICOM file, with or without its preamble.

    Args:
        path: the file.
        options: what ``pydicom.dcmread`` takes.

    Raises:
        InputError: if it is missing, empty, or no DICOM file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty, copy it again")
    try:
        dataset = pydicom.dcmread(path, force=True, **options) if is_dicom(path) else None  # force: without preamble
    except Exception as error:  # on damaged bytes pydicom raises far more than its InvalidDicomError
        raise InputError(f"{path}: cannot be read as DICOM, copy it again ({error})") from error
    if dataset is None:
        raise InputError(f"{path}: cannot be read as DICOM, copy it again (it does not begin as DICOM files do)")
    return dataset


def value_of(dataset: pydicom.Dataset, name: str, path: Path) -> Any:
    """Return the value of an element, None where it is missing or empty.

    Raises:
        InputError: if the value is none of its type, such as a text for a number.
    """
    try:
        value = dataset.get(name)
        return None if value is None or (hasattr(value, "__len__") and not len(value)) else value
    except Exception as error:  # values are decoded when they are looked at, and may be anything
        raise InputError(f"{path}: its {name} is damaged, copy it again ({error})") from error


def numbers_of(dataset: pydicom.Dataset, name: str, count: int, path: Path) -> tuple[float, ...]:
    """Return the numbers of an element.

    Raises:
        InputError: if they are missing, not finite, or not as many.
    """
    value = value_of(dataset, name, path)
    try:
        numbers = (float(value),) if count == 1 else tuple(float(each) for each in value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: its {name} is damaged; expected {_amount(count)}, got {value!r}") from error
    if len(numbers) != count or not all(abs(each) < float("inf") for each in numbers):
        raise InputError(f"{path}: its {name} is damaged; expected {_amount(count)}, got {value!r}")
    return numbers


def _amount(count: int) -> str:
    return "a number" if count == 1 else f"{count} numbers"


def storage_class(dataset: pydicom.Dataset, path: Path) -> str:
    """Return what kind of object a file holds, such as "CT Image Storage"; empty where that is not known."""
    uid = pydicom.uid.UID(str(value_of(dataset, "SOPClassUID", path) or ""))
    return uid.name if uid.name != uid else ""


def is_ct(dataset: pydicom.Dataset, path: Path) -> bool:
    """Tell whether values are those of computed tomography."""
    return value_of(dataset, "Modality", path) == "CT" or storage_class(dataset, path) in _CT_CLASSES


def check_is_slice(dataset: pydicom.Dataset, path: Path) -> None:
    """Refuse what holds several slices, and what is no image.

    Raises:
        InputError: saying what it is, and what to do with it.
    """
    kind = storage_class(dataset, path)
    if kind and "Image" not in kind:
        raise InputError(f"{path}: is no image but {kind.removesuffix(' Storage')}; move it out of the folder")
    given = value_of(dataset, "NumberOfFrames", path) is not None
    frames = numbers_of(dataset, "NumberOfFrames", 1, path)[0] if given else 1
    if frames != 1 or "Enhanced" in kind or "PerFrameFunctionalGroupsSequence" in dataset:
        name = kind.removesuffix(" Storage").removesuffix(" Image").replace("Enhanced", "enhanced") or "multi-frame"
        raise InputError(
            f"{path}: {name}, {frames:g} {'frame' if frames == 1 else 'frames'}: split it into slices or convert it to "
            "NIfTI (for example dcm2niix)"
        )
