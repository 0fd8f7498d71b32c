"""How two configs differ, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_json(value: Any) -> Any:
    """Return a value as it is after writing and reading, with tuples as lists."""
    return json.loads(json.dumps(value, default=str))


def leaves(config: Any, path: str = "") -> dict[str, Any]:
    """Return the values of a nested config by their path, as MONAI writes it."""
    if isinstance(config, (dict, list)) and config:
        items = config.items() if isinstance(config, dict) else enumerate(config)
        return {
            leaf: content
            for key, value in items
            for leaf, content in leaves(value, f"{path}::{key}" if path else str(key)).items()
        }
    return {path: config}


def describe_differences(before: Mapping[str, Any], now: Mapping[str, Any], name: str = "{}") -> list[str]:
    """Return what was changed, added or taken away.

    Args:
        before: values by key.
        now: the same.
        name: how a key is shown, such as ``--{}``.
    """
    keys = [key for key in {**before, **now} if (key in before, before.get(key)) != (key in now, now.get(key))]
    return [
        f"{name.format(key)} was {show(before[key]) if key in before else 'not given'}, now "
        f"{show(now[key]) if key in now else 'not given'}"
        for key in keys
    ]


def show(value: Any) -> str:
    """Return a value as text, names in a list with commas between them."""
    return (
        ",".join(value) or "none" if isinstance(value, list) and all(isinstance(x, str) for x in value) else str(value)
    )
