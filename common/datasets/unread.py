"""Files in a dataset's folder that may be images, but that its layout has no place for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from common.datasets.findings import count, name_some
from common.datasets.readers.file_kinds import kind_of
from common.datasets.readers.folder_walk import FolderWalk

_OWN_PICTURE = "check.png"  # of an earlier check


def unread_images(walk: FolderWalk, root: Path, read: Iterable[Path], unused: Sequence[str], record: str) -> list[str]:
    """Return the images, of whatever kind, that are not read, relative to the root.

    Args:
        walk: over the root.
        root: folder of the dataset.
        read: files that are read.
        unused: patterns, relative to the root, of what else the layout has; an asterisk goes across folders.
        record: name of a file in folders that stages have written into, which are left alone.
    """
    real = cache(os.path.realpath)  # a folder may be known by the name of a link to it
    known = {(real(path.parent), path.name) for path in read}
    written = folders_of_stages(walk, record) - {root}
    found = []
    for folder, files in walk.folders.items():
        if written.intersection((folder, *folder.parents)):
            continue
        for path in files:
            name = path.relative_to(root).as_posix()
            if (real(folder), path.name) in known or any(fnmatchcase(name, pattern) for pattern in unused):
                continue
            if path.name != _OWN_PICTURE and _may_be_an_image(path):
                found.append(name)
    return sorted(found)


def folders_of_stages(walk: FolderWalk, record: str) -> set[Path]:
    """Return the folders that stages have written into, and bundles: what is in them, and below, is not the dataset's.

    Args:
        walk: over the dataset.
        record: name of the file that stages leave where they write.
    """
    names = {folder: {path.name for path in files} for folder, files in walk.folders.items()}
    bundles = {folder.parent for folder in names if folder.name == "configs" and "metadata.json" in names[folder]}
    return bundles | {folder for folder in names if record in names[folder]}


def describe_unread(names: Sequence[str]) -> list[str]:
    """Return a line about files that are not read, none where there are none."""
    if not names:
        return []
    return [
        f"not read, since the layout has no place for them: {count(names)} that may be images ({name_some(names)}); "
        "see whether they belong to the dataset, under other names"
    ]


def _may_be_an_image(path: Path) -> bool:
    try:
        return kind_of(path) is not None
    except OSError:  # nobody knows, without permission to look
        return True
