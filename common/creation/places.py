"""Where images and labels lie: the folder that holds both, and their paths from there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from common.creation.options import Options
from common.errors import InputError


class Places(NamedTuple):
    """The folder of a dataset, and paths from there, with ``/`` between folders.

    Attributes:
        root: what configs call ``dataset_dir``.
        images: of the images; "." is the root itself.
        labels: of the labels; None where they are among the images, or a datalist names them.
        field_of_view: a folder, or a column of a datalist.
    """

    root: Path
    images: str
    labels: str | None
    field_of_view: str | None


def find_places(options: Options) -> Places:
    """Return where everything lies.

    Raises:
        InputError: if no folder of the user's own holds both images and labels, or the field of view is no folder.
    """
    images, labels = options.images, options.labels
    if labels == images:
        labels = None
    field = _field_of_view(options)
    start = images.parent if images.is_file() else images
    folders = [start, *([labels] if labels else []), *([field] if isinstance(field, Path) else [])]
    try:
        root = Path(os.path.commonpath(folders))
    except ValueError:  # drives of Windows
        root = Path(start.anchor)
    if root.is_file():
        root = root.parent
    if len(folders) > 1 and root in (Path(root.anchor), Path.home()):
        raise InputError(
            f"--labels: {labels or field} and --images {images} have no folder of their own in common; move them "
            "into one"
        )
    return Places(
        root,
        _below(root, images),
        None if labels is None else _below(root, labels),
        _below(root, field) if isinstance(field, Path) else field,
    )


def _field_of_view(options: Options) -> Path | str | None:
    text = options.field_of_view
    if text is None or options.images.is_file():
        return text
    for path in (Path(os.path.abspath(text)), options.images.parent / text):
        if path.is_dir():
            return path
    raise InputError(f"--field_of_view: {text}: no such folder; expected one with a mask for each image, of its name")


def _below(root: Path, path: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()
