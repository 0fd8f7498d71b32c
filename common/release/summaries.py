"""The summary of a student's evaluation, and whether it can be true of the student that is released."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from common.errors import InputError
from common.files.fingerprints import network_fingerprint

METRICS = ("dice", "iou", "hd95")


def read_summary(path: Path) -> dict[str, Any]:
    """Return the summary of a student's evaluation.

    Raises:
        InputError: if there is none, or it is damaged, or of a teacher.
    """
    again = "run evaluate.yaml on these weights"
    if not path.is_file():
        raise InputError(
            f"there are no measured metrics in {path}: {again} first, or name its summary.json by --metrics"
        )
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        subject, metrics = summary["subject"], summary["metrics"]
        [metrics[name]["mean"]["mean"] for name in METRICS]
        _ = summary["network"], dict(summary["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged or no summary of an evaluation ({error!r}): {again} again") from error
    if subject != "student":
        raise InputError(f"{path} has the metrics of a {subject}, not of a student: {again}")
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
    for name in METRICS:
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
