"""Links in a folder of weights, which may come from others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from common.errors import InputError


def check_no_way_out(folder: str | os.PathLike, names: Iterable[str]) -> None:
    """Refuse files of a folder that are links to a place outside of it, or are no regular files.

    A snapshot in the cache of the Hugging Face hub consists of links to files of the same repository; they are allowed.

    Args:
        folder: of weights.
        names: of files in it, of which those that are missing do not matter.

    Raises:
        InputError: naming the first such file and where it leads.
    """
    folder = Path(folder)
    root = Path(os.path.realpath(folder))
    if root.parent.name == "snapshots":  # <repository>/snapshots/<revision>, with links to <repository>/blobs
        root = root.parents[1]
    for name in names:
        file = folder / name
        place = Path(os.path.realpath(file))
        if not place.is_relative_to(root):
            raise InputError(f"{file} is a link to {place}, outside of its folder: put a copy of the file in its place")
        if os.path.lexists(file) and not file.is_file():
            raise InputError(f"{file} is no regular file: put a copy of the file in its place")
