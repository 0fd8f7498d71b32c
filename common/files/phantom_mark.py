"""The mark that tells a dataset of phantoms from one of patients."""

from __future__ import annotations

import os
from pathlib import Path

_PHANTOMS = "PHANTOMS"  # a file


def mark_phantoms(folder: str | Path) -> None:
    """Leave a file in a dataset that says that its images are phantoms, whatever the folder is called."""
    text = "The images here are phantoms: drawn by a program in the layout of a dataset. None is a patient's.\n"
    (Path(folder) / _PHANTOMS).write_text(text, encoding="utf-8")


def are_phantoms(path: str | os.PathLike) -> bool:
    """Say whether an image, or a folder of images, lies in a dataset that :func:`mark_phantoms` has marked."""
    places = (Path(os.path.abspath(path)), Path(path).resolve())  # as it was given, and where links lead
    return any((folder / _PHANTOMS).is_file() for place in places for folder in (place, *place.parents))
