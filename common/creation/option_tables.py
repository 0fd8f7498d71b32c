"""Options that say something of each class, as ``wound=#ff0000,skin=#00ff00``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from common.errors import InputError

_EXAMPLES = {
    "colours": "wound=#ff0000,skin=#00ff00",
    "class_files": "wound=_wound,skin=_skin, or wound=wound/,skin=skin/ for folders",
    "polygons": "wound=Ulcer",
    "values": "85=1,170=2",
}


def read_by_class(key: str, value: Any, classes: Sequence[str]) -> dict[str, Any]:
    """Return ``colours``, ``class_files`` or ``polygons`` by class.

    Args:
        key: which of them.
        value: a mapping, or a text.
        classes: by id, background first, which alone may be missing.

    Raises:
        InputError: if a class is missing or unknown, or a value is of no use.
    """
    table = _read_table(key, value)
    _check_names(key, table, classes)
    return {name: _read_entry(key, name, each) for name, each in table.items()}


def read_values(value: Any, num_classes: int) -> dict[int, int]:
    """Return the class ids of grey values, from a mapping or a text as ``85=1,170=2``.

    Raises:
        InputError: if one is no grey value, or no class id.
    """
    table = {}
    for grey, index in _read_table("values", value).items():
        if not (str(grey).isdecimal() and str(index).isdecimal() and int(index) < num_classes):
            expected = f"grey value=class id, ids from 0 to {num_classes - 1}"
            raise InputError(f"--values: {grey}={index}: expected {expected}, as in {_EXAMPLES['values']}")
        table[int(grey)] = int(index)
    return table


def _read_table(key: str, value: Any) -> dict[str, Any]:
    """Return ``{wound: _wound}`` or ``wound=_wound,skin=_skin`` as a mapping."""
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items()}
    parts = [part for part in str(value).split(",") if part.strip()]
    if not parts or not all("=" in part for part in parts):
        raise InputError(f"--{key}: expected {_EXAMPLES[key]}; got {value!r}")
    return {name.strip(): text.strip() for name, text in (part.split("=", 1) for part in parts)}


def _check_names(key: str, table: Mapping[str, Any], classes: Sequence[str]) -> None:
    for name in table:
        if name not in classes:
            near = get_close_matches(name, classes, n=1)
            hint = f"did you mean {near[0]}?" if near else f"--classes has {', '.join(classes)}"
            raise InputError(f"--{key}: {name!r} is no class; {hint}")
    missing = [name for name in classes[1:] if name not in table]
    if missing:
        raise InputError(f"--{key}: {missing[0]} is missing; expected {_EXAMPLES[key]}")


def _read_entry(key: str, name: str, value: Any) -> Any:
    if key != "colours":
        return str(value)
    if isinstance(value, str):
        digits = re.fullmatch(r"#?([0-9a-fA-F]{6})", value.strip())
        parts = list(bytes.fromhex(digits[1])) if digits else [int(each) for each in re.findall(r"\d+", value)]
    else:
        parts = list(value) if isinstance(value, Sequence) else []
    if len(parts) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in parts):
        raise InputError(f"--colours: {name}: expected #ff0000 or three numbers from 0 to 255, got {value!r}")
    return tuple(parts)
