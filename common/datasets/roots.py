"""Find a dataset's root folder and the files in a folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from common.errors import InputError


def list_images(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the visible files of a folder with one of the suffixes, sorted; none if it is missing or not readable."""
    try:
        paths = list(folder.iterdir())
    except OSError:
        return []
    return sorted(path for path in paths if path.suffix.lower() in suffixes and not path.name.startswith("."))


def describe_folder(folder: Path, what: str = "images") -> str:
    """Say why nothing was found in a folder."""
    if not os.path.isdir(folder):
        return "no such folder"
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    return f"no {what} in it"


def find_root(root: str | os.PathLike, dataset: str, landmarks: Sequence[str], layout: str) -> Path:
    """Return the root folder of a dataset, given it, its parent, or a folder that is known to lie inside.

    Args:
        root: what the user gave.
        dataset: name of the dataset as the user knows it.
        landmarks: folders of the dataset, relative to its root; the first one is what the root is known by.
            Each may be a pattern, such as ``images_*``.
        layout: what is expected, for the message.

    Raises:
        InputError: if there is no such folder, or more than one.
    """
    folder = Path(os.path.abspath(Path(root).expanduser()))
    if not os.path.isdir(folder):
        raise InputError(
            f"dataset_dir {folder}: no such folder; expected {dataset}, the folder with {landmarks[0]} in it"
        )

    def is_root(candidate: Path) -> bool:
        return any(os.path.isdir(path) for path in candidate.glob(landmarks[0]))

    if is_root(folder):
        return folder
    for pattern in landmarks:
        levels = pattern.split("/")
        for depth in range(1, len(levels) + 1):
            if folder.match("/".join(levels[:depth])) and is_root(folder.parents[depth - 1]):
                return folder.parents[depth - 1]
    try:
        children = sorted(child for child in folder.iterdir() if os.path.isdir(child) and is_root(child))
    except OSError as error:
        raise InputError(f"dataset_dir {error.filename}: cannot be opened ({error.strerror})") from error
    if len(children) == 1:
        return children[0]
    if children:
        names = ", ".join(child.name for child in children)
        raise InputError(f"dataset_dir {folder}: holds several copies of {dataset} ({names}); name one of them")
    raise InputError(f"dataset_dir {folder}: no {landmarks[0]} here or one level down; expected {layout}")
