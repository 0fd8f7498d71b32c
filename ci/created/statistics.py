"""Whether two bundles' students differ by more than the seeds of their trainings do."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats


class Difference(NamedTuple):
    """Mean Dice of the students that one bundle gives minus that of another's."""

    mean: float
    low: float  # of the 95 % interval, by a t-test on the means of the seeds; NaN where there is one seed
    high: float

    @property
    def within_chance(self) -> bool | None:
        """Whether the interval has 0 in it; None where there is none."""
        return None if np.isnan(self.low) else bool(self.low <= 0 <= self.high)


def mean_dice(metrics: Path) -> float:
    """Return the mean over classes of the mean over cases of a ``metrics.csv``, cases without the class left out."""
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_class: dict[str, list[float]] = {}
    for row in rows:
        by_class.setdefault(row["class"], []).append(float(row["dice"] or "nan"))
    return float(np.mean([np.nanmean(values) for values in by_class.values()]))


def difference(ones: Sequence[float], others: Sequence[float]) -> Difference:
    """Return how far the first lie above the second, one number a seed.

    Trainings of two bundles share nothing by having the same seed, so that seeds are not pairs (Welch's test).
    """
    mean = float(np.mean(ones) - np.mean(others))
    if min(len(ones), len(others)) < 2:
        return Difference(mean, float("nan"), float("nan"))
    if np.ptp(ones) == np.ptp(others) == 0:
        return Difference(mean, mean, mean)
    interval = stats.ttest_ind(ones, others, equal_var=False).confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high))
