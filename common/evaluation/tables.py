"""What an evaluation writes: ``metrics.csv`` with every measurement, and ``summary.json``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.evaluation.summary import summarise
from common.files.atomic import atomic_file, write_json


def write_measurements(
    path: Path, cases: Sequence[str], classes: Sequence[str], measured: Mapping[str, np.ndarray]
) -> None:
    """Write a row for each case and class, with a column for each metric.

    MONAI's ``MetricsSaver`` writes one table for each metric, names cases by their paths and rounds to four digits.

    Args:
        path: of ``metrics.csv``.
        cases: names of the cases.
        classes: names of the classes, without background.
        measured: values ``(cases, classes)`` by metric; what is not finite is written as ``nan`` or ``inf``.
    """
    with atomic_file(path) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "class", *measured])
        for row, case in enumerate(cases):
            for column, name in enumerate(classes):
                table.writerow([case, name, *(f"{values[row, column]:.6g}" for values in measured.values())])


def write_summary(
    path: Path, about: Mapping[str, Any], classes: Sequence[str], measured: Mapping[str, np.ndarray]
) -> dict[str, dict[str, dict]]:
    """Write what was evaluated, and mean, spread and interval of each metric.

    Args:
        path: of ``summary.json``.
        about: what was evaluated, JSON by name; ``metrics`` is added.
        classes: names of the classes, without background.
        measured: values ``(cases, classes)`` by metric.

    Returns:
        The summary of each metric; see :func:`common.evaluation.summary.summarise`.
    """
    metrics = {name: summarise(values, classes) for name, values in measured.items()}
    write_json(path, {**about, "metrics": metrics})
    return metrics
