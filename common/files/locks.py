"""One run at a time in an output folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from common.files.atomic import LOCK_NAME, is_writer, remove_leftovers
from common.files.writing import check_writable

if TYPE_CHECKING:
    from filelock import FileLock

logger = logging.getLogger(__name__)

PATIENCE = 3.0  # seconds: on a busy machine, the stage of a pipeline that was killed needs moments to notice and end
_PIPELINE_LOCK = ".pipeline.lock"
_held: dict[Path, FileLock] = {}  # by the path of the file that is locked


def lock_folder(folder: str | os.PathLike) -> None:
    """Take an output folder for this process, and clear away what a killed run left half-written in it.

    Where another run has the folder it waits for ``PATIENCE``, lest one that was just killed is still ending. A folder
    that this process has already is not locked again. The lock ends with the process, however that ends:
    filelock, from its version 4 on, closes it in the worker processes, which may outlive a killed run. The file
    ``.lock`` stays and says only that a run has had the folder. Where none has, nothing is cleared away: what is
    half-written there is of a run that has a folder above, and may go on. Of several processes of one training, only
    the first one locks.

    Args:
        folder: made where it does not exist.

    Raises:
        InputError: if another run has the folder, or it cannot be written to.
    """
    folder = Path(folder).resolve()
    if is_writer() and folder / LOCK_NAME not in _held:
        had_a_run = (folder / LOCK_NAME).exists()
        _lock(folder, LOCK_NAME)
        if had_a_run:
            remove_leftovers(folder)


@contextmanager
def one_pipeline(folder: str | os.PathLike) -> Iterator[None]:
    """Keep other pipelines out of an output folder, and clear away what a killed run left half-written in it.

    The folder's own lock is for the stages, each of which is another process.

    Args:
        folder: made where it does not exist.

    Raises:
        InputError: if another pipeline or stage has the folder, or it cannot be written to.
    """
    folder = Path(folder).resolve()
    _lock(folder, _PIPELINE_LOCK)
    try:
        if folder / LOCK_NAME not in _held:
            lock_folder(folder)
            unlock_folder(folder)
        yield
    finally:
        _unlock(folder / _PIPELINE_LOCK)


def _lock(folder: Path, name: str) -> None:
    busy = f"output_dir: another run is writing to {folder}; wait until it has ended, or choose another output_dir"
    _held[folder / name] = _acquire(folder / name, "output_dir", busy, PATIENCE)


@contextmanager
def one_process(path: Path, key: str, busy: str, patience: float, waiting: str) -> Iterator[None]:
    """Let one process at a time do something in a folder.

    Args:
        path: of the file that is locked, which stays; its folder is made where it does not exist.
        key: what the user gives to have another folder.
        busy: what to say where another process takes longer than this one waits.
        patience: seconds to wait.
        waiting: what to log where it has to wait.

    Raises:
        InputError: with ``busy``, or if the folder cannot be written to.
    """
    lock = _acquire(path, key, busy, patience, waiting)
    try:
        yield
    finally:
        lock.release()


def _acquire(path: Path, key: str, busy: str, patience: float, waiting: str = "") -> FileLock:
    from filelock import FileLock, Timeout  # here, so that a released student is loaded without it

    check_writable(path.parent, key)
    lock = FileLock(path, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if waiting:
                logger.info(waiting)
            lock.acquire(timeout=patience)
    except Timeout as error:
        raise InputError(busy) from error
    except OSError as error:
        raise InputError(f"{key}: {path.parent} cannot be written to ({error}); choose another {key}") from error
    return lock


def unlock_folder(folder: str | os.PathLike) -> None:
    """Give back a folder that :func:`lock_folder` took; nothing happens where this process does not have it."""
    _unlock(Path(folder).resolve() / LOCK_NAME)


def unlock_all() -> None:
    """Give back every folder that this process has."""
    for path in list(_held):
        _unlock(path)


def _unlock(path: Path) -> None:
    lock = _held.pop(path, None)
    if lock is not None:
        lock.release()
