"""Damage to the bytes of a file, of whatever kind it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

_PLACE = st.floats(0, 1, exclude_max=True)
FLIP = st.fixed_dictionaries(
    {"how": st.just("flip"), "at": st.lists(_PLACE, min_size=1, max_size=8), "by": st.integers(1, 255)}
)
# In the first bytes, where headers are.
FLIP_HEAD = st.fixed_dictionaries(
    {
        "how": st.just("flip head"),
        "at": st.lists(st.integers(0, 400), min_size=1, max_size=4),
        "by": st.integers(1, 255),
    }
)
CUT = st.fixed_dictionaries({"how": st.just("cut"), "at": _PLACE})
CUT_END = st.fixed_dictionaries({"how": st.just("cut end"), "bytes": st.integers(1, 64)})
EMPTY = st.just({"how": "empty"})
ZEROS = st.fixed_dictionaries({"how": st.just("zeros"), "at": _PLACE, "bytes": st.integers(1, 4096)})
NOISE = st.fixed_dictionaries({"how": st.just("noise"), "bytes": st.binary(min_size=1, max_size=64).map(bytes.hex)})
HTML = st.just({"how": "noise", "bytes": b"<!DOCTYPE html><title>404 Not Found</title>".hex()})
ANY = st.one_of(FLIP, FLIP_HEAD, CUT, CUT_END, EMPTY, ZEROS, NOISE, HTML)


def apply(damage: dict[str, Any], path: Path) -> None:
    """Damage a file in place."""
    content = bytearray(path.read_bytes())
    size = len(content)
    if not content:
        return
    match damage["how"]:
        case "flip":
            for place in damage["at"]:
                content[int(place * size)] ^= damage["by"]
        case "flip head":
            for place in damage["at"]:
                content[place % size] ^= damage["by"]
        case "cut":
            del content[int(damage["at"] * size) :]
        case "cut end":
            del content[max(0, size - damage["bytes"]) :]
        case "empty":
            content.clear()
        case "zeros":
            start = int(damage["at"] * size)
            end = min(size, start + damage["bytes"])
            content[start:end] = bytes(end - start)
        case "noise":
            content[:] = bytes.fromhex(damage["bytes"])
    path.unlink()  # it may be a link to what others read
    path.write_bytes(content)


def is_cut(damage: dict[str, Any]) -> bool:
    """Say whether bytes are gone, so that no reader can know what they were."""
    return damage["how"] in ("cut", "cut end", "empty", "noise")
