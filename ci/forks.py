"""Processes forked from one that has imported what they need, so that each starts at once: importing takes 8 seconds.

The process that forks must never have computed anything with several threads: a fork inherits their locks, not them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

_FORK = multiprocessing.get_context("fork")


def start(
    function: Callable[[], object],
    output: Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Call a function in a process of its own, which leads a session of its own.

    An error ends it as it ends a script: ``sys.excepthook`` shows it, and the exit code is 1.

    Args:
        function: what is called.
        output: file that gets its standard output and error.
        folder: where it runs; by default where this process does.
        environment: variables in addition to those of this process.
    """
    process = _FORK.Process(target=_run, args=(function, output, folder, dict(environment or {})))
    process.start()
    return process


def _run(function: Callable[[], object], output: Path, folder: Path | None, environment: dict[str, str]) -> None:
    os.setsid()
    stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    empty = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((0, empty), (1, stream), (2, stream)):
        os.dup2(target, number)
    sys.stdin = os.fdopen(0, closefd=False)  # multiprocessing has closed it
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))  # a test may have its own
    tempfile.tempdir = None  # else that of the process that forks
    os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)
    warnings.simplefilter("ignore")
    try:
        function()
    except Exception:
        sys.excepthook(*sys.exc_info())  # multiprocessing would show its own traceback
        sys.exit(1)


def wait(process: BaseProcess, seconds: float) -> int | None:
    """Return the exit code, negative for a signal, or None where it took longer and was killed with its workers."""
    process.join(seconds)
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return None
    return process.exitcode


def session_of(leader: int) -> list[int]:
    """Return the processes that are alive in the session that a process leads, or led; zombies are not."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def wait_for_session(leader: int, seconds: float) -> list[int]:
    """Return the processes of a session that are still alive after so many seconds, or none as soon as none is."""
    end = time.monotonic() + seconds
    while (alive := session_of(leader)) and time.monotonic() < end:
        time.sleep(0.1)
    return alive
