"""Files and folders that are written as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ignite.distributed as idist

from common.errors import InputError


def is_writer() -> bool:
    """Say whether this process is the one that writes files: the only one, or the first of several."""
    return idist.get_rank() == 0


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, and rename it to ``path`` when all went well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.partial")
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` to fill, and put it in the place of ``path`` when all went well."""
    path = Path(path)
    fresh, outdated = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.outdated")
    if outdated.exists() and not path.exists():
        outdated.rename(path)  # the process was killed in between
    for leftover in (fresh, outdated):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        for file in fresh.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # safetensors writes for the owner only
        if path.exists():
            path.rename(outdated)
        try:
            fresh.rename(path)
        except BaseException:
            if outdated.exists():
                outdated.rename(path)
            raise
    finally:
        for leftover in (fresh, outdated):
            shutil.rmtree(leftover, ignore_errors=True)


def check_replaceable(folder: str | os.PathLike, mark: str) -> None:
    """Refuse to delete what was not written here: an existing folder must be empty or hold the file ``mark``.

    Raises:
        InputError: if it is neither, or is no folder.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / mark).is_file() or not any(folder.iterdir()))):
        raise InputError(f"{folder} exists and holds no {mark}, so it is not overwritten: choose another folder")
