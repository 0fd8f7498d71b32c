"""What is known of a student: how good it is, and what it was trained with, as far as its folder of results tells."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from common.errors import InputError
from common.files.fingerprints import network_fingerprint
from common.files.provenance import base_name, carried_origin, state_digest
from common.files.weights import read_checkpoint

NO_TEACHER = "none"
UNKNOWN = "unknown"
STAND_IN = "embedded"

_KD = {True: "task_specific_kd", False: "task_agnostic_kd"}  # by whether the teacher was fine-tuned


class Evidence(NamedTuple):
    """What is known of a student.

    Attributes:
        summary: of its evaluation.
        teacher: name of its teacher's base, or ``NO_TEACHER``, ``UNKNOWN`` or ``STAND_IN``.
        method: what prepared it before it was fine-tuned, None where that is unknown or nothing did.
        training: settings of its fine-tuning, empty where they are unknown.
        phantoms: whether it was evaluated on phantoms, None where that is unknown.
        trained_on_phantoms: whether it was fine-tuned on phantoms, None where that is unknown.
    """

    summary: dict[str, Any]
    teacher: str
    method: str | None
    training: dict[str, Any]
    phantoms: bool | None
    trained_on_phantoms: bool | None


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
            # Undefined: the distance to an empty mask, and all of one class among several that no image has.
            if value is None and (name == "hd95" or (label != "mean" and len(classes) > 2)):
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
    """Return what a student's weights and the records beside them tell about it.

    The weights say what they were made from, and that counts most. Where they do not, the records of a pipeline or a
    study beside them count if they started from the ``distilled.pt`` that is there, or are of a study's cell.

    Args:
        weights: the student's weights, as ``train.yaml`` wrote them.
        summary: of its evaluation.
        stated_teacher: what the user says that its teacher was.

    Raises:
        InputError: if that contradicts what the weights or the folder tell, or a file of it is damaged; or if the
            student had a teacher, or may have had the stand-in, and neither they nor the user tell.
    """
    folder = weights.resolve().parent
    origin = carried_origin(read_checkpoint(weights))
    teacher, method = _lineage(origin, folder)
    if stated_teacher and teacher not in (UNKNOWN, stated_teacher):
        raise InputError(
            f"--teacher {stated_teacher}: {weights} or the records beside it say that it was '{teacher}'; leave it out"
        )
    teacher = stated_teacher or teacher
    if teacher in (UNKNOWN, NO_TEACHER) and method in _KD.values():
        raise InputError(
            f"--teacher: {weights} was distilled, but what its teacher was is not recorded; say it, such as "
            f"--teacher {STAND_IN}"
        )
    if method is None and not origin.keys() & {"teacher", "initial"}:
        _check_older(weights, folder, teacher)
    return Evidence(
        summary=summary,
        teacher=teacher,
        method=method,
        training=_training_settings(folder / "checkpoints" / "train.pt", weights),
        phantoms=_of_phantoms(summary, folder),
        trained_on_phantoms=_of_phantoms(origin, folder),
    )


def _lineage(origin: Mapping[str, Any], folder: Path) -> tuple[str, str | None]:
    """Return the teacher and the method of a student, as far as it is shown that they are those of these weights."""
    if origin.get("teacher"):
        return origin["teacher"], _KD[bool(origin.get("fine_tuned"))]
    if "teacher" in origin:
        return NO_TEACHER, None
    cell = _read_json(folder / "cell.json")
    if "initial" in origin:
        distilled = folder / "distilled.pt"
        if not distilled.is_file() or state_digest(read_checkpoint(distilled)) != origin["initial"]:
            return UNKNOWN, None
    elif not cell:  # in a cell of a study, nothing but the study trains
        return UNKNOWN, None
    method = cell.get("method") or _read_json(folder / "method.json").get("method")
    if method not in _KD.values():
        return (UNKNOWN if method is None else NO_TEACHER), method
    pretrained = _pretrained_of_study(folder.parents[1], method) if cell else None
    if method == "task_specific_kd":
        pretrained = _read_json(folder / "teacher" / "teacher.json").get("pretrained", pretrained)
    return (base_name(pretrained) if pretrained else UNKNOWN), method


def _of_phantoms(record: Mapping[str, Any], folder: Path) -> bool | None:
    """Return what a record says of its images, if anything; of older phantoms, which had no mark, a study knows."""
    is_cell = (folder / "cell.json").is_file()
    if is_cell and _read_json(folder.parents[1] / "study.json").get("phantoms") is True:
        return True
    return record["phantoms"] if isinstance(record.get("phantoms"), bool) else None


def _pretrained_of_study(study_dir: Path, method: str) -> str | None:
    """Return what a study had for ``pretrained``, as it was given or else as the stage's config has it."""
    given = _read_json(study_dir / "study.json").get("overrides", {})
    config = _read_json(study_dir / "settings.json").get(f"distill {method}", {})
    pretrained = {**config, **given}.get("pretrained")
    return None if str(pretrained).startswith(("$", "@", "%")) else pretrained  # an expression


def _check_older(weights: Path, folder: Path, teacher: str) -> None:
    """Refuse weights that say nothing beside a distilled student that has, or may have, the stand-in's knowledge."""
    if not (folder / "distilled.pt").is_file():
        return
    unsure = f"and {weights.name} does not say whether it was made from that one, as older ones do not"
    known = _read_json(folder / "teacher" / "teacher.json").get("pretrained")
    if known == STAND_IN and teacher not in (STAND_IN, NO_TEACHER):
        raise InputError(
            f"--teacher: {folder} has a student of the embedded stand-in, {unsure}; say --teacher {STAND_IN} or "
            f"--teacher {NO_TEACHER}"
        )
    if teacher == UNKNOWN and _read_json(folder / "method.json").get("method") == "task_agnostic_kd":
        raise InputError(
            f"--teacher: {folder} has a student of a teacher that is not recorded, {unsure}; say which, such as "
            f"--teacher {STAND_IN}, or --teacher {NO_TEACHER}"
        )


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
