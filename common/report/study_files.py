"""The files of a study, each checked as it is read: a damaged one is named, with what to do about it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.evaluation.metrics import METRICS


def read_metrics(path: Path, classes: Sequence[str]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return the cases of ``metrics.csv`` and their values ``(cases, classes)`` by metric.

    Raises:
        InputError: naming the file, if it is damaged or has other classes.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file, strict=True)
            rows = list(table)
            columns = table.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}); {how_to_repair(path)}") from error
    if absent := [name for name in ("case", "class", *METRICS) if name not in columns]:
        raise InputError(f"{path} has no column '{absent[0]}'; {how_to_repair(path)}")
    cases = tuple(dict.fromkeys(row["case"] for row in rows))
    if [(row["case"], row["class"]) for row in rows] != list(product(cases, classes)):
        raise InputError(
            f"{path}: expected one row for each case and each of {', '.join(classes)}; {how_to_repair(path)}"
        )
    shape = (len(cases), len(classes))
    return cases, {name: np.array([_number(path, row, name) for row in rows]).reshape(shape) for name in METRICS}


def _number(path: Path, row: Mapping[str, str | None], metric: str) -> float:
    text = row[metric]
    if text == "":
        return float("nan")
    try:
        return float(text or "")  # a row that was cut off has None
    except ValueError as error:
        raise InputError(
            f"{path}, case {row['case']}: {metric} is not a number but {text!r}; {how_to_repair(path)}"
        ) from error


def read_json(path: Path, keys: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Return a JSON object that has the given keys, each of one of the given types.

    Raises:
        InputError: naming the file, and the key that is missing or wrong.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); {how_to_repair(path)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got a {type(content).__name__}; {how_to_repair(path)}")
    for key, expected in keys.items():
        if key not in content:
            raise InputError(f"{path}: '{key}' is missing; {how_to_repair(path)}")
        if not isinstance(content[key], expected):
            raise InputError(f"{path}: '{key}' cannot be {content[key]!r}; {how_to_repair(path)}")
    return content


def how_to_repair(path: Path) -> str:
    """Return what to do about a damaged file."""
    # An evaluation is done again only where its summary is gone, and its other files with it.
    damaged = path.parent if path.name in ("metrics.csv", "summary.json") else path
    return f"delete {damaged} and run python -m common study again"
