"""Stages that take the place of real ones in this process."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from common.pipeline.stages import STAGES


class FakeStages:
    """Takes the place of the processes that run stages: notes what would run and writes what each is to leave."""

    def __init__(self, failing: str | None = None, silent: str | None = None) -> None:
        self.failing = failing
        self.silent = silent
        self.ran: dict[str, list[str]] = {}
        self.distributed: list[str] = []

    def __call__(self, arguments: list[str], distributed: bool) -> int:
        stage = Path(self.files_of(arguments)[0]).stem
        output_dir = Path(arguments[arguments.index("--output_dir") + 1])
        if "--subject" in arguments:
            stage = "evaluate_teacher"
        self.ran[stage] = arguments
        if distributed:
            self.distributed.append(stage)
        if stage == self.failing:
            return 3
        if stage != self.silent:
            finish(output_dir, stage)
        return 0

    @staticmethod
    def files_of(command: list[str]) -> list[str]:
        return ast.literal_eval(command[command.index("--config_file") + 1])

    def overlays_of(self, stage: str) -> list[str]:
        return [Path(file).stem for file in self.files_of(self.ran[stage])[1:]]

    def value(self, stage: str, key: str) -> str | None:
        command = self.ran[stage]
        return command[command.index(f"--{key}") + 1] if f"--{key}" in command else None


def finish(output_dir: Path, stage: str) -> None:
    """Write what a stage leaves when it is done."""
    path = output_dir / STAGES[stage]
    path.parent.mkdir(parents=True, exist_ok=True)
    metrics = {name: {"mean": {"mean": 0.25}} for name in ("dice", "iou", "hd95")}
    path.write_text(json.dumps({"metrics": metrics, "parameters": 1234, "milliseconds_per_image": 5.0}))
