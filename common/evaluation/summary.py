"""Means, standard deviations and bootstrap intervals of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def summarise(
    values: np.ndarray,
    classes: Sequence[str],
    resamples: int = 2000,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> dict[str, dict]:
    """Summarise one metric, per class and for the mean over classes.

    Args:
        values: ``(rows, classes)``, a row for each case; what is not finite (the distance to an empty mask) is left out
            and counted.
        classes: names of the classes.
        resamples: bootstrap samples of groups for the 95 % interval of the mean.
        seed: of the bootstrap.
        groups: what each row belongs to, where several rows are not independent, such as those of one case that several
            networks were tried on: the bootstrap draws all of them or none. By default each row stands alone.
    """
    columns = {name: values[:, index] for index, name in enumerate(classes)} | {"mean": mean_over_classes(values)}
    group_of_row = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    summary = {}
    for name, column in columns.items():
        known = np.isfinite(column)
        defined = column[known]
        entry: dict[str, Any] = {"mean": None, "sd": None, "ci95": None, "undefined": int(len(column) - len(defined))}
        if len(defined):
            members = np.unique(group_of_row[known], return_inverse=True)[1]
            sums, counts = np.bincount(members, weights=defined), np.bincount(members)
            drawn = rng.integers(len(sums), size=(resamples, len(sums)))
            means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
            entry |= {"mean": float(defined.mean()), "sd": float(defined.std(ddof=1)) if len(defined) > 1 else 0.0}
            entry["ci95"] = [float(bound) for bound in np.percentile(means, [2.5, 97.5])]
        summary[name] = entry
    return summary


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Return the mean ``(rows,)`` of values ``(rows, classes)`` over the classes that are finite, nan where none is."""
    finite = np.where(np.isfinite(values), values, np.nan)
    known = np.isfinite(finite).any(axis=1)
    means = np.full(len(finite), np.nan)
    means[known] = np.nanmean(finite[known], axis=1)
    return means
