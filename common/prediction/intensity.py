"""Which values a student sees as 0 and 1, as MONAI's transforms have them, in numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_MOST = 1_000_000  # values of which MONAI takes a quantile by torch, which rounds to float32


def scale(values: np.ndarray, intensity: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """Return values as a student sees them, float32 in [0, 1].

    Args:
        values: of a slice, or of a picture or a part of it.
        intensity: of a :class:`common.prediction.recipe.Recipe`; ``percentiles`` are those of the values given.
    """
    ((kind, pair),) = intensity.items()
    values = values.astype(np.float32)
    low, high = (_quantile(values, each / 100) for each in pair) if kind == "percentiles" else map(np.float32, pair)
    values -= low
    if high != low:  # otherwise MONAI leaves them as they are
        values /= high - low
    return np.clip(values, 0, 1, out=values)


def _quantile(values: np.ndarray, share: float) -> np.float32:
    """Return what a share of the values is below, as ``monai.transforms.utils_pytorch_numpy_unification.percentile``
    does: between two of them it is interpolated in float32.
    """
    if values.size > _MOST:
        return np.float32(np.percentile(values, share * 100))
    rank = np.float32(share) * np.float32(values.size - 1)
    below = int(np.floor(rank))
    above = min(below + 1, values.size - 1)
    found = np.partition(values.ravel(), (below, above))
    return found[below] + (rank - np.float32(below)) * (found[above] - found[below])
