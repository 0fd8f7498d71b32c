"""The beginning and the end of a stage: its folder, its log file, and failures that a user can read."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from common.errors import InputError
from common.files.atomic import is_writer
from common.files.locks import lock_folder, unlock_folder
from common.files.writing import check_writable, explained
from common.training.bar import clear_for, this_bar
from common.training.failures import report, show_failures
from common.training.screen import hide_loading_bars, on_screen
from common.training.stage_log import StageLog, is_for_screen, open_logs

__all__ = ["report", "start", "stop"]

logger = logging.getLogger(__name__)


def start(output_dir: str | os.PathLike, stage: str, lock: bool = True) -> None:
    """Take the folder for this run, log to ``<output_dir>/logs/<stage>.log`` too, and show failures in one line.

    Tracebacks go to that file alone. Other ranks than the first log warnings only, and to no file.

    Args:
        output_dir: where the stage writes.
        stage: its name.
        lock: whether no other run may write there until :func:`stop`, or until this process ends. A stage whose files
            are each complete by themselves, such as inference, does without.

    Raises:
        InputError: if another run has the folder, if it cannot be written to, or if it is another one than was given,
            since MONAI reads ``#`` in any value as ``::``.
    """
    show_failures()
    if "::" in os.fspath(output_dir):
        raise InputError(f"output_dir: {output_dir} has ::, which is what MONAI makes of #; choose another path")
    root = logging.getLogger()
    if not is_writer():
        root.setLevel(logging.WARNING)
        return
    check_writable(output_dir)
    if lock:
        lock_folder(output_dir)
    path = Path(output_dir) / "logs" / f"{stage}.log"
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        log = StageLog(path)
    for handler in on_screen():
        handler.addFilter(is_for_screen)
        handler.addFilter(clear_for)
    hide_loading_bars()
    root.addHandler(log)


def stop(output_dir: str | os.PathLike) -> None:
    """Close the logs in ``<output_dir>/logs``, and let other runs have the folder.

    Where a GPU was used, their last line says how much of its memory was needed: batch sizes are chosen by that.
    """
    _log_memory()
    root, folder = logging.getLogger(), Path(output_dir).resolve() / "logs"
    for log in open_logs():
        if log.path.resolve().parent == folder:
            root.removeHandler(log)
            log.close()
    if not open_logs():
        this_bar().clear()
        for handler in on_screen():
            handler.removeFilter(is_for_screen)
            handler.removeFilter(clear_for)
    unlock_folder(output_dir)


def _log_memory() -> None:
    torch = sys.modules.get("torch")  # where nothing has imported it, there was no GPU in use either
    if torch is not None and torch.cuda.is_initialized():
        taken = torch.cuda.max_memory_allocated() / 1e9
        logger.info(f"this process took at most {taken:.2f} GB of the GPU's memory at once")
