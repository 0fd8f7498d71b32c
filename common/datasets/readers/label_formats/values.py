"""How messages name values that a label should not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAX_NAMED = 3


def name_values(counts: Mapping[Any, int], what: str = "values") -> str:
    """Return how many pixels have values that are no class, as in "9 pixels of 2 values that are no class".

    Args:
        counts: pixels by value or colour.
        what: the values are, in the plural.
    """
    pixels = sum(counts.values())
    most = sorted(counts, key=lambda value: -counts[value])[:_MAX_NAMED]
    shown = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in most)
    single = what.removesuffix("s")
    if len(counts) == 1:
        return f"{pixels:,} pixels of the {single} {shown}, which is no class"
    listed = f"most of them {shown}" if len(counts) > _MAX_NAMED else shown
    return f"{pixels:,} pixels of {len(counts)} {what} that are no class ({listed})"
