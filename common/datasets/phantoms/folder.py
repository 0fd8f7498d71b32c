"""The folder of phantoms."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import InputError
from common.files.phantom_mark import mark_phantoms
from common.files.writing import explained


@contextmanager
def phantom_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary folder for phantoms that becomes ``folder``, marked as phantoms, when the block ends.

    It vanishes if the block raises. Unlike :func:`common.files.atomic.atomic_folder` it never replaces what is there,
    which may be a real dataset.

    Raises:
        InputError: if ``folder`` already exists and is not empty, and what is there is left alone; or if it cannot be
            written.
    """
    folder = Path(os.path.abspath(Path(folder).expanduser()))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; name a new folder, or remove this one first")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with explained(folder):
        try:
            partial.mkdir(parents=True)
            yield partial
            mark_phantoms(partial)
            if folder.exists():
                folder.rmdir()  # empty; Windows does not rename over a folder
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
