"""The table of results at the end of a pipeline."""

from __future__ import annotations

import json
import os
from pathlib import Path

from common.pipeline.stages import STAGES


def results_table(output_dir: str | os.PathLike) -> str:
    """Return the teacher's and the student's results as a table, and where their files are; empty if there are none."""
    output_dir = Path(output_dir)
    rows, overlays, unit = [], [], "px"
    for subject in ("teacher", "student"):
        path = output_dir / "evaluation" / subject / "summary.json"
        if not path.is_file():
            continue
        summary = json.loads(path.read_text(encoding="utf-8"))
        unit = summary.get("distance_unit", unit)
        values = [summary["metrics"][name]["mean"]["mean"] for name in ("dice", "iou", "hd95")]
        formats = (".3f", ".3f", ".1f")
        cells = ["-" if value is None else f"{value:{spec}}" for value, spec in zip(values, formats, strict=True)]
        rows.append(
            f"{subject:10}{cells[0]:>8}{cells[1]:>8}{cells[2]:>11}{summary['parameters']:>14,}"
            f"{summary['milliseconds_per_image']:>14.0f}"
        )
        overlays.append(path.parent / "overlays")
    if not overlays:
        return ""
    head = f"{'':10}{'Dice':>8}{'IoU':>8}{f'HD95 ({unit})':>11}{'parameters':>14}{'ms per case':>14}"
    lines = ["", head, *rows, "", *(f"pictures: {folder}" for folder in overlays)]
    if (output_dir / STAGES["train"]).exists():
        lines.append(f"student:  {output_dir / STAGES['train']}")
    return "\n".join(lines)
