"""Folders in which each case, or each patient, has its images and labels: ``P1/image.jpg``, ``P1/photos/a.jpg``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from statistics import median

from common.creation.stems import Endings
from common.datasets.folder_files.names import name_with, stem_of
from common.errors import InputError

_LABEL = re.compile(r"mask|label|segm|annot|truth|(?<![a-z])(?:gt|seg|manual|ground)(?![a-z])", re.IGNORECASE)
_NUMBERED = re.compile(r"_\d+$")
_FEWEST_PATIENTS = 5  # folders; what has fewer may be diagnoses
_MOST_IMAGES = 30  # of a patient
PATIENT = "^([^/]+)"


def find_case_folders(images: Sequence[Path], folder: Path) -> Endings | None:
    """Return how images and labels are called where folders below have one of each, or a folder of each.

    Args:
        images: all pictures below the folder, or volumes.
        folder: the one that was given for the images.

    Raises:
        InputError: if it is a question which of the two are the labels.
    """
    paths = [path.relative_to(folder).with_name(stem_of(path)) for path in images]
    within: dict[PurePath, set[str]] = {}
    beside: dict[PurePath, set[str]] = {}
    for path in paths:
        within.setdefault(path.parent, set()).add(path.name)
        if len(path.parts) > 2:
            beside.setdefault(path.parent.parent, set()).add(path.parent.name)
    if len(beside) > 1 and all(len(path.parts) > 2 for path in paths):
        pair = _only_pair(list(beside.values()))
        if pair is not None:
            return _as_endings(pair, "/", "folder", min(beside))
    if len(within) > 1 and PurePath() not in within:
        pair = _only_pair([_without_numbers(stems) for stems in within.values()])
        if pair is not None and not pair[1].startswith(pair[0]):  # a and a_mask pair by the suffix alone
            return _as_endings(pair, "", "file", min(within))
    return None


def patient_of(images: Sequence[Path], folder: Path, endings: Endings) -> str | None:
    """Return the expression by which the first folder is the patient, where folders look like patients."""
    within = {endings.image_suffix, endings.label_suffix}
    if "/" not in endings.image_suffix and any(_NUMBERED.sub("", stem_of(path)) not in within for path in images):
        return None
    names = [name for path in images if (name := name_with(path, folder, endings.image_suffix)) is not None]
    counts = Counter(name.split("/")[0] for name in names)
    deepest = max((name.count("/") for name in names), default=0)
    is_so = len(counts) >= _FEWEST_PATIENTS and median(counts.values()) < _MOST_IMAGES and deepest <= 1
    return PATIENT if is_so else None


def _only_pair(parts: Sequence[set[str]]) -> tuple[str, str] | None:
    """Return the two names that each folder has, and no other."""
    if len(parts[0]) != 2 or any(each != parts[0] for each in parts):
        return None
    one, other = sorted(parts[0])
    return one, other


def _without_numbers(stems: set[str]) -> set[str]:
    """Return stems without those that only count on: ``mask_1`` beside ``mask``."""
    return {stem for stem in stems if stem == _NUMBERED.sub("", stem) or _NUMBERED.sub("", stem) not in stems}


def _as_endings(pair: tuple[str, str], slash: str, what: str, example: PurePath) -> Endings:
    labels = [name for name in pair if _LABEL.search(name)]
    if len(labels) != 1:
        raise InputError(
            f"--label_suffix is missing: folders such as {example.as_posix()} have a {what} {pair[0]} and a {what} "
            f"{pair[1]}: which has the label? Give --image_suffix {pair[0]}{slash} --label_suffix {pair[1]}{slash}, or "
            "the reverse"
        )
    (image,) = set(pair) - set(labels)
    return Endings(f"{labels[0]}{slash}", image_suffix=f"{image}{slash}")


def labels_in(paths: Sequence[Path], folder: Path, endings: Endings) -> list[Path]:
    """Return the labels among files, by their suffix."""
    return [path for path in paths if name_with(path, folder, endings.label_suffix, numbered=True) is not None]
