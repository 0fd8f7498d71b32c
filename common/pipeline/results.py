"""The table of results at the end of a pipeline."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import InputError
from common.evaluation.metrics import DIGITS
from common.files.json_files import read_record
from common.pipeline.stages import STAGES
from common.teachers.base_names import STAND_IN


def results_table(output_dir: str | os.PathLike) -> str:
    """Return the teacher's and the student's results as a table, and where their files are; empty if there are none.

    Raises:
        InputError: if one of the files is damaged.
    """
    output_dir = Path(output_dir)
    rows, overlays, unit = [], [], "px"
    for subject, title in {"teacher": _name_teacher(output_dir), "student": "student"}.items():
        path = output_dir / "evaluation" / subject / "summary.json"
        if not path.is_file():
            continue
        summary = read_record(path, "metrics", "parameters", "milliseconds_per_image")
        unit = summary.get("distance_unit", unit)
        try:
            values = {name: summary["metrics"][name]["mean"]["mean"] for name in DIGITS}
            dice, iou, hd95 = ("-" if value is None else f"{value:.{DIGITS[name]}f}" for name, value in values.items())
            counts = f"{summary['parameters']:>14,}{summary['milliseconds_per_image']:>14.0f}"
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error!r}); delete it, and run the same command again") from error
        rows.append(f"{title:18}{dice:>8}{iou:>8}{hd95:>11}{counts}")
        overlays.append(path.parent / "overlays")
    if not overlays:
        return ""
    head = f"{'':18}{'Dice':>8}{'IoU':>8}{f'HD95 ({unit})':>11}{'parameters':>14}{'ms per case':>14}"
    lines = ["", head, *rows, "", *(f"pictures: {folder}" for folder in overlays)]
    if (output_dir / STAGES["train"]).exists():
        lines.append(f"student:  {output_dir / STAGES['train']}")
    return "\n".join(lines)


def _name_teacher(output_dir: Path) -> str:
    path = output_dir / STAGES["finetune_teacher"]
    if path.is_file() and read_record(path).get("base_name") == STAND_IN:
        return "stand-in teacher"
    return "teacher"
