"""What teacher outputs on disk are of: whether a folder of them can be used again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.distillation.stored_arrays import find_damage
from common.errors import InputError
from common.files.json_files import read_json

RECORD = "teacher_outputs.json"
_ARRAYS = "arrays"

# Why outputs cannot be used, by what of their record differs.
_REASONS = {
    "teacher": "they are of another teacher",
    "inputs": "they are of other images",
    "precision": "they were computed in another precision",
    "orientations": "they were averaged over other orientations of the images",
    "grids": "they are of other layers, or on other grids",
}


def write_record(folder: Path, record: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Write what the arrays in a folder are of.

    Args:
        folder: exists.
        record: a value for each key of ``_REASONS``.
        arrays: what ``write_arrays`` returned.
    """
    text = json.dumps({**record, _ARRAYS: arrays}, indent=2)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def why_not_usable(folder: Path, record: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    """Say why what is in a folder cannot be used, if it cannot.

    Args:
        folder: need not exist.
        record: what the outputs should be of.
        keys: of the arrays that are needed.

    Raises:
        InputError: if the folder holds something else, which must not be replaced.
    """
    if not folder.exists():
        return "there are none yet"
    if not folder.is_dir() or not all(map(_is_ours, folder.iterdir())):
        raise InputError(f"teacher_outputs: {folder} exists and holds no teacher outputs; choose another folder")
    try:
        found = read_json(folder / RECORD)
        arrays = dict(found[_ARRAYS])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{RECORD} is missing or damaged"
    for key, reason in _REASONS.items():
        if found.get(key) != record[key]:
            return reason
    return find_damage(folder, keys, arrays)


def _is_ours(path: Path) -> bool:
    return path.name == RECORD or (path.name.startswith("teacher") and path.suffix == ".npy")
