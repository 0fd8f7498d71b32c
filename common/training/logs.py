"""One log file per stage, and errors that a user can read."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from types import TracebackType

from common.errors import InputError, StageError

logger = logging.getLogger(__name__)


def start(output_dir: str | os.PathLike, stage: str) -> None:
    """Log this stage to ``<output_dir>/logs/<stage>.log`` as well, and show mistakes of the user without a traceback.

    Other ranks than the first log warnings only, and to no file.

    Raises:
        InputError: if the folder is another one than was given, since MONAI reads ``#`` in any value as ``::``.
    """
    if "::" in os.fspath(output_dir):
        raise InputError(f"output_dir: {output_dir} has ::, which is what MONAI makes of #; choose another path")
    root = logging.getLogger()
    if int(os.environ.get("RANK", "0")) > 0:
        root.setLevel(logging.WARNING)
    else:
        folder = Path(output_dir) / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(folder / f"{stage}.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
    sys.excepthook = report


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
