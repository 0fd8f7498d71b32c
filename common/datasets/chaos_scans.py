"""The scans of CHAOS: which slices and labels belong together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from common.datasets.issues import DatasetIssues
from common.datasets.readers.chaos import PLACES, list_labels
from common.datasets.readers.dicom import list_slices, natural_key
from common.datasets.roots import describe_folder


class Scan(NamedTuple):
    """One patient's scan: the folder that has Ground, and slices and labels in the order of their names."""

    folder: Path
    images: list[Path]
    labels: list[Path]


def find_scans(root: Path, modality: str, issues: DatasetIssues) -> dict[str, Scan]:
    """Return the scans by patient, incomplete ones too, and note what is missing or does not pair."""
    place = PLACES[modality]
    group = root / "Train_Sets" / place.group
    patients = [each for each in group.iterdir() if each.is_dir()] if group.is_dir() else []
    patients = sorted((each for each in patients if not each.name.startswith((".", "__"))), key=natural_key)
    if not patients:
        state = describe_folder(group, "patients")
        sequence = Path("1", place.sequence).as_posix()
        issues.add(f"Train_Sets/{place.group}: {state}; expected {sequence}/{place.images} and {sequence}/Ground")
    found = {}
    for patient in patients:
        folder = patient / place.sequence
        found[patient.name] = Scan(folder, list_slices(folder / place.images), list_labels(folder / "Ground"))
        _check_pairs(found[patient.name], place.images, folder.relative_to(root).as_posix(), issues)
    return found


def _check_pairs(scan: Scan, images: str, name: str, issues: DatasetIssues) -> None:
    """Note a scan whose slices and labels cannot be paired."""
    for paths, folder, what in ((scan.images, images, "DICOM slices"), (scan.labels, "Ground", "PNG labels")):
        if not paths:
            issues.add(f"{name}/{folder}: {describe_folder(scan.folder / folder, what)}")
    if not scan.images or not scan.labels:
        return
    holes = {images: _hole_in_numbers(scan.images), "Ground": _hole_in_numbers(scan.labels)}
    if len(scan.images) != len(scan.labels):
        hints = [f"{folder} has none between {hole}" for folder, hole in holes.items() if hole]
        issues.add(
            f"{name}: {len(scan.images)} slices in {images}, but {len(scan.labels)} labels in Ground; they pair by "
            f"sorted name, one label for each slice{''.join(f'; {hint}' for hint in hints)}"
        )
    elif bool(holes[images]) != bool(holes["Ground"]):
        folder, other = (images, "Ground") if holes[images] else ("Ground", images)
        issues.add(
            f"{name}/{folder}: has no file between {holes[folder]}, while the numbers in {other} have no such hole, so "
            "slices and labels do not pair; restore the missing file"
        )


def _hole_in_numbers(paths: Sequence[Path]) -> str | None:
    """Return the names around the first hole in the numbering of files, whose step may be more than one."""
    numbers = [[int(number) for number in re.findall(r"\d+", path.stem)] for path in paths]
    if len({len(each) for each in numbers}) != 1:
        return None
    varying = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    if len(varying) != 1:
        return None
    steps = [after - before for before, after in pairwise(varying[0])]
    usual = Counter(steps).most_common(1)[0][0]
    return next((f"{paths[i].name} and {paths[i + 1].name}" for i, step in enumerate(steps) if step > usual), None)
