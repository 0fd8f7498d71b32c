"""Files and folders that appear under their name only when they are complete."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files.writing import explained, temporary_stem

LOCK_NAME = ".lock"  # of the file that a run locks in its output folder
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.\d+-[0-9a-f]{8}\.(?P<kind>partial|outdated)")


def is_writer() -> bool:
    """Say whether this process is the one that writes files: the only one, or the first of several."""
    # Before the processes of torchrun, which sets LOCAL_RANK, have joined, ignite takes each of them for the only one.
    started_as = int(os.environ.get("RANK", "0")) if "LOCAL_RANK" in os.environ else 0
    if "torch" not in sys.modules:  # nothing has joined, and PyTorch may not even be installed
        return started_as == 0
    import ignite.distributed as idist

    return max(idist.get_rank(), started_as) == 0


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, and rename it to ``path`` when all went well.

    Raises:
        InputError: if the disk is full, or there is no permission to write, or something else is in the way.
    """
    path = Path(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = _temporary(path, "partial")
        try:
            yield fresh
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` to fill, and put it in the place of ``path`` when all went well.

    Raises:
        InputError: if the disk is full, or there is no permission to write, or something else is in the way.
    """
    path = Path(path)
    with explained(path):
        _restore(path)
        fresh, outdated = _temporary(path, "partial"), _temporary(path, "outdated")
        try:
            fresh.mkdir(parents=True)
            yield fresh
            for file in fresh.rglob("*"):
                if file.is_file():
                    file.chmod(0o644)  # safetensors writes for the owner only
            _put_in_place(fresh, path, outdated)
        finally:
            for temporary in (fresh, outdated):
                shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(fresh: Path, path: Path, outdated: Path) -> None:
    if path.exists():
        path.rename(outdated)
    try:
        fresh.rename(path)
    except BaseException:
        if outdated.exists():
            outdated.rename(path)
        raise


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove what killed processes left half-written in a folder and below, and put folders back that they moved away.

    Only the owner of the folder's lock may call it: for anybody else these may be files that are being written. So
    folders inside that have a lock of their own, as the jobs of a study have, are left to the runs that lock them.
    """
    leftovers = []
    for place, folders, files in os.walk(str(folder)):
        if LOCK_NAME in files and Path(place) != Path(folder):
            folders.clear()
            continue
        names = [*folders, *files]
        leftovers += [(Path(place, name), match) for name in names if (match := _LEFTOVER.fullmatch(name))]
    for path, match in leftovers:
        if match["kind"] == "outdated":
            _restore(path.with_name(match["name"]))
    for path, _ in leftovers:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def check_replaceable(folder: str | os.PathLike, mark: str) -> None:
    """Refuse to delete what this project did not write: an existing folder must be empty or hold the file ``mark``.

    Raises:
        InputError: if it is neither, or is not a folder.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / mark).is_file() or not any(folder.iterdir()))):
        raise InputError(f"{folder} exists and holds no {mark}, so it is not overwritten: choose another folder")


def _temporary(path: Path, kind: str) -> Path:
    """Return a name that no other process, and no other call, has for ``path``."""
    # What was moved away is put back under its own name, so it keeps that; nothing else needs the whole of it.
    stem = path.name if kind == "outdated" else temporary_stem(path)
    return path.with_name(f".{stem}.{os.getpid()}-{secrets.token_hex(4)}.{kind}")


def _restore(path: Path) -> None:
    """Put the last version of a folder back where a process was killed between moving it away and replacing it."""
    if path.exists() or not path.parent.is_dir():
        return
    found = [(other, _LEFTOVER.fullmatch(other.name)) for other in path.parent.glob(".*.outdated")]
    outdated = [other for other, match in found if match and match["name"] == path.name]
    if outdated:
        max(outdated, key=lambda other: other.stat().st_mtime).rename(path)


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write what JSON can hold as an atomic file, indented and in UTF-8."""
    with atomic_file(path) as fresh:
        fresh.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
