"""What is wrong with the contents of CHAOS's scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.datasets.chaos_scans import Scan
from common.datasets.findings import Findings
from common.datasets.issues import DatasetIssues
from common.datasets.readers.chaos import CLASSES, GREYS, PLACES, class_table, read_greys
from common.datasets.readers.dicom import Slice, read_pixels
from common.datasets.readers.dicom_series import find_issues
from common.errors import InputError


def check_scan(scan: Scan, modality: str, root: Path, issues: DatasetIssues, findings: Findings) -> None:
    """Read every slice and label of one scan, and note what is wrong with them.

    Args:
        scan: slices and labels.
        modality: says which grey values are known.
        root: the messages name files relative to it.
        issues: gets what is wrong.
        findings: gets what the slices look like.
    """
    images = f"{scan.folder.relative_to(root).as_posix()}/{PLACES[modality].images}"
    ground = f"{scan.folder.relative_to(root).as_posix()}/Ground"
    slices = _check_slices(scan.images, images, root, issues, findings)
    masks, reasons = {}, {}
    for path in scan.labels:
        try:
            masks[path] = read_greys(path)
        except InputError as error:
            reasons[path] = error
    _add_by_reason(issues, ground, reasons)
    if len(scan.images) == len(scan.labels):
        sizes = {}
        for image, label in zip(scan.images, scan.labels, strict=True):
            if image in slices and label in masks:
                (rows, columns), where = masks[label].shape, slices[image]
                if (rows, columns) != (where.rows, where.columns):
                    sizes[label] = f"is {columns} x {rows}, but its slice is {where.columns} x {where.rows} pixels"
        _add_by_reason(issues, ground, sizes)
    _check_greys(masks, modality, ground, issues)


def _check_slices(
    paths: Sequence[Path], name: str, root: Path, issues: DatasetIssues, findings: Findings
) -> dict[Path, Slice]:
    """Read the slices of one scan and note what is wrong with them."""
    slices, reasons = {}, {}
    for path in paths:
        try:
            slices[path], values = read_pixels(path)
            findings.add_pixels(path.relative_to(root).as_posix(), values)
        except InputError as error:
            reasons[path] = error
    _add_by_reason(issues, name, reasons)
    if not slices or reasons:  # what cannot be read would be reported again, as a gap
        return slices
    geometry = find_issues(list(slices.values()))
    for each in geometry:
        issues.add(f"{name}: {each}")
    depths = [each.depth for each in slices.values()]
    if not geometry and depths not in (sorted(depths), sorted(depths, reverse=True)):
        issues.add(
            f"{name}: sorted by name, the slices are not in the order in which they lie in the patient, so that labels "
            "cannot be paired by name; restore the original names"
        )
    return slices


def _check_greys(masks: dict[Path, np.ndarray], modality: str, name: str, issues: DatasetIssues) -> None:
    """Note grey values that belong to no class, once for a scan, and a scan without any structure."""
    classes = class_table(modality)
    strange = {path: values[classes[values] < 0] for path, mask in masks.items() if (values := np.unique(mask)).size}
    strange = {path: values for path, values in strange.items() if values.size}
    if strange:
        first, *more = strange
        greys = sorted({int(value) for each in strange.values() for value in each})
        shown = ", ".join(map(str, greys[:5])) + (", ..." if len(greys) > 5 else "")
        known = ", ".join(
            f"{CLASSES[modality][index]} {low}" + (f"-{high}" if high > low else "")
            for index, (low, high) in GREYS[modality].items()
        )
        others = f" and {len(more)} more" if more else ""
        issues.add(f"{name}/{first.name}{others}: grey values {shown} are outside the known ones ({known})")
    elif masks and not any(mask.any() for mask in masks.values()):
        issues.add(f"{name}: every label is empty; expected {', '.join(list(CLASSES[modality].values())[1:])}")


def _add_by_reason(issues: DatasetIssues, folder: str, reasons: Mapping[Path, InputError | str]) -> None:
    """Note files that cannot be used, those of one folder and one reason together."""
    names: dict[str, list[str]] = {}
    for path, reason in reasons.items():
        names.setdefault(str(reason).removeprefix(f"{path}: "), []).append(path.name)
    for reason, (first, *more) in names.items():
        issues.add(f"{folder}/{first}{f' and {len(more)} more' if more else ''}: {reason}")
