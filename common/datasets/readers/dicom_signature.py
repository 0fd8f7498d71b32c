"""How DICOM files begin; nothing of pydicom, which who segments pictures does without."""

from __future__ import annotations

import struct
from pathlib import Path

# Value representations whose length takes 4 bytes, and those in which it takes 2 (PS3.5, 7.1.2).
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT_VRS = {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL"}
_SHORT_VRS |= {b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_HEAD = 4096  # bytes; holds the first elements of any file
_ENOUGH = 3  # elements in a row are no coincidence


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
