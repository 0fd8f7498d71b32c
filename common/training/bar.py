"""One bar at the bottom of a terminal, with the time that is left; where there is no terminal, there is none."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import cache
from typing import Any, NamedTuple, TextIO, TypeVar

from common.files.atomic import is_writer
from common.training.durations import in_words

Item = TypeVar("Item")

_INTERVAL = 0.2  # seconds between two drawings
_FIELD = 24  # characters of the bar itself
_CLEAR = "\r\x1b[2K"


class Position(NamedTuple):
    """Where in a pipeline a stage is, in shares of the time that all its stages are expected to take.

    Args:
        title: of the stage, such as ``[2/7] train_diffusion``; empty for a stage by itself.
        before: share of the stages that are over.
        own: share of this stage.
        spent: seconds that stages took which were run in this pipeline.
        measured: share of those.
    """

    title: str = ""
    before: float = 0.0
    own: float = 1.0
    spent: float = 0.0
    measured: float = 0.0

    VARIABLE = "COMMON_PIPELINE_POSITION"  # of the environment, by which processes of a stage know it

    @classmethod
    def of_this_process(cls) -> Position:
        """Return what whoever started this process has said, or that of a stage by itself."""
        said = os.environ.get(cls.VARIABLE)
        return cls(*json.loads(said)) if said else cls()

    def seconds_left(self, share: float, elapsed: float) -> float | None:
        """Return the seconds that are expected until the end of the pipeline; None while nothing can be expected.

        Args:
            share: of this stage that is done.
            elapsed: seconds since it began.
        """
        done = self.measured + share * self.own
        if share <= 0 or done <= 0:
            return None
        after = max(0.0, 1 - self.before - self.own)
        return elapsed * (1 - share) / share + after * (self.spent + elapsed) / done


class Bar:
    """Shows how far a stage is, and the pipeline that it is part of.

    Args:
        position: of the stage in its pipeline.
        stream: where to draw; by default what standard error is by then. Nothing is drawn where that is no terminal.
        clock: seconds.
    """

    def __init__(
        self, position: Position, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.position = position
        self._stream = stream
        self.clock = clock
        self.started = clock()
        self._drawn_at: float | None = None
        self._is_shown = False

    @property
    def stream(self) -> TextIO:
        """Where it is drawn."""
        return self._stream or sys.stderr

    def update(self, share: float, what: str) -> None:
        """Draw the bar, unless that was just done.

        Args:
            share: of this stage that is done, from 0 to 1.
            what: what it is doing, such as ``epoch 3/20``.
        """
        now = self.clock()
        soon = self._drawn_at is not None and now - self._drawn_at < _INTERVAL
        if not self.stream.isatty() or not is_writer() or (soon and share < 1):
            return
        share = min(max(share, 0.0), 1.0)
        overall = min(self.position.before + share * self.position.own, 1.0)
        filled = round(_FIELD * overall)
        left = self.position.seconds_left(share, now - self.started)
        parts = [self.position.title, what, "#" * filled + "." * (_FIELD - filled), f"{100 * overall:.0f} %"]
        parts += [] if left is None else [f"about {in_words(left)} left"]
        line = "  ".join(part for part in parts if part)
        self.stream.write(_CLEAR + line[: shutil.get_terminal_size().columns - 1])
        self.stream.flush()
        self._drawn_at, self._is_shown = now, True

    def clear(self) -> None:
        """Take the bar away, so that a line can be written."""
        if self._is_shown:
            self.stream.write(_CLEAR)
            self.stream.flush()
            self._drawn_at, self._is_shown = None, False


@cache
def this_bar() -> Bar:
    """Return the bar of this process."""
    return Bar(Position.of_this_process())


def clear_for(record: logging.LogRecord) -> bool:
    """Take the bar away for a record of a log that shares its screen: a filter that lets everything pass."""
    this_bar().clear()
    return True


def counted(items: Iterable[Item], what: str, total: int | None = None, moves: bool = True) -> Iterator[Item]:
    """Yield items, and show in the bar how many were.

    Args:
        items: what to yield.
        what: what they are, such as ``images``.
        total: how many there are, if they do not know.
        moves: whether the stage is done when they are; otherwise they are but its preparation.
    """
    total = total if total is not None else len(items) if isinstance(items, Sized) else 0
    for number, item in enumerate(items):
        this_bar().update(number / total if moves and total else 0.0, f"{what} {number}/{total}")
        yield item
    this_bar().clear()


def position_in_environment(position: Position) -> dict[str, Any]:
    """Return the variables by which the processes of a stage know their position."""
    return {Position.VARIABLE: json.dumps(list(position))}
