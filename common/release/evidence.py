"""What is known of a student: how good it is, and what it was trained with, as far as its folder of results tells."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import torch
from torch import nn

from common.checkpoints import read_checkpoint
from common.errors import InputError
from common.fingerprints import network_fingerprint

NO_TEACHER = "none"
UNKNOWN = "unknown"
STAND_IN = "embedded"

_METHODS_WITHOUT_TEACHER = {"scratch", "mae", "mocov3"}


class Evidence(NamedTuple):
    """What is known of a student.

    Attributes:
        summary: of its evaluation.
        teacher: name of its teacher's base, or ``NO_TEACHER``, ``UNKNOWN`` or ``STAND_IN``.
        method: what prepared it before it was fine-tuned, None where that is unknown.
        training: settings of its fine-tuning, empty where they are unknown.
        phantoms: whether it was trained and evaluated on phantoms.
    """

    summary: dict[str, Any]
    teacher: str
    method: str | None
    training: dict[str, Any]
    phantoms: bool


def read_summary(path: Path) -> dict[str, Any]:
    """Return the summary of a student's evaluation.

    Raises:
        InputError: if there is none, or it is damaged, of a teacher, or older than what a release asks for.
    """
    again = "run evaluate.yaml on these weights"
    if not path.is_file():
        raise InputError(
            f"there are no measured metrics in {path}: {again} first, or name its summary.json by --metrics"
        )
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        subject, metrics = summary["subject"], summary["metrics"]
        [metrics[name]["mean"]["mean"] for name in ("dice", "iou", "hd95")]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged or no summary of an evaluation ({error!r}): {again} again") from error
    if subject != "student":
        raise InputError(f"{path} has the metrics of a {subject}, not of a student: {again}")
    if "network" not in summary or not isinstance(summary.get("settings"), dict):
        raise InputError(f"{path} does not say which network it is about, as older ones do not: {again} again")
    return summary


def check_summary(path: Path, summary: dict[str, Any], network: nn.Module, classes: Sequence[str]) -> None:
    """Refuse metrics that are not those of a network, or that cannot be true.

    Args:
        path: of the summary, for messages.
        summary: what :func:`read_summary` returned.
        network: the student with its weights.
        classes: names of its classes by id, background first.

    Raises:
        InputError: saying which metric is wrong, and what to do.
    """
    again = "run evaluate.yaml on these weights again"
    for name in ("dice", "iou", "hd95"):
        measured = summary["metrics"][name]
        if list(measured) != [*classes[1:], "mean"]:
            raise InputError(
                f"{path} has the classes {', '.join(list(measured)[:-1])}, this student {', '.join(classes[1:])}: it "
                f"is of another bundle or task; {again}"
            )
        for label, entry in measured.items():
            value = entry.get("mean")
            if value is None and name == "hd95":  # the distance to an empty mask is undefined
                continue
            limit = math.inf if name == "hd95" else 1
            if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value <= limit:
                raise InputError(f"{path}: {name} of {label} is {value}, which no evaluation gives; {again}")
    if summary["network"] != network_fingerprint(network):
        raise InputError(
            f"{path} is about another network or other weights than these, such as those of an earlier training: "
            f"{again}"
        )


def gather(weights: Path, summary: dict[str, Any], stated_teacher: str | None) -> Evidence:
    """Return what the folder of a student's weights tells about it.

    Args:
        weights: the student's weights, as ``train.yaml`` wrote them.
        summary: of its evaluation.
        stated_teacher: what the user says that its teacher was.

    Raises:
        InputError: if that contradicts what the folder tells, or a file of it is damaged.
    """
    folder = weights.resolve().parent
    method = _read_json(folder / "method.json").get("method")
    recorded = _recorded_teacher(folder, method)
    if stated_teacher and recorded not in (UNKNOWN, stated_teacher):
        raise InputError(f"--teacher {stated_teacher}: {folder} says that it was '{recorded}'; leave it out")
    shared = [folder, *folder.parents[1:2]]  # a cell of a study has its phantoms two levels up
    return Evidence(
        summary=summary,
        teacher=stated_teacher or recorded,
        method=method,
        training=_training_settings(folder / "checkpoints" / "train.pt", weights),
        phantoms=any((each / "phantoms").is_dir() for each in shared),
    )


def _recorded_teacher(folder: Path, method: str | None) -> str:
    if method in _METHODS_WITHOUT_TEACHER:
        return NO_TEACHER
    if method == "task_agnostic_kd" or not (folder / "distilled.pt").is_file():
        return UNKNOWN  # not recorded, or the student was prepared elsewhere
    pretrained = _read_json(folder / "teacher" / "teacher.json").get("pretrained", UNKNOWN)
    # A path says where somebody keeps the file, which is nobody's business; a hub id has one slash.
    return PurePath(pretrained).name if pretrained.count("/") != 1 or pretrained.startswith(("/", ".")) else pretrained


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}), so what the student learned from is unknown") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged, so what the student learned from is unknown")
    return content


def _training_settings(checkpoint: Path, weights: Path) -> dict[str, Any]:
    """Return the settings that a checkpoint was left with, if it ended in these weights."""
    if not checkpoint.is_file():
        return {}
    state, shipped = read_checkpoint(checkpoint), read_checkpoint(weights)
    try:
        trained = (state["best"] or state)["network"]
        same = trained.keys() == shipped.keys() and all(torch.equal(trained[name], shipped[name]) for name in shipped)
        return dict(state["settings"]) if same else {}
    except (KeyError, TypeError):  # of another version: nothing is known
        return {}
