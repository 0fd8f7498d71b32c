"""Names that are given as a list, or as text with commas between them."""

from __future__ import annotations

from collections.abc import Sequence


def as_list(value: str | Sequence[str] | None) -> list[str]:
    """Return names that are given as a list, or as text with commas between them."""
    if value is None:
        return []
    if isinstance(value, str):
        return [name.strip() for name in value.split(",")]
    return [str(name) for name in value] if isinstance(value, (list, tuple)) else [str(value)]
