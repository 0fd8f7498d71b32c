"""What is left of a study, and how long it will take."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from common.study.plan import Part


class Outcome(NamedTuple):
    """How a part ended."""

    part: str  # its name
    seconds: float
    failure: str | None = None  # why it is not finished

    @classmethod
    def not_run(cls, part: str, failed: str) -> Outcome:
        """Return the outcome of a part that needs one that failed."""
        return cls(part, 0, f"not run: {failed} is missing")


class Estimates:
    """How long stages will take, from what they took so far in a study.

    A stage that was cut off and resumed counts with the seconds of its last run, so that it may be underestimated.

    Args:
        study_dir: the study.
        parts: its parts, whose ``seconds.json`` are read.
    """

    def __init__(self, study_dir: Path, parts: Iterable[Part]) -> None:
        self._spent: dict[_Kind, list[float]] = defaultdict(list)
        for part in parts:
            path = study_dir / part.name / "seconds.json"
            seconds = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            for stage, value in seconds.items():
                if stage in part.stages:
                    self._spent[_kind_of(part, stage)].append(value)

    def seconds(self, part: Part, stage: str) -> float | None:
        """Return how long a stage of a part will take, None if nothing like it has been run.

        Transfer sets of all sizes take as many steps. Where a method has not been run, it is taken to last as long as
        others do.
        """
        kind = _kind_of(part, stage)
        spent = self._spent.get(kind) or [
            value
            for other, values in self._spent.items()
            if (other.stage, other.with_images) == (kind.stage, kind.with_images)
            for value in values
        ]
        return sum(spent) / len(spent) if spent else None


class _Kind(NamedTuple):
    """Stages that take equally long."""

    stage: str
    variant: str | None
    with_images: bool  # a transfer set, without which there is next to nothing to do


def _kind_of(part: Part, stage: str) -> _Kind:
    if stage == "distill":
        return _Kind(stage, part.method, part.about["transfer_size"] is not None)
    # Whatever prepared a student, its fine-tuning is the same.
    return _Kind(stage, "unet" if part.method == "unet" else None, False)


class Progress:
    """Says what has begun, how it ended, and what is left.

    Args:
        study_dir: the study.
        parts: all its parts.
        left: those that still have to run.
        slots: how many run at once.
    """

    def __init__(self, study_dir: Path, parts: Sequence[Part], left: Sequence[Part], slots: int = 1) -> None:
        self.study_dir = study_dir
        self.parts = list(parts)
        self.left = {part.name: part for part in left}
        self.slots = slots
        self._count = len(left)

    def start(self, part: Part) -> None:
        """Say what begins."""
        print(f"{part.name}: {', '.join(part.stages_left(self.study_dir))} …", flush=True)

    def end(self, outcome: Outcome) -> None:
        """Say how a part ended, and what is left."""
        del self.left[outcome.part]
        number = f"[{self._count - len(self.left)}/{self._count}]"
        how = outcome.failure or f"finished in {in_words(outcome.seconds)}"
        print(f"{number} {outcome.part}: {how}\n    left: {self.describe_left()}", flush=True)

    def describe_left(self) -> str:
        """Return what is left and how long it will take, as far as that can be told."""
        if not self.left:
            return "nothing"
        cells = sum(part.is_cell for part in self.left.values())
        shared = len(self.left) - cells
        what = [_count(cells, "cell")] * (cells > 0) + [_count(shared, "shared part")] * (shared > 0)
        return f"{' and '.join(what)}, {self._describe_time()}"

    def _describe_time(self) -> str:
        estimates = Estimates(self.study_dir, self.parts)
        stages = [(part, stage) for part in self.left.values() for stage in part.stages_left(self.study_dir)]
        seconds = {(part.name, stage): estimates.seconds(part, stage) for part, stage in stages}
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
