"""How a process fails: in one line, with the traceback in a file."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from common.training.first_cause import first_cause
from common.training.stage_log import StageLog, open_logs

logger = logging.getLogger(__name__)

_FILE = "COMMON_FAILURE_FILE"  # of the environment: where a process says why it failed, instead of on the screen


def show_failures() -> None:
    """Have this process show every failure by :func:`report`, and print in any locale.

    SIGTERM ends it as Ctrl-C does, so that what is half-written is removed.
    """
    sys.excepthook = report
    threading.excepthook = _log_thread
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # such as file names in a terminal that has ASCII alone
    # torchrun sends the signal to the processes that are left when one has failed, which then has said why.
    is_free = threading.current_thread() is threading.main_thread() and "LOCAL_RANK" not in os.environ
    if is_free and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Show the first cause of a failure in one line, and put its traceback into the log of the stage.

    Where there is no such log, the traceback of what is no :class:`~common.errors.InputError` goes to a temporary file.
    """
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would fail once more when it ends
    logs = open_logs()
    cause = first_cause(error, logs[-1].path.parents[1] if logs else None)
    record = logger.makeRecord(
        logger.name, logging.CRITICAL, __file__, 0, cause.text, (), (kind, error, traceback), "report"
    )
    for log in logs:
        log.handle(record)
    if cause.is_known:
        _say(cause.text)
        return
    path = _kept_in(logs) or _write_traceback(record)
    _say(f"{cause.text} (the traceback is in {path})" if path else logging.Formatter().format(record))


@contextmanager
def collected() -> Iterator[Path]:
    """Have the processes that are started in here say why they failed in a file, which is theirs, and is yielded.

    The first that fails has the word: others fail because of it.
    """
    with tempfile.TemporaryDirectory(prefix="failure-") as folder:
        file = Path(folder) / "failure"
        os.environ[_FILE] = str(file)
        try:
            yield file
        finally:
            del os.environ[_FILE]


def _say(text: str) -> None:
    file = os.environ.get(_FILE)
    if file is not None:
        try:
            with open(file, "x", encoding="utf-8", errors="backslashreplace") as said:
                said.write(text)
            return
        except FileExistsError:
            return
        except OSError:  # no space for a line
            pass
    print(f"error: {text}", file=sys.stderr)


def _kept_in(logs: list[StageLog]) -> Path | None:
    """Return a log file that has all that was logged."""
    for log in logs:
        log.flush()
    return next((log.path for log in logs if log.is_complete), None)


def _write_traceback(record: logging.LogRecord) -> Path | None:
    """Write a traceback to a temporary file; None where nothing can be written."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="traceback-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(logging.Formatter().format(record) + "\n")
    except OSError:
        return None
    return Path(file.name)


def _log_thread(arguments: threading.ExceptHookArgs) -> None:
    """Log the failure of a thread, such as TensorBoard's, which the main thread hears of, and is to report."""
    if open_logs():
        logger.error("a thread failed", exc_info=arguments.exc_value)
    else:
        threading.__excepthook__(arguments)


def _terminate(number: int, frame: FrameType | None) -> None:
    _say("ended by SIGTERM; the same command goes on from there")
    raise SystemExit(128 + number)
