"""The part of an image where most is to be seen, enlarged."""

from __future__ import annotations

import numpy as np

_PART = 4  # the side of the image is this many times that of the part


def fullest_part(weights: np.ndarray) -> tuple[int, int, int, int]:
    """Return the square ``(left, top, right, bottom)``, a quarter of the shorter side wide, with the most weight.

    Of several with the same weight it is the one nearest to the middle.

    Args:
        weights: ``(H, W)``, not negative.
    """
    height, width = weights.shape
    side = max(1, min(height, width) // _PART)
    total = np.zeros((height + 1, width + 1))
    total[1:, 1:] = weights.cumsum(0, dtype=float).cumsum(1)
    within = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    rows, columns = np.nonzero(within >= within.max() - 1e-6)
    nearest = np.hypot(rows + side / 2 - height / 2, columns + side / 2 - width / 2).argmin()
    top, left = int(rows[nearest]), int(columns[nearest])
    return left, top, left + side, top + side
