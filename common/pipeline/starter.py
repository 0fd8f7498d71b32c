"""A process that ends with whoever started it, however that ended, since it holds its standard input open."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable


def end_with_starter(end: Callable[[], None]) -> None:
    """Call ``end`` from a thread of its own once standard input is closed at its other end."""
    threading.Thread(target=_wait, args=[end], daemon=True).start()


def _wait(end: Callable[[], None]) -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever sent
    end()
