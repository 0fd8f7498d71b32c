"""Which values of a volume become black and white."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.creation.choices import PERCENTILES, Choice

_AIR = -500  # Hounsfield units; values of other modalities do not go so far below zero
_NARROWEST = 400  # Hounsfield units of a window, so that what lies around a structure is seen, too
_STEP = 10


class Intensity(NamedTuple):
    """What becomes 0 and 1.

    Attributes:
        key: "window" or "percentiles".
        limits: the two values.
        means: what they are, for the comment beside the key.
    """

    key: str
    limits: tuple[float, float]
    means: str


def choose_intensity(slices: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[Intensity, Choice]:
    """Return a window for CT, around the values of the structures, or percentiles of each slice for anything else.

    Args:
        slices: values and class ids, of one shape.
    """
    darkest = [float(values.min()) for values, _ in slices]
    if sum(value <= _AIR for value in darkest) * 2 < len(slices):
        low, high = PERCENTILES[1]
        shown = f"{low:g}st to {high:g}th percentile of a slice"
        return Intensity(*PERCENTILES), Choice(
            "black to white", shown, "values are not Hounsfield units", "--percentiles"
        )
    inside = [values[ids > 0] for values, ids in slices if (ids > 0).any()]
    found = np.concatenate(inside) if inside else np.array([0.0])
    low, middle, high = np.percentile(found, [0.5, 50, 99.5])
    low, high = min(low, middle - _NARROWEST / 2), max(high, middle + _NARROWEST / 2)
    limits = (float(np.floor(low / _STEP) * _STEP), float(np.ceil(high / _STEP) * _STEP))
    window = Intensity("window", limits, "Hounsfield units from black to white")
    why = f"values look like CT; structures have about {middle:.0f} Hounsfield units"
    return window, Choice("black to white", f"{limits[0]:g} to {limits[1]:g}", why, "--window")
