"""One run of a stage: the command line it gets, how long it took, and whether it left what it should."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.configs.written_values import write_value
from common.distillation.methods import Method
from common.errors import InputError, StageError
from common.pipeline import stage_process
from common.pipeline.overrides import takes
from common.pipeline.stages import STAGES
from common.pipeline.timing import add_seconds
from common.training.failures import collected


def choose_overrides(
    stage: str, config: Mapping[str, Any], method: Method, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the overrides that a stage takes, and those that follow from what it is run for."""
    known = {key: value for key, value in overrides.items() if takes(config, key)}
    if stage == "evaluate_teacher":
        known |= {"subject": "teacher", "stage": stage}
    if stage == "train_diffusion" and method.with_labels:
        known = {"with_labels": True, **known}
    if stage == "synthesize" and method.teacher != "fine_tuned":
        known = {"teacher": None, **known}  # there is none to judge the images
    return known


def run_one(
    stage: str, files: Sequence[Path], overrides: Mapping[str, Any], output_dir: Path, distributed: bool = False
) -> float:
    """Run a stage in a process of its own.

    Args:
        stage: the stage.
        files: its config and overlays.
        overrides: values by key.
        output_dir: where it leaves what :data:`STAGES` says.
        distributed: one process for each GPU.

    Returns:
        The seconds that it took.

    Raises:
        StageError: if it failed, with the first cause.
        InputError: if it left nothing.
    """
    arguments = ["--config_file", write_value("config_file", [str(file.resolve()) for file in files])]
    for key, value in overrides.items():
        arguments += [f"--{key}", write_value(key, value)]
    started = time.time()
    with collected() as failure:
        status = stage_process.run_stage(arguments, distributed)
        said = failure.read_text(encoding="utf-8") if failure.is_file() else _describe_end(status)
    if status:
        raise StageError(f"stage {stage} failed (exit code {status}): {said}")
    seconds = time.time() - started
    add_seconds(output_dir, stage, seconds)
    if not (output_dir / STAGES[stage]).exists():
        raise InputError(f"stage {stage} ended without writing {output_dir / STAGES[stage]}; see {output_dir / 'logs'}")
    return seconds


def _describe_end(status: int) -> str:
    """Return what can be told of a stage that failed from its exit code alone."""
    if status == -signal.SIGKILL:
        return "it was killed, most often since memory ran out: give a smaller --batch_size, or fewer --num_workers"
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return "it has not said why"
