"""A study on disk, gathered and checked: what each cell measured, and which cells are missing."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import InputError

METRICS = ("dice", "iou", "hd95")
REFERENCE = "task_specific_kd"
TEACHER = "teacher"

# In the order in which they are listed. The teacher is no method of the study, but what its student is held against.
METHODS = {
    REFERENCE: "task-specific KD",
    "task_agnostic_kd": "task-agnostic KD",
    "mocov3": "MoCo v3",
    "mae": "MAE",
    "scratch": "from scratch",
    "unet": "U-Net",
    TEACHER: "fine-tuned teacher",
}
WITHOUT_TRANSFER_SET = ("scratch", "unet", TEACHER)
_WITH_FINE_TUNED_TEACHER = (REFERENCE, TEACHER)
_GRID = ("methods", "labels", "transfer_sizes", "lora_ranks", "seeds")


class Setting(NamedTuple):
    """What was tried: all that tells cells apart but the seed."""

    method: str
    num_labels: int | None  # None is every labelled image
    transfer_size: int | None  # None where there is no transfer set
    lora_rank: int | None  # None where there is no fine-tuned teacher

    @property
    def title(self) -> str:
        """The method's name in print."""
        return METHODS.get(self.method, self.method)

    @property
    def labels_in_print(self) -> str:
        """The number of labels in print."""
        return "all" if self.num_labels is None else str(self.num_labels)

    @property
    def transfer_size_in_print(self) -> str:
        """The size of the transfer set in print."""
        if self.method in WITHOUT_TRANSFER_SET:
            return "-"
        return "all" if self.transfer_size is None else str(self.transfer_size)


class Cell(NamedTuple):
    """One finished cell of a study, or a teacher, with one seed."""

    setting: Setting
    seed: int
    folder: Path  # of the evaluation
    cases: tuple[str, ...]
    classes: tuple[str, ...]
    values: dict[str, np.ndarray]  # by metric, (cases, classes); nan or inf where a metric is undefined
    parameters: int
    milliseconds_per_image: float
    distance_unit: str

    def overlay(self, case: str) -> Path:
        """Return where the picture of a case is, if there is one."""
        return self.folder / "overlays" / f"{case}.png"


