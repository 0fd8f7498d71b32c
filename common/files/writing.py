"""What a user is told where something cannot be written: a full disk, or a folder that nothing can be written to."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import InputError, causes

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}
_NUMBER = re.compile(r"\(os error (\d+)\)")  # as safetensors, which is written in Rust, ends its messages
_SHOWN = 24  # letters of a name, whose temporary name must not be longer than file systems allow
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # all that NumPy says


def is_disk_full(error: BaseException) -> bool:
    """Say whether an error comes from a disk, or a quota on it, that is full."""
    return any(_errno(each) in _FULL or _SHORT_WRITE.search(str(each)) for each in causes(error))


def no_space(place: str | os.PathLike, key: str = "output_dir") -> str:
    """Return what to say where the disk of a file or folder is full, which the user gave as ``key``."""
    return f"no space left in {place}: free some space there, or choose another {key}"


def temporary_stem(path: Path) -> str:
    """Return what the temporary name of a file or folder has of its own, after a dot and before another one."""
    return path.name[:_SHOWN]


@contextmanager
def explained(path: str | os.PathLike, key: str = "output_dir") -> Iterator[None]:
    """Say in one line why a file or folder cannot be written.

    Args:
        path: what is written in this context. Errors that have another reason pass.
        key: what the user gives to write elsewhere.

    Raises:
        InputError: if the disk is full, or there is no permission to write, or something else is in the way.
    """
    path = Path(path)
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if is_disk_full(error):
            raise InputError(f"{path.name} could not be written, {no_space(path.parent, key)}") from error
        if isinstance(error, OSError) and error.errno in _REFUSED and _is_about(error, path):
            raise InputError(f"{path} cannot be written: {error.strerror}; choose another {key}") from error
        raise


def check_writable(folder: str | os.PathLike, key: str = "output_dir") -> None:
    """Refuse a folder that could not be written to, before minutes are spent on work; nothing is made.

    Args:
        folder: need not exist.
        key: what the user gave it as.

    Raises:
        InputError: if it is a file or below one, or may not be written to.
    """
    folder = Path(os.path.abspath(folder))
    existing = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not existing.is_dir():
        kind = "a link to nowhere" if existing.is_symlink() and not existing.exists() else "a file"
        raise InputError(f"{key} {folder}: {existing} is {kind}; name a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{key} {folder}: no permission to write in {existing}; name another folder")


def _errno(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    number = _NUMBER.search(str(error))
    return int(number[1]) if number else None


def _is_about(error: OSError, path: Path) -> bool:
    """Say whether an error names a path, its temporary name or what is in that, or a folder above."""
    named = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    temporary = (f".{path.name}.", f".{temporary_stem(path)}.")
    return any(
        name == path or name in path.parents or any(each.name.startswith(temporary) for each in (name, *name.parents))
        for name in named
    )
