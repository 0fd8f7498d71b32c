"""What a user should know of how the files of a folder dataset were found."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from statistics import median

from common.datasets.findings import count, name_some
from common.datasets.folder_files.items import Found
from common.datasets.source import FOLDER, Source
from common.files.phantom_mark import are_phantoms

_FEW_PATIENTS = 5
_MANY_IMAGES = 30  # of one patient, in pictures


def describe_orphans(found: Found, root: Path) -> list[str]:
    """Return a line about labels without an image."""
    if not found.orphans:
        return []
    names = sorted(Path(os.path.relpath(path, root)).as_posix() for path in found.orphans)
    return [f"{count(names, 'label')} without an image of that name ({name_some(names)}): not used"]


def describe_patients(source: Source, found: Found, root: Path) -> list[str]:
    """Return a line about images whose patients are not known: those of one patient may be in several splits."""
    if are_phantoms(root):
        return []
    images = "volumes" if source.kind == "volumes" else "images"
    if source.patient is not None:
        without = [name for name, item in found.items.items() if item.patient is None]
        if not without:
            return _doubt_patients(found, source)
        who, what = f"{count(without, images[:-1])} of unknown patients ({name_some(without)})", "complete the column"
    else:
        who, pattern = "the patients are not known", _suggest(found, source)
        if source.is_datalist:
            what = "if a patient may have several, add a column 'patient' to the datalist, and set source::patient"
        else:
            example = "such as '^(P[0-9]+)_'"
            if pattern:
                example = f"names such as {pattern[1]} suggest '{pattern[0]}', if they begin with the patient"
            what = (
                "if a patient may have several, set source::patient (create: --patient) to a regular expression whose "
                f"group is the patient in an image's name ({example}), or list the images in a CSV with columns image, "
                "label and patient"
            )
        if any(item.split is None for item in found.items.values()):
            who += f", so that {images} of one patient may be in training and test, which makes results too good"
    return [f"{who}: {what}"]


def _doubt_patients(found: Found, source: Source) -> list[str]:
    """Return a line about patients that are so few, or have so many images each, that they are probably none."""
    images: dict[str, list[str]] = {}
    for name, item in found.items.items():
        images.setdefault(item.patient or "", []).append(name)
    folders = {name.rpartition("/")[0] for name in found.items}
    are_few = len(images) < _FEW_PATIENTS and len(images) < len(found.items)
    if not are_few and not _are_large_folders(images, folders):
        return []
    unit = "volume" if source.kind == "volumes" else "image"
    listed = name_some([f"{patient}: {count(names, unit)}" for patient, names in images.items()])
    column = "column" if source.is_datalist else "expression"
    advice = f"if they are, add images of other people; if not, correct the {column} or leave it out"
    if not source.is_datalist and source.stratum is None and len(folders) > 1:
        advice += "; if they are diagnoses, leave it out and set source::stratum (create: --stratum) to folder"
    return [
        f"source::patient '{source.patient}' makes {count(list(images), 'patient')} ({listed}): are these patients? A "
        f"patient is never split, so that few of them make poor splits: {advice}"
    ]


def _are_large_folders(images: dict[str, list[str]], folders: set[str]) -> bool:
    """Tell whether patients are the folders, with tens of images each, as diagnoses have."""
    own = [{name.rpartition("/")[0] for name in names} for names in images.values()]
    are_folders = len(folders) == len(images) and all(len(each) == 1 for each in own)
    return are_folders and median(map(len, images.values())) >= _MANY_IMAGES


def _suggest(found: Found, source: Source) -> tuple[str, str] | None:
    """Return an expression by which several names at a time have something in common, and one of those names."""
    names = list(found.items)
    folders = () if FOLDER in (source.stratum, source.split) else (r"^([^/]+)/",)
    for pattern in (*folders, r"^([^/_]+)_", r"^([^/-]+)-"):
        groups = Counter(match[1] for name in names if (match := re.search(pattern, name)))
        if 2 < len(groups) < sum(groups.values()) == len(names):
            most = groups.most_common(1)[0][0]
            return pattern, next(name for name in names if (match := re.search(pattern, name)) and match[1] == most)
    return None
