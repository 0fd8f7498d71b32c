"""The text that means a value on the command line of ``monai.bundle``, to fire and to :mod:`common.configs.values`."""

from __future__ import annotations

import json
import math
from typing import Any

from fire.parser import DefaultParseValue

from common.configs.values import read_value
from common.errors import InputError


def write_value(key: str, value: Any) -> str:
    """Return the text that means a value for a key, to :func:`~common.configs.values.read_value` and to fire alike.

    Null is ``$None``, an expression of MONAI's configs: ``monai.bundle run`` leaves out an override that is None.
    """
    if value is None:
        return "$None"
    if isinstance(value, str):
        return value if _is_plain(key, value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and not math.isfinite(value):
        return f"$float('{value}')"
    return _literal(value)


def _is_plain(key: str, text: str) -> bool:
    """Say whether a text means itself."""
    try:
        return DefaultParseValue(text) == text == read_value(key, text)
    except InputError:  # it begins like a list
        return False


def _literal(value: Any) -> str:
    """Return a literal that Python and :func:`~common.configs.values.read_value` read alike."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
