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
_LEAST_FIELD = 6  # below it says nothing
# The time left is told by so many seconds of steps, or by this share of a stage, not counting the first step, in which
# much is prepared.
_MEASURED = 60.0
_SHARE_MEASURED = 0.25
POSITION_VARIABLE = "COMMON_PIPELINE_POSITION"  # of the environment, by which processes of a stage know it
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

    @classmethod
    def of_this_process(cls) -> Position:
        """Return what whoever started this process has said, or that of a stage by itself."""
        said = os.environ.get(POSITION_VARIABLE)
        return cls(*json.loads(said)) if said else cls()

    def seconds_left(self, share: float, whole: float) -> float:
        """Return the seconds that are expected until the end of the pipeline.

        Args:
            share: of this stage that is done.
            whole: seconds that all of this stage takes, by its steps so far.
        """
        after = max(0.0, 1 - self.before - self.own)
        return whole * (1 - share) + after * (self.spent + whole) / (self.measured + self.own)


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
        self._first: tuple[float, float] | None = None  # when a step was first done, and the share by then
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
        now, share = self.clock(), min(max(share, 0.0), 1.0)
        whole = self._measure(now, share)
        soon = self._drawn_at is not None and now - self._drawn_at < _INTERVAL
        if not self.stream.isatty() or not is_writer() or (soon and share < 1):
            return
        overall = min(self.position.before + share * self.position.own, 1.0)
        ending = [f"{100 * overall:.0f} %"]
        ending += [] if whole is None else [f"about {in_words(self.position.seconds_left(share, whole))} left"]
        width = shutil.get_terminal_size().columns - 1
        self.stream.write(_CLEAR + _fit(self.position.title, what, overall, ending, width))
        self.stream.flush()
        self._drawn_at, self._is_shown = now, True

    def _measure(self, now: float, share: float) -> float | None:
        """Return the seconds that the whole stage takes by its steps after the first; None while they are too few."""
        if share > 0 and (self._first is None or share < self._first[1]):  # less is done where it counts something new
            self._first = now, share
        seconds, done = (0.0, 0.0) if self._first is None else (now - self._first[0], share - self._first[1])
        return seconds / done if done > 0 and (seconds >= _MEASURED or done >= _SHARE_MEASURED) else None

    def clear(self) -> None:
        """Take the bar away, so that a line can be written."""
        if self._is_shown:
            self.stream.write(_CLEAR)
            self.stream.flush()
            self._drawn_at, self._is_shown = None, False


def _fit(title: str, what: str, share: float, ending: list[str], width: int) -> str:
    """Return the line of a bar: where it is too long the bar is shorter or left out, and then ``what`` is cut."""
    room = width - len(_join(title, what, *ending)) - 2
    field = min(_FIELD, room)
    if field >= _LEAST_FIELD:
        filled = round(field * share)
        return _join(title, what, "#" * filled + "." * (field - filled), *ending)
    over = max(0, -room - 2)
    return _join(title, what[: max(0, len(what) - over)].rstrip(), *ending)[:width]


def _join(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


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
    return {POSITION_VARIABLE: json.dumps(list(position))}
