"""A study on disk, gathered and checked: what each run measured, and which runs are missing."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import InputError
from common.evaluation.metrics import METRICS
from common.report.settings import TEACHER, Setting, has_fine_tuned_teacher, has_transfer_set, order
from common.report.study_files import how_to_repair, read_json, read_metrics
from common.teachers.base_names import STAND_IN

_GRID = ("methods", "labels", "transfer_sizes", "lora_ranks", "seeds")


class Run(NamedTuple):
    """One finished run of a study, or a teacher, with one seed."""

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
    """All runs of a study."""

    folder: Path
    description: dict[str, Any]  # study.json
    runs: list[Run]
    missing: list[tuple[Setting, int]]  # with its seed, each run of the grid that is not finished
    stand_in: bool = False  # whether a teacher is the stand-in teacher
    cards: tuple[str, ...] = ()  # what the weights of other teachers were trained on, a sentence each

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
        return self.runs[0].classes

    @property
    def distance_unit(self) -> str:
        """What HD95 is in."""
        return self.runs[0].distance_unit

    def by_setting(self) -> dict[Setting, list[Run]]:
        """Return the runs of each setting, one for each seed, in the order of tables."""
        found: dict[Setting, list[Run]] = {}
        for run in sorted(self.runs, key=lambda run: (order(run.setting), run.seed)):
            found.setdefault(run.setting, []).append(run)
        return found


def read_study(folder: Path) -> Study:
    """Gather the finished runs and the evaluated teachers of a study.

    Raises:
        InputError: naming the file, if one is damaged or does not agree with the others; or if no run is finished.
    """
    path = folder / "study.json"
    if not path.is_file():
        raise InputError(f"{path} does not exist: expected the output_dir of python -m common study")
    description = read_json(path, {"bundle": str, "phantoms": bool, **dict.fromkeys((*_GRID, "grids"), list)})
    students = _read_runs(sorted((folder / "runs").glob("*/run.json")), "student")
    if not students:
        raise InputError(
            f"{folder} has no finished run yet: run python -m common study again, which goes on from there"
        )
    runs = students + _read_runs(sorted((folder / "shared").glob("teacher_*/shared.json")), TEACHER)
    _check_agreement(runs)
    finished = {(run.setting, run.seed) for run in runs}
    missing = [each for each in _expected_runs(description) if each not in finished]
    return Study(folder, description, runs, missing, STAND_IN in _teachers(folder), _cards(folder))


def write_results(study: Study, path: Path) -> None:
    """Write ``results.csv``: a row for each case and class of each run, with what was measured."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "class", *Setting._fields, "seed", *METRICS])
        for setting, runs in study.by_setting().items():
            fixed = ["" if value is None else value for value in setting]
            for run in runs:
                for row, case in enumerate(run.cases):
                    for column, name in enumerate(run.classes):
                        measured = [f"{run.values[metric][row, column]:.6g}" for metric in METRICS]
                        table.writerow([case, name, *fixed, run.seed, *measured])


def _teachers(folder: Path) -> list[str | None]:
    """Return the names of the teachers' bases: those that were fine-tuned, and those that students learned from."""
    fine_tuned = (folder / "shared").glob("teacher_*/teacher/teacher.json")
    records = [read_json(path, {"provenance": dict}) for path in (folder / "runs").glob("*/*.provenance.json")]
    return [read_json(path, {}).get("base_name") for path in fine_tuned] + [
        record["provenance"].get("teacher") for record in records
    ]


def _cards(folder: Path) -> tuple[str, ...]:
    """Return what is public about the weights of each fine-tuned teacher, in a sentence; nothing of the stand-in's."""
    found: dict[str, None] = {}
    for path in sorted((folder / "shared").glob("teacher_*/teacher/teacher.json")):
        record = read_json(path, {})
        card = record.get("card")
        if card is None or record.get("base_name") == STAND_IN:
            continue
        try:
            found["{name} ({licence}) was trained on {trained_on}; {overlap}".format_map(card)] = None
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: 'card' cannot be {card!r}; {how_to_repair(path)}") from error
    return tuple(found)


def _expected_runs(description: Mapping[str, Any]) -> list[tuple[Setting, int]]:
    combinations: list[tuple] = []
    for grid in description["grids"]:
        methods = list(grid["methods"]) + [TEACHER] * any(map(has_fine_tuned_teacher, grid["methods"]))
        combinations += product(methods, *(grid[name] for name in _GRID[1:]))
    expected = {
        (
            Setting(
                method,
                num_labels,
                transfer_size if has_transfer_set(method) else None,
                lora_rank if has_fine_tuned_teacher(method) else None,
            ),
            seed,
        )
        for method, num_labels, transfer_size, lora_rank, seed in combinations
    }
    return sorted(expected, key=lambda each: (order(each[0]), each[1]))


def _read_runs(paths: Sequence[Path], subject: str) -> list[Run]:
    found: dict[tuple[Setting, int], Path] = {}
    runs = []
    for path in paths:
        evaluation = path.parent / "evaluation" / subject
        if not (evaluation / "summary.json").is_file():
            continue  # not finished: it is written last
        setting, seed = _read_setting(path, subject)
        if (setting, seed) in found:
            raise InputError(f"{path} describes the same run as {found[setting, seed]}: remove one of the two folders")
        found[setting, seed] = path
        runs.append(_read_run(setting, seed, evaluation))
    return runs


def _read_setting(path: Path, subject: str) -> tuple[Setting, int]:
    optional_number = (int, type(None))
    keys: dict[str, Any] = {"num_labels": optional_number, "lora_rank": optional_number, "seed": int}
    if subject != TEACHER:
        keys |= {"method": str, "transfer_size": optional_number}
    content = read_json(path, keys)
    method, transfer_size = content.get("method", TEACHER), content.get("transfer_size")
    return Setting(method, content["num_labels"], transfer_size, content["lora_rank"]), content["seed"]


def _read_run(setting: Setting, seed: int, folder: Path) -> Run:
    path = folder / "summary.json"
    number = (int, float)
    keys: dict[str, Any] = {"cases": int, "parameters": int, "milliseconds_per_image": number}
    keys |= {"distance_unit": str, "metrics": dict}
    summary = read_json(path, keys)
    if absent := [name for name in METRICS if name not in summary["metrics"]]:
        raise InputError(f"{path}: 'metrics' has no {absent[0]}; {how_to_repair(path)}")
    classes = tuple(name for name in summary["metrics"]["dice"] if name != "mean")
    cases, values = read_metrics(folder / "metrics.csv", classes)
    if len(cases) != summary["cases"]:
        raise InputError(
            f"{folder / 'metrics.csv'} has {len(cases)} cases, but {path} counts {summary['cases']}; "
            f"{how_to_repair(path)}"
        )
    measured = (summary["parameters"], summary["milliseconds_per_image"], summary["distance_unit"])
    return Run(setting, seed, folder, cases, classes, values, *measured)


def _check_agreement(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot stand in one table."""
    first = runs[0]
    for run in runs[1:]:
        for name in ("classes", "distance_unit"):
            if getattr(run, name) != getattr(first, name):
                raise InputError(
                    f"{run.folder} has {name} {getattr(run, name)}, but {first.folder} has {getattr(first, name)}: "
                    "they are not of one study"
                )
