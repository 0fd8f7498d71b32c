"""JSON as anybody may have written it: small enough to be read, and a reason where it cannot be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from common.errors import InputError

_MAX_BYTES = 100_000_000  # the list of a transfer set of 100,000 images has a tenth of that
_KINDS = {dict: "an object", list: "a list", int: "a number", float: "a number"}


def read_json(path: str | os.PathLike) -> Any:
    """Return what a JSON file says.

    Raises:
        OSError: if it is missing, or is no regular file.
        ValueError: if it is not JSON in UTF-8, is nested too deeply, or is too large to be anything of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing")
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, expected at most {_MAX_BYTES:,}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_record(path: str | os.PathLike, *keys: str, values: type | tuple[type, ...] = object) -> dict[str, Any]:
    """Return an object that a command of this project has written as JSON.

    Args:
        path: the file.
        keys: that it must have.
        values: what every value must be.

    Raises:
        InputError: if it cannot be read, is no object, lacks a key, or has another value.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete it, and run the same command again") from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing or not isinstance(content, dict):
        problem = f"has no {', '.join(missing)}" if missing else f"holds a {type(content).__name__}, expected an object"
        raise InputError(f"{path}: {problem}; delete it, and run the same command again")
    for key, value in content.items():
        if not isinstance(value, values):
            kinds = values if isinstance(values, tuple) else (values,)
            expected = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
            raise InputError(
                f"{path}: {key} is {value!r}, expected {expected}; delete it, and run the same command again"
            )
    return content
