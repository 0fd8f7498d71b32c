"""Plans of inputs: what hypothesis draws from a strategy, by a number, so that each can be drawn again alone."""

from __future__ import annotations

import zlib
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

_DRAWN = 12  # hypothesis begins with the simplest of all


def draw(strategy: SearchStrategy, name: str) -> Any:
    """Return a value of a strategy; the same name draws the same value."""
    drawn = []

    @seed(zlib.crc32(name.encode()))
    @settings(
        max_examples=_DRAWN, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=HealthCheck
    )
    @given(strategy)
    def keep(value: Any) -> None:
        drawn.append(value)

    keep()
    return drawn[-1]
