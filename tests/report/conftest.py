"""Studies fabricated by hand, in the form in which a study and its evaluations lie on disk."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.evaluation.overlays import draw_overlay
from common.evaluation.summary import summarise
from common.pictures.sheets import save_sheet
from common.report.settings import has_fine_tuned_teacher, has_transfer_set

METHODS = ("scratch", "mae", "mocov3", "task_agnostic_kd", "task_specific_kd", "unet")
_SKILL = {"task_specific_kd": 0.9, "teacher": 0.93, "unet": 0.88}


def _write_evaluation(
    folder: Path,
    cases: Sequence[str],
    classes: Sequence[str],
    values: Mapping[str, np.ndarray],
    parameters: int = 5_684_530,
    milliseconds: float = 12.0,
    unit: str = "px",
) -> None:
    """Write what common.evaluation writes: metrics.csv, summary.json and overlays.

    Args:
        folder: to write to.
        cases: names.
        classes: names.
        values: ``(cases, classes)`` by metric.
        parameters: of the network.
        milliseconds: for an image.
        unit: of distances.
    """
    (folder / "overlays").mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case", "class", *values])
        for row, column in product(range(len(cases)), range(len(classes))):
            table.writerow([cases[row], classes[column], *(f"{each[row, column]:.6g}" for each in values.values())])
    label = torch.zeros(24, 20, dtype=torch.int64)
    label[4:12, 4:12] = 1
    for number, case in enumerate(cases):
        image, prediction = torch.full((1, 24, 20), 0.1 * (number % 10)), label.roll(number % 3, 0)
        sheet = draw_overlay(image, prediction, label, ["background", "structure"], case)
        save_sheet(sheet, folder / "overlays" / f"{case}.png")
    summary = {
        "subject": "student",
        "cases": len(cases),
        "parameters": parameters,
        "milliseconds_per_image": milliseconds,
        "distance_unit": unit,
        "metrics": {name: summarise(each, classes) for name, each in values.items()},
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


def _write_run(folder: Path, content: Mapping[str, Any], **evaluation: Any) -> Path:
    """Write one run of a study, or a teacher where ``content`` names no method; return its evaluation's folder."""
    subject, name = ("student", "run.json") if "method" in content else ("teacher", "shared.json")
    folder.mkdir(parents=True)
    (folder / name).write_text(json.dumps(dict(content)))
    _write_evaluation(folder / "evaluation" / subject, **evaluation)
    return folder / "evaluation" / subject


def _write_study(
    folder: Path,
    methods: Sequence[str] = METHODS,
    labels: Sequence[int | None] = (5, 10),
    transfer_sizes: Sequence[int] = (100, 200),
    lora_ranks: Sequence[int] = (16,),
    seeds: Sequence[int] = (0, 1),
    classes: Sequence[str] = ("lesion",),
    num_cases: int = 8,
    phantoms: bool = False,
) -> Path:
    """Write a whole study in which every method has a skill of its own, and the teacher the greatest."""
    (folder / "runs").mkdir(parents=True)
    grid = {"methods": methods, "labels": labels, "transfer_sizes": transfer_sizes, "lora_ranks": lora_ranks}
    description = {"bundle": "ph2_segmentation", "dataset_dir": "/data/PH2", "phantoms": phantoms}
    description |= {"overlay": ["cpu"], "overrides": {"epochs": 3}, **grid, "seeds": seeds}
    description["grids"] = [{**grid, "seeds": seeds}]
    (folder / "study.json").write_text(json.dumps(description))
    rng = np.random.default_rng(0)

    def measure(skill: float) -> dict[str, np.ndarray]:
        dice = (skill - 0.1 * rng.random((num_cases, len(classes)))).round(6)
        return {"dice": dice, "iou": dice / (2 - dice), "hd95": 100 * (1 - dice)}

    for method, num_labels, size, rank, seed in product(methods, labels, transfer_sizes, lora_ranks, seeds):
        run = {"method": method, "num_labels": num_labels, "transfer_size": size, "lora_rank": rank, "seed": seed}
        if not has_transfer_set(method):
            run["transfer_size"] = None
        if not has_fine_tuned_teacher(method):
            run["lora_rank"] = None
        path = folder / "runs" / "_".join(str(part) for part in run.values())
        cases = [f"IMD{seed}{number:02d}" for number in range(num_cases)]
        if not path.exists():
            _write_run(path, run, cases=cases, classes=classes, values=measure(_SKILL.get(method, 0.85)))
        teacher = folder / "shared" / f"teacher_{num_labels}_{rank}_{seed}"
        if method == "task_specific_kd" and not teacher.exists():
            content = {"num_labels": num_labels, "lora_rank": rank, "seed": seed}
            values = measure(_SKILL["teacher"])
            _write_run(
                teacher, content, cases=cases, classes=classes, values=values, parameters=93_735_472, milliseconds=60.0
            )
    return folder


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    return _write_run


@pytest.fixture(scope="session")
def write_study() -> Callable[..., Path]:
    return _write_study


@pytest.fixture(scope="session")
def whole_study(tmp_path_factory) -> Path:
    """A whole study of six methods, not to be changed."""
    return _write_study(tmp_path_factory.mktemp("study") / "runs")
