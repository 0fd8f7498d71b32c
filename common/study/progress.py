"""What is left of a study, and how long it will take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from common.distillation.methods import METHODS
from common.pipeline.timing import read_seconds
from common.study.plan import Job


class Outcome(NamedTuple):
    """How a job ended."""

    job: str  # its name
    seconds: float
    failure: str | None = None  # why it is not finished

    @classmethod
    def not_run(cls, job: str, failed: str) -> Outcome:
        """Return the outcome of a job that needs one that failed."""
        return cls(job, 0, f"not run: {failed} is missing")


class Estimates:
    """How long stages will take, from what they took so far in a study.

    A stage that was cut off and resumed counts with the seconds of its last run, so it may be underestimated.

    Args:
        study_dir: the study.
        jobs: its jobs.
    """

    def __init__(self, study_dir: Path, jobs: Iterable[Job]) -> None:
        self._spent: dict[_Kind, list[float]] = defaultdict(list)
        for job in jobs:
            for stage, value in read_seconds(study_dir / job.name).items():
                if stage in job.stages:
                    self._spent[_kind_of(job, stage)].append(value)

    def seconds(self, job: Job, stage: str) -> float | None:
        """Return how long a stage of a job will take, None if nothing like it has been run.

        Transfer sets of all sizes take as many steps. Where a method has not been run, it is taken to last as long as
        others do.
        """
        kind = _kind_of(job, stage)
        spent = self._spent.get(kind) or [
            value
            for other, values in self._spent.items()
            if (other.stage, other.prepares) == (kind.stage, kind.prepares)
            for value in values
        ]
        return sum(spent) / len(spent) if spent else None


class _Kind(NamedTuple):
    """Stages that take equally long."""

    stage: str
    variant: str | None
    prepares: bool  # a student, or there is next to nothing to do


def _kind_of(job: Job, stage: str) -> _Kind:
    if stage == "distill":
        assert job.method is not None  # it prepares a student
        return _Kind(stage, job.method, METHODS[job.method].prepares is not None)
    # Whatever prepared a student, its fine-tuning is the same; a reference line is another network.
    is_reference = job.method is not None and METHODS[job.method].is_reference
    return _Kind(stage, job.method if is_reference else None, False)


class Progress:
    """Prints what has begun, how it ended, and what is left.

    Args:
        study_dir: the study.
        jobs: all its jobs.
        left: those that still have to run.
        slots: how many run at once.
    """

    def __init__(self, study_dir: Path, jobs: Sequence[Job], left: Sequence[Job], slots: int = 1) -> None:
        self.study_dir = study_dir
        self.jobs = list(jobs)
        self.left = {job.name: job for job in left}
        self.slots = slots
        self._count = len(left)

    def start(self, job: Job) -> None:
        """Say what begins."""
        print(f"{job.name}: {', '.join(job.stages_left(self.study_dir))} ...", flush=True)

    def end(self, outcome: Outcome) -> None:
        """Say how a job ended, and what is left."""
        del self.left[outcome.job]
        number = f"[{self._count - len(self.left)}/{self._count}]"
        how = outcome.failure or f"finished in {in_words(outcome.seconds)}"
        print(f"{number} {outcome.job}: {how}\n    left: {self.describe_left()}", flush=True)

    def describe_left(self) -> str:
        """Return what is left and how long it will take, as far as that can be told."""
        if not self.left:
            return "nothing"
        runs = sum(job.is_run for job in self.left.values())
        shared = len(self.left) - runs
        what = [_count(runs, "run")] * (runs > 0) + [_count(shared, "shared job")] * (shared > 0)
        return f"{' and '.join(what)}, {self._describe_time()}"

    def _describe_time(self) -> str:
        estimates = Estimates(self.study_dir, self.jobs)
        stages = [(job, stage) for job in self.left.values() for stage in job.stages_left(self.study_dir)]
        seconds = {(job.name, stage): estimates.seconds(job, stage) for job, stage in stages}
        known = [value for value in seconds.values() if value is not None]
        unknown = sorted({stage for (_, stage), value in seconds.items() if value is None})
        if not known:
            return "no stage of which has been timed yet"
        time = f"about {in_words(sum(known) / max(1, min(self.slots, len(self.left))))}"
        return time + (f" without {', '.join(unknown)}, not timed yet" if unknown else "")


def in_words(seconds: float) -> str:
    """Return a duration as one reads it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
