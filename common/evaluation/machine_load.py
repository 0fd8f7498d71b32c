"""Whether a measurement of time had the machine to itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_MOST = 0.1  # of all processors: what others may take
_STATISTICS = Path("/proc/stat")
_IDLE = (3, 4)  # fields of its first line: idle, and waiting for a disk; guests (8 and 9) are counted elsewhere, too


class Times(NamedTuple):
    """Seconds since some moment."""

    wall: float
    own: float  # of processors, for this process and those that it has waited for
    all: float  # of processors, for anything


def read_times(statistics: Path = _STATISTICS) -> Times | None:
    """Return the times of now; None where the system does not tell."""
    if not statistics.is_file():
        return None
    fields = [float(field) for field in statistics.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    busy = sum(value for index, value in enumerate(fields) if index not in _IDLE) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return Times(time.monotonic(), own.user + own.system + own.children_user + own.children_system, busy)


class MachineLoad:
    """Tells whether others used the processors since :meth:`start`.

    Args:
        times: returns those of now.
        processors: how many there are.
    """

    def __init__(self, times: Callable[[], Times | None] = read_times, processors: int | None = None) -> None:
        self.times = times
        self.processors = processors or os.cpu_count() or 1
        self._before: Times | None = None

    def start(self) -> None:
        """Note the times of now."""
        self._before = self.times()

    def was_alone(self) -> bool | None:
        """Say whether others took less than a tenth of all processors; None where that cannot be told."""
        after = self.times()
        if self._before is None or after is None:
            return None
        wall, own, busy = (later - earlier for later, earlier in zip(after, self._before, strict=True))
        return wall <= 0 or (busy - own) / (wall * self.processors) < _MOST
