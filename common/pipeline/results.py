"""The table of results at the end of a pipeline, and what to do next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.evaluation.metrics import DIGITS
from common.files.json_files import read_record
from common.pipeline.stages import STAGES
from common.teachers.base_names import STAND_IN

_SAM = "SAM (ViT-B), as published"
_SAM_PARAMETERS = 93_735_472  # Kirillov et al., 2023: 89,670,912 of them in the image encoder
_ABOUT_STAND_IN = (
    "The stand-in teacher is a miniature that ships with this project; how well SAM itself does here was not measured."
)
_ABOUT_TIMES = "ms per case: -, since other programs used the processors meanwhile, or the system does not tell."
_WIDTH = 27


def results_table(output_dir: str | os.PathLike) -> str:
    """Return the teacher's and the student's results as a table, where their files are, and the command to go on with.

    Empty if there are none. What was not measured is a dash: times are shown only where nothing else ran meanwhile.

    Raises:
        InputError: if one of the files is damaged.
    """
    output_dir = Path(output_dir)
    found = {}
    for subject in ("teacher", "student"):
        path = output_dir / "evaluation" / subject / "summary.json"
        if path.is_file():
            found[subject] = (path, read_record(path, "metrics", "parameters", "milliseconds_per_image"))
    if not found:
        return ""
    is_stand_in = _has_stand_in(output_dir)
    rows = []
    if "teacher" in found:
        rows.append(_row("stand-in teacher" if is_stand_in else "teacher", *found["teacher"]))
        if is_stand_in:
            rows.append(_line(_SAM, ["-", "-", "-"], f"{_SAM_PARAMETERS:,}", "-"))
    if "student" in found:
        rows.append(_row("student", *found["student"]))
    summaries = [summary for _, summary in found.values()]
    unit = summaries[-1].get("distance_unit", "px")
    lines = ["", _line("", ["Dice", "IoU", f"HD95 ({unit})"], "parameters", "ms per case"), *rows, ""]
    lines.append(f"HD95: 95 % of the border of a mask is at most so far from the label's, in {unit}: less is better.")
    lines += [_ABOUT_STAND_IN] * (is_stand_in and "teacher" in found)
    lines += [_ABOUT_TIMES] * (not all(summary.get("measured_alone") for summary in summaries))
    if lines[-1]:
        lines.append("")
    lines += [f"pictures: {as_given(path.parent / 'overlays')}" for path, _ in found.values()]
    student = output_dir / STAGES["train"]
    if student.exists():
        lines += [f"student:  {as_given(student)}", "", f"next: {next_command(student)}"]
    return "\n".join(lines)


def next_command(student: Path) -> str:
    """Return the command that segments images with a student."""
    return f"task-distill predict FOLDER_WITH_IMAGES --weights {shlex.quote(as_given(student))} --output_dir new_masks"


def as_given(path: Path) -> str:
    """Return a path as it is given in the current folder: relative where it is in there."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _row(title: str, path: Path, summary: Mapping[str, Any]) -> str:
    try:
        values = {name: summary["metrics"][name]["mean"]["mean"] for name in DIGITS}
        measured = ["-" if value is None else f"{value:.{DIGITS[name]}f}" for name, value in values.items()]
        time = f"{summary['milliseconds_per_image']:.0f}" if summary.get("measured_alone") else "-"
        return _line(title, measured, f"{summary['parameters']:,}", time)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error!r}); delete it, and run the same command again") from error


def _line(title: str, measured: list[str], parameters: str, time: str) -> str:
    dice, iou, hd95 = measured
    return f"{title:{_WIDTH}}{dice:>8}{iou:>8}{hd95:>12}{parameters:>14}{time:>14}".rstrip()


def _has_stand_in(output_dir: Path) -> bool:
    path = output_dir / STAGES["finetune_teacher"]
    return path.is_file() and read_record(path).get("base_name") == STAND_IN
