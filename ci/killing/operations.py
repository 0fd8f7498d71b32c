"""A process that kills itself at one of its file operations: moments that a clock hardly ever meets."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def watch(folder: Path, count: Path, kill_at: int | None = None) -> None:
    """Count the operations of this process that change something in a folder, and kill it before one of them.

    Python tells an audit hook of each file that is opened to be written, renamed or removed. What libraries in C++ and
    Rust open themselves is not seen, but the renaming that follows is.

    Args:
        folder: what is watched, with all that is in it.
        count: file outside that gets one byte for each operation.
        kill_at: number of the operation before which the process ends, from 0 on; None only counts.
    """
    seen = 0
    counter = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    owner = os.getpid()  # workers inherit the hook

    def see(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if os.getpid() != owner or not _changes(event, arguments, folder):
            return
        if seen == kill_at:
            os.kill(owner, signal.SIGKILL)
        seen += 1
        os.write(counter, b".")

    sys.addaudithook(see)


def _changes(event: str, arguments: tuple[Any, ...], folder: Path) -> bool:
    if event == "open":
        path, mode, flags = arguments
        writes = bool(flags & _WRITING) if mode is None else any(letter in mode for letter in "wax+")
        return writes and _is_in(path, folder)
    return event in _CHANGES and any(_is_in(path, folder) for path in arguments[:2])


def _is_in(path: Any, folder: Path) -> bool:
    return isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(f"{folder}{os.sep}")
