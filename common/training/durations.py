"""Durations in words."""

from __future__ import annotations


def in_words(seconds: float) -> str:
    """Return a duration such as ``0.4 s``, ``12 s``, ``3 min`` or ``2 h 05 min``."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
