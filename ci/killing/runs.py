"""Runs of one stage of the demo, whole or killed; each in the same folder, since some files name it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import fire
import forks
import monai.bundle

from common.pipeline import stage_process
from common.pipeline.configs import stage_config
from common.pipeline.overrides import takes
from common.pipeline.run import run_pipeline
from common.training import logs
from killing.operations import watch

DEATH = 20.0  # seconds in which processes must have noticed that their stage or pipeline was killed
_START = 120.0  # seconds in which a pipeline must have begun its stage


class Killed(NamedTuple):
    """Whether a run was killed before it ended, and the process that led its session, which must be gone soon."""

    killed: bool
    leader: int


@dataclass(frozen=True)
class Demo:
    """The demo of a bundle in a folder.

    Args:
        bundle: folder of the bundle.
        output_dir: folder of the runs.
        log: file that gets what the runs print.
        overrides: values in place of the demo's, by key.
        limit: seconds after which a run counts as hung.
    """

    bundle: Path
    output_dir: Path
    log: Path
    overrides: dict[str, Any] = field(default_factory=dict)
    limit: float = 1800

    def run(self, stage: str, count: Path | None = None) -> int | None:
        """Run a stage to its end and return its exit code; None for a hang.

        Args:
            stage: the stage.
            count: file that gets one byte for each file operation in the output folder.
        """
        return forks.wait(self._start(stage, count), self.limit)

    def kill(self, stage: str, after: float) -> Killed:
        """Start a stage in one process and kill that process alone, so many seconds later."""
        process = self._start(stage)
        process.join(after)
        killed = process.is_alive()
        if killed:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        return Killed(killed, process.pid)

    def kill_at_operation(self, stage: str, operation: int) -> Killed:
        """Start a stage in one process that kills itself before a file operation in the output folder."""
        process = self._start(stage, Path(os.devnull), operation)
        status = forks.wait(process, self.limit)
        return Killed(status == -signal.SIGKILL, process.pid)

    def kill_pipeline(self, stage: str, after: float) -> Killed:
        """Start ``python -m common pipeline`` with a stage, and kill it alone, some time after the stage began."""
        log = self.output_dir / "logs" / f"{stage}.log"
        before = log.stat().st_size if log.exists() else -1
        command = [sys.executable, "-m", "common", "pipeline", str(self.bundle), "--output_dir", str(self.output_dir)]
        command += ["--demo", "--stages", stage, *(f"--{key}={value}" for key, value in self._overrides(stage).items())]
        with self.log.open("a") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        end = time.monotonic() + _START
        while (log.stat().st_size if log.exists() else -1) <= before and time.monotonic() < end:
            if process.poll() is not None:
                return Killed(False, process.pid)
            time.sleep(0.05)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        killed = process.poll() is None
        process.kill()
        process.wait()
        return Killed(killed, process.pid)

    def _start(self, stage: str, count: Path | None = None, kill_at: int | None = None) -> BaseProcess:
        def run() -> None:
            if count is not None:
                watch(self.output_dir, count, kill_at)
            _run_here(self.bundle, self.output_dir, stage, self._overrides(stage))

        return forks.start(run, self.log)

    def _overrides(self, stage: str) -> dict[str, Any]:
        config = stage_config(self.bundle, "evaluate" if stage == "evaluate_teacher" else stage, "demo")
        return {key: value for key, value in self.overrides.items() if takes(config, key)}


def _run_here(bundle: Path, output_dir: Path, stage: str, overrides: dict[str, Any]) -> None:
    """Run a stage as the pipeline does, but in the pipeline's own process, so that killing it kills the stage."""
    sys.excepthook = logs.report
    stage_process.run_stage = _run_stage
    run_pipeline(str(bundle), str(output_dir), stages=[stage], demo=True, **overrides)


def _run_stage(arguments: Sequence[str], distributed: bool = False) -> int:
    warnings.simplefilter("ignore")
    fire.Fire(monai.bundle.run, command=list(arguments), name="monai.bundle run")
    return 0
