"""One input: made, run and judged, each in a process of its own, as a user would see it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import pickle
import re
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import forks

from common.training import logs
from fuzzing import trap
from fuzzing.drawing import draw
from fuzzing.outcomes import Kind, Outcome
from fuzzing.targets import LIMIT, Target, Verdict

_HALF_WRITTEN = re.compile(r"\.(partial|outdated|tmp)$")
_FREE = (  # where a command may write
    "out",
    "home/.cache",  # of libraries
    "home/.config",
    "tmp/traceback-",  # where no log can take it
    "tmp/.ses",  # of ONNX Runtime
)
_KEEP = 250  # characters of what was printed


def run_input(target: Target, name: str, sources: Path, work: Path, plan: Any = None) -> Outcome:
    """Make an input, run it, and judge what came of it; the folder of an input with a fault is kept.

    Args:
        target: what is tried.
        name: of the input, which draws the plan.
        sources: folder of :mod:`fuzzing.sources`.
        work: where the folder of this input is made.
        plan: in place of the one that the name draws.
    """
    plan = draw(target.plans, name) if plan is None else plan
    folder = work / name.replace("/", "-")
    place = folder / "place"
    for each in ("in", "home", "tmp"):
        (place / each).mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan, indent=2) + "\n")
    started = time.monotonic()
    verdict = _run(target, plan, sources, folder, place)
    outcome = Outcome(name, target.name, verdict.kind, " ".join(verdict.detail.split()), time.monotonic() - started)
    if not outcome.is_fault:
        shutil.rmtree(folder)
    return outcome


def _run(target: Target, plan: Any, sources: Path, folder: Path, place: Path) -> Verdict:
    made = forks.wait(forks.start(partial(target.make, plan, place, sources), folder / "make.log"), LIMIT)
    if made != 0:
        return Verdict(Kind.UNTRIED, f"cannot be made: {(folder / 'make.log').read_text()[-_KEEP:]}")
    before = _contents(place)
    environment = {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp")}
    printed, result = folder / "printed.log", folder / "result.pkl"
    status = forks.wait(
        forks.start(partial(_call, target, plan, place, result), printed, place, environment), target.limit
    )
    text = printed.read_text(errors="replace")
    if (place / trap.NAME).exists():
        return Verdict(Kind.EXECUTED, "code in the input ran")
    if status is None:
        return Verdict(Kind.HANG, f"no end after {target.limit:.0f} s")
    stray = _strays(before, place)
    if stray:
        return Verdict(Kind.STRAY, stray)
    if status != 0:
        return _judge_end(target, plan, place, status, text)
    judged = folder / "verdict.pkl"
    status = forks.wait(
        forks.start(partial(_judge, target, plan, place, result, text, judged), folder / "judge.log"), LIMIT
    )
    if status != 0:
        return Verdict(Kind.UNTRIED, f"cannot be judged: {(folder / 'judge.log').read_text()[-_KEEP:]}")
    return pickle.loads(judged.read_bytes())


def _call(target: Target, plan: Any, place: Path, result: Path) -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True)
    sys.excepthook = logs.report
    value = target.run(plan, place)
    result.write_bytes(pickle.dumps(value))


def _judge(target: Target, plan: Any, place: Path, result: Path, text: str, judged: Path) -> None:
    # A command line that is corrected starts the process anew (execv), which then returns nothing.
    returned = pickle.loads(result.read_bytes()) if result.exists() else None
    judged.write_bytes(pickle.dumps(target.judge(plan, place, returned, text)))


def _judge_end(target: Target, plan: Any, place: Path, status: int, text: str) -> Verdict:
    """Say whether an end with a non-zero code came with one clear line."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"\s*(error|ERROR)\b", line)]
    if status < 0:
        return Verdict(Kind.TRACEBACK, f"ended by signal {-status}")
    if "Traceback (most recent call last)" in text:
        return Verdict(Kind.TRACEBACK, lines[-1])
    if any(re.search(r"error: (\w+\.)*[A-Z]\w*(Error|Exception)\b", line) for line in errors):
        return Verdict(Kind.TRACEBACK, f"names what Python calls it, and neither file nor key: {errors[-1]}")
    if not errors:
        return Verdict(Kind.TRACEBACK, f"exit code {status} and no error line, but {lines[-1:] or 'nothing'}")
    names = {part for path in (place / "in").rglob("*") for part in (path.name, path.stem)} | {
        str(place),
        "in/",
        "in:",
        "--",
        "_dir",
    }
    names |= set(plan.get("keys", []))
    said = "\n".join(lines[lines.index(errors[0]) :])
    if not any(name in said for name in names):
        return Verdict(Kind.TRACEBACK, f"names neither file nor key: {errors[-1]}")
    with contextlib.suppress(Exception):  # what cannot be read is not sound
        if target.accepts(plan, place):
            return Verdict(Kind.NEEDLESS, errors[-1])
    return Verdict(Kind.REFUSED, errors[-1])


def _contents(place: Path) -> dict[str, str]:
    """Return a hash of each file outside ``out``."""
    files = [path for path in place.rglob("*") if not path.relative_to(place).as_posix().startswith(_FREE)]
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in files
    }


def _strays(before: dict[str, str], place: Path) -> str:
    after = _contents(place)
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    half = [path.name for path in place.rglob("*") if _HALF_WRITTEN.search(path.name)]
    return "; ".join([f"{name} was written or removed" for name in sorted(changed)][:5] + half)
