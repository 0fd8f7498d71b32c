"""One log file per stage, and errors that a user can read."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from types import TracebackType

from common.errors import InputError, StageError
from common.files.atomic import is_writer
from common.files.locks import lock_folder, unlock_folder

logger = logging.getLogger(__name__)


def start(output_dir: str | os.PathLike, stage: str, lock: bool = True) -> None:
    """Take the folder for this run, log to ``<output_dir>/logs/<stage>.log`` too, and show a user's errors in one line.

    Other ranks than the first log warnings only, and to no file.

    Args:
        output_dir: where the stage writes.
        stage: its name.
        lock: whether no other run may write there until :func:`stop`, or until this process ends.

    Raises:
        InputError: if another run has the folder, or if the folder is another one than was given, since MONAI reads
            ``#`` in any value as ``::``.
    """
    if "::" in os.fspath(output_dir):
        raise InputError(f"output_dir: {output_dir} has ::, which is what MONAI makes of #; choose another path")
    sys.excepthook = report
    if lock:
        lock_folder(output_dir)
    root = logging.getLogger()
    if not is_writer():
        root.setLevel(logging.WARNING)
        return
    folder = Path(output_dir) / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / f"{stage}.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)


def stop(output_dir: str | os.PathLike) -> None:
    """Close the logs in ``<output_dir>/logs``, and let other runs have the folder."""
    root, folder = logging.getLogger(), Path(output_dir).resolve() / "logs"
    for handler in list(root.handlers):
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).resolve().parent == folder:
            root.removeHandler(handler)
            handler.close()
    unlock_folder(output_dir)


def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Show one clear message for an :class:`InputError`, even one that MONAI has wrapped; a traceback for the rest."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputError):
        cause = cause.__cause__
    if cause is None:
        sys.__excepthook__(kind, error, traceback)
        logger.critical("failed", exc_info=(kind, error, traceback))
    else:
        logger.debug("failed", exc_info=(kind, error, traceback))
        print(cause if isinstance(cause, StageError) else f"error: {cause}", file=sys.stderr)