class Study(NamedTuple):
    """All cells of a study."""

    folder: Path
    description: dict[str, Any]  # study.json
    cells: list[Cell]
    missing: list[tuple[Setting, int]]  # with its seed, each cell of the grid that is not finished

    @property
    def name(self) -> str:
        """The bundle that was studied."""
        return self.description["bundle"]

    @property
    def phantoms(self) -> bool:
        """Whether the images are procedural, and no patients'."""
        return self.description["phantoms"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the structures, without background."""
        return self.cells[0].classes

    @property
    def distance_unit(self) -> str:
        """What HD95 is in."""
        return self.cells[0].distance_unit

    def by_setting(self) -> dict[Setting, list[Cell]]:
        """Return the cells of each setting, one for each seed, in the order of tables."""
        found: dict[Setting, list[Cell]] = {}
        for cell in sorted(self.cells, key=lambda cell: (order(cell.setting), cell.seed)):
            found.setdefault(cell.setting, []).append(cell)
        return found


def order(setting: Setting) -> tuple:
    """Return a key to sort settings by: number of labels, transfer-set size, method, LoRA rank; what is None last."""
    names = list(METHODS)
    known = names.index(setting.method) if setting.method in names else len(names)
    numbers = [float("inf") if number is None else number for number in setting[1:]]
    return numbers[0], numbers[1], known, setting.method, numbers[2]


def read_study(folder: Path) -> Study:
    """Gather the finished cells and the evaluated teachers of a study.

    Raises:
        InputError: naming the file, if one is damaged or does not agree with the others; or if no cell is finished.
    """
    path = folder / "study.json"
    if not path.is_file():
        raise InputError(f"{path} does not exist: expected the output_dir of python -m common study")
    description = _read_json(path, {"bundle": str, "phantoms": bool, **dict.fromkeys((*_GRID, "grids"), list)})
    students = _read_cells(sorted((folder / "cells").glob("*/cell.json")), "student")
    if not students:
        raise InputError(
            f"{folder} has no finished cell yet: run python -m common study again, which goes on from there"
        )
    cells = students + _read_cells(sorted((folder / "shared").glob("teacher_*/teacher.cell.json")), TEACHER)
    _check_agreement(cells)
    finished = {(cell.setting, cell.seed) for cell in cells}
    missing = [each for each in _expected_cells(description) if each not in finished]
    return Study(folder, description, cells, missing)


def write_results(study: Study, path: Path) -> None:
    """Write ``results.csv``: a row for each case and class of each cell, with what was measured."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "class", *Setting._fields, "seed", *METRICS])
        for setting, cells in study.by_setting().items():
            fixed = ["" if part is None else part for part in setting]
            for cell in cells:
                for row, case in enumerate(cell.cases):
                    for column, name in enumerate(cell.classes):
                        measured = [f"{cell.values[metric][row, column]:.6g}" for metric in METRICS]
                        table.writerow([case, name, *fixed, cell.seed, *measured])


def _expected_cells(description: Mapping[str, Any]) -> list[tuple[Setting, int]]:
    combinations: list[tuple] = []
    for grid in description["grids"]:
        methods = list(grid["methods"]) + ([TEACHER] if REFERENCE in grid["methods"] else [])
        combinations += product(methods, *(grid[name] for name in _GRID[1:]))
    expected = {
        (
            Setting(
                method,
                num_labels,
                None if method in WITHOUT_TRANSFER_SET else transfer_size,
                lora_rank if method in _WITH_FINE_TUNED_TEACHER else None,
            ),
            seed,
        )
        for method, num_labels, transfer_size, lora_rank, seed in combinations
    }
    return sorted(expected, key=lambda each: (order(each[0]), each[1]))


def _read_cells(paths: Sequence[Path], subject: str) -> list[Cell]:
    found: dict[tuple[Setting, int], Path] = {}
    cells = []
    for path in paths:
        evaluation = path.parent / "evaluation" / subject
        if not (evaluation / "summary.json").is_file():
            continue  # not finished: it is written last
        setting, seed = _read_setting(path, subject)
        if (setting, seed) in found:
            raise InputError(f"{path} describes the same cell as {found[setting, seed]}: remove one of the two folders")
        found[setting, seed] = path
        cells.append(_read_cell(setting, seed, evaluation))
    return cells


def _read_setting(path: Path, subject: str) -> tuple[Setting, int]:
    optional_number = (int, type(None))
    keys: dict[str, Any] = {"num_labels": optional_number, "lora_rank": optional_number, "seed": int}
    if subject != TEACHER:
        keys |= {"method": str, "transfer_size": optional_number}
    content = _read_json(path, keys)
    method, transfer_size = content.get("method", TEACHER), content.get("transfer_size")
    return Setting(method, content["num_labels"], transfer_size, content["lora_rank"]), content["seed"]


def _read_cell(setting: Setting, seed: int, folder: Path) -> Cell:
    path = folder / "summary.json"
    number = (int, float)
    keys = {"cases": int, "parameters": int, "milliseconds_per_image": number, "distance_unit": str, "metrics": dict}
    summary = _read_json(path, keys)
    if absent := [name for name in METRICS if name not in summary["metrics"]]:
        raise InputError(f"{path}: 'metrics' has no {absent[0]}; {_how_to_mend(path)}")
    classes = tuple(name for name in summary["metrics"]["dice"] if name != "mean")
    cases, values = _read_metrics(folder / "metrics.csv", classes)
    if len(cases) != summary["cases"]:
        raise InputError(
            f"{folder / 'metrics.csv'} has {len(cases)} cases, but {path} counts {summary['cases']}; "
            f"{_how_to_mend(path)}"
        )
    measured = (summary["parameters"], summary["milliseconds_per_image"], summary["distance_unit"])
    return Cell(setting, seed, folder, cases, classes, values, *measured)


def _read_metrics(path: Path, classes: Sequence[str]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return the cases and their values ``(cases, classes)`` by metric."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file, strict=True)
            rows = list(table)
            columns = table.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}); {_how_to_mend(path)}") from error
    if absent := [name for name in ("case", "class", *METRICS) if name not in columns]:
        raise InputError(f"{path} has no column '{absent[0]}'; {_how_to_mend(path)}")
    cases = tuple(dict.fromkeys(row["case"] for row in rows))
    if [(row["case"], row["class"]) for row in rows] != list(product(cases, classes)):
        raise InputError(
            f"{path}: expected one row for each case and each of {', '.join(classes)}; {_how_to_mend(path)}"
        )
    shape = (len(cases), len(classes))
    return cases, {name: np.array([_number(path, row, name) for row in rows]).reshape(shape) for name in METRICS}


def _number(path: Path, row: Mapping[str, str | None], metric: str) -> float:
    text = row[metric]
    if text == "":
        return float("nan")
    try:
        return float(text)
    except (TypeError, ValueError) as error:  # a row that was cut off has None
        raise InputError(
            f"{path}, case {row['case']}: {metric} is no number but {text!r}; {_how_to_mend(path)}"
        ) from error


def _read_json(path: Path, keys: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Return a JSON object that has the given keys, each of one of the given types."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); {_how_to_mend(path)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got a {type(content).__name__}; {_how_to_mend(path)}")
    for key, expected in keys.items():
        if key not in content:
            raise InputError(f"{path}: '{key}' is missing; {_how_to_mend(path)}")
        if not isinstance(content[key], expected):
            raise InputError(f"{path}: '{key}' cannot be {content[key]!r}; {_how_to_mend(path)}")
    return content


def _how_to_mend(path: Path) -> str:
    # An evaluation is done anew only where its summary is gone, and its other files with it.
    damaged = path.parent if path.name in ("metrics.csv", "summary.json") else path
    return f"delete {damaged} and run python -m common study again"


def _check_agreement(cells: Sequence[Cell]) -> None:
    """Refuse cells that cannot stand in one table."""
    first = cells[0]
    for cell in cells[1:]:
        for name in ("classes", "distance_unit"):
            if getattr(cell, name) != getattr(first, name):
                raise InputError(
                    f"{cell.folder} has {name} {getattr(cell, name)}, but {first.folder} has {getattr(first, name)}: "
                    "they are not of one study"
                )
