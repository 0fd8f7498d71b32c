"""Run parts one after another, each in a process and with a limit of its own, and keep what came of each as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GRACE = 10.0  # seconds in which a part that is told to end may do so
_LEAST = 5.0  # seconds that must be left for a part to be started


@dataclass(frozen=True, kw_only=True)
class Part:
    """A command and what it tells.

    Attributes:
        name: of the part.
        command: what is run.
        limit: seconds after which it is ended and counts as failed.
        figures: returns what is worth keeping, given what the command has printed.
    """

    name: str
    command: Sequence[str]
    limit: float = 120.0
    figures: Callable[[str], dict[str, Any]] = field(default=lambda printed: {})


class Report:
    """What came of the parts so far, in a file that is written after each.

    Args:
        path: of the JSON; its folder is made where it does not exist.
        settings: what the parts were run with.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.content: dict[str, Any] = {"settings": dict(settings), "seconds": 0.0, "parts": {}}
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, outcome: Mapping[str, Any], seconds: float) -> None:
        """Keep what came of a part.

        Args:
            name: of the part.
            outcome: its ``seconds``, and ``figures`` or ``error``.
            seconds: since the check was started.
        """
        self.content["parts"][name] = dict(outcome)
        self.content["seconds"] = round(seconds, 1)
        fresh = self.path.with_name(f".{self.path.name}.partial")
        fresh.write_text(json.dumps(self.content, indent=2) + "\n", encoding="utf-8")
        os.replace(fresh, self.path)

    @property
    def failed(self) -> list[str]:
        """Names of the parts that failed or were not run."""
        return [name for name, outcome in self.content["parts"].items() if "error" in outcome]


def run_parts(
    parts: Sequence[Part], report: Report, work: Path, environment: Mapping[str, str], seconds: float
) -> None:
    """Run all parts, whatever comes of those before them, and print a line for each.

    Args:
        parts: in the order in which they are run.
        report: gets what came of each.
        work: folder for what they print, ``<name>.txt``.
        environment: of their processes.
        seconds: for all of them together. The last ones are ended, or not started, so that it is kept to.
    """
    started = time.monotonic()
    for part in parts:
        left = seconds - (time.monotonic() - started) - GRACE
        if left < _LEAST:
            outcome: dict[str, Any] = {"seconds": 0.0, "error": f"not run: the {seconds / 60:g} minutes are used up"}
        else:
            outcome = run_part(part, work / f"{part.name}.txt", environment, min(part.limit, left))
        report.add(part.name, outcome, time.monotonic() - started)
        told = f"failed: {outcome['error']}" if "error" in outcome else _in_words(outcome["figures"])
        print(f"{part.name}, {outcome['seconds']:.0f} s: {told}", flush=True)


def run_part(part: Part, output: Path, environment: Mapping[str, str], limit: float) -> dict[str, Any]:
    """Run one part to its end or its limit.

    Args:
        part: what is run.
        output: file that gets what it prints.
        environment: of its process.
        limit: seconds.

    Returns:
        Its ``seconds`` and its ``figures``, or in their place the ``error``: the last line that it printed.
    """
    started = time.monotonic()
    with output.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            part.command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end_group(process)
    printed = output.read_text(encoding="utf-8", errors="replace")
    seconds = {"seconds": round(time.monotonic() - started, 1)}
    if status is None:
        return {**seconds, "error": f"ended after {limit:.0f} s, its limit; last line: {last_line(printed)}"}
    if status:
        return {**seconds, "error": f"exit code {status}: {last_line(printed)}"}
    try:
        return {**seconds, "figures": part.figures(printed)}
    except (ValueError, LookupError, OSError) as error:  # it said that all went well, but did not leave what it should
        return {**seconds, "error": f"no figures: {type(error).__name__}: {error}"}


def last_line(printed: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in printed.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else "(nothing was printed)"


def figures_in_last_line(printed: str) -> dict[str, Any]:
    """Return the JSON object that a part printed last."""
    return json.loads(last_line(printed))


def _end_group(process: subprocess.Popen) -> None:
    """End a process, and all that it has started and that is still there."""
    if process.poll() is None:
        process.terminate()  # what a pipeline has started for several GPUs has sessions of its own, and ends with it
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _in_words(figures: Mapping[str, Any], prefix: str = "") -> str:
    shown = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            shown.append(_in_words(value, f"{prefix}{name} "))
        elif value is not None:
            number = f"{value:.4g}" if isinstance(value, float) else value
            shown.append(f"{prefix}{name} {number}")
    return ", ".join(shown) or "done"
