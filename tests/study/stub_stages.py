"""Stages that take the place of real ones, in this process or in those of a command."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from integration import environment

from common.pipeline.stages import STAGES

STUB = Path(__file__).parent / "stages"


class StubStages:
    """Runs ``stages/sitecustomize.py`` for every stage, and knows from its journal what ran."""

    def __init__(self, folder: Path) -> None:
        self._journal = folder / "journal.jsonl"
        self._gate = folder / "gate"
        self._plan = {"artefacts": STAGES, "journal": str(self._journal), "gate": str(self._gate)}
        self._run_stage = runpy.run_path(str(STUB / "sitecustomize.py"))["run_stage"]

    def plan(self, **changes: Any) -> None:
        """Change what stages do: take ``steps``, ``hold`` one of them until they may go on, or be ``failing``."""
        self._plan |= changes

    def go_on(self) -> None:
        """Let stages go on that hold a step, and those after them."""
        self._gate.touch()

    def run(self, arguments: list[str], distributed: bool) -> int:
        """Take the place of ``common.pipeline.stage_process.run_stage``."""
        os.environ["STUB_STAGES"] = json.dumps(self._plan)
        return self._run_stage(arguments, distributed)

    def environment(self) -> dict[str, str]:
        """Return the environment of a command whose stages are these."""
        path = os.pathsep.join([str(STUB), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {**environment(), "PYTHONPATH": path, "STUB_STAGES": json.dumps(self._plan)}

    @property
    def journal(self) -> list[dict[str, Any]]:
        """The steps of all stages, in the order in which they began."""
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def ran(self) -> list[tuple[str, str]]:
        """Job and stage of all that ran, in order."""
        return list(dict.fromkeys((step["job"], step["stage"]) for step in self.journal))

    def arguments(self, job: str, stage: str) -> dict[str, str]:
        """Return what a stage was given on its command line."""
        return next(step["arguments"] for step in self.journal if (step["job"], step["stage"]) == (job, stage))

    def wait_for(self, reached: Callable[[list[dict[str, Any]]], bool], study: subprocess.Popen) -> None:
        """Wait until the journal of a study in another process has come to a point."""

        def holds() -> bool:
            assert study.poll() is None, "the study has ended"
            return reached(self.journal)

        wait_until(holds)


def wait_until(holds: Callable[[], bool], seconds: float = 300) -> None:
    """Wait for something that will be soon, unless something is wrong."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds} s"
        time.sleep(0.05)
