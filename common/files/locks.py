"""One run at a time in an output folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from common.files.atomic import LOCK_NAME, is_writer, remove_leftovers

if TYPE_CHECKING:
    from filelock import FileLock

_held: dict[Path, FileLock] = {}


def lock_folder(folder: str | os.PathLike) -> None:
    """Take an output folder for this process, and clear away what a killed run left half-written in it.

    A folder that this process has already is not locked again. The lock ends with the process, however that ends:
    filelock, from its version 4 on, closes it in the worker processes, which may outlive a killed run. The file
    ``.lock`` stays and means nothing by itself. Of several processes of one training, only the first one locks.

    Args:
        folder: made where it does not exist.

    Raises:
        InputError: if another run has the folder, or it cannot be written to.
    """
    from filelock import FileLock, Timeout  # here, so that a released student is loaded without it

    folder = Path(folder).resolve()
    if not is_writer() or folder in _held:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME, timeout=0, thread_local=False)
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"output_dir: another run is writing to {folder}; wait until it has ended, or choose another output_dir"
        ) from error
    except OSError as error:
        raise InputError(f"output_dir: {folder} cannot be written to ({error}); choose another output_dir") from error
    _held[folder] = lock
    remove_leftovers(folder)


def unlock_folder(folder: str | os.PathLike) -> None:
    """Give back a folder that :func:`lock_folder` took; nothing happens where this process does not have it."""
    lock = _held.pop(Path(folder).resolve(), None)
    if lock is not None:
        lock.release()


def unlock_all() -> None:
    """Give back every folder that this process has."""
    for folder in list(_held):
        unlock_folder(folder)
