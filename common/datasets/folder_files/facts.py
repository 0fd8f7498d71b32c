"""Patients, splits and strata of images by their names and folders."""

from __future__ import annotations

import re
from pathlib import Path

from common.datasets.findings import count, name_some
from common.datasets.folder_files.items import Found
from common.datasets.folder_files.places import USUAL_NAMES, split_named
from common.datasets.issues import DatasetIssues
from common.datasets.source import FOLDER, Source
from common.files.phantom_mark import are_phantoms


def add_facts(found: Found, source: Source, root: Path, issues: DatasetIssues) -> None:
    """Add patient, split and stratum where the names of images and of their folders say them.

    Args:
        found: gets them.
        source: says which name says what.
        root: folder of the dataset; phantoms have no patients, whatever their names.
        issues: gets names that do not say what they should.
    """
    if source.patient is not None and "(" in source.patient and not are_phantoms(root):
        _add_patients(found, source.patient, issues)
    if source.stratum == FOLDER:
        for name, item in found.items.items():
            found.items[name] = item._replace(stratum=_folders(name)[-1] or None)
    if source.split == FOLDER and any(item.split is None for item in found.items.values()):
        _add_splits(found, source, issues)


def _add_patients(found: Found, pattern: str, issues: DatasetIssues) -> None:
    without = []
    for name, item in found.items.items():
        match = re.search(pattern, name)
        if match is None or not match[1]:
            without.append(name)
        else:
            found.items[name] = item._replace(patient=match[1])
    if without:
        issues.add(
            f"source::patient: '{pattern}' says no patient in {len(without)} of {count(list(found.items), 'name')}, "
            f"such as {name_some(without)}; correct it, or give the patients in a column of a datalist"
        )


def _add_splits(found: Found, source: Source, issues: DatasetIssues) -> None:
    unknown = []
    for name, item in found.items.items():
        split = next((each for each in map(split_named, _folders(name)) if each is not None), None)
        if split is None:
            unknown.append(name)
        found.items[name] = item._replace(split=split)
    if unknown:
        known = ", ".join(USUAL_NAMES.values())
        issues.add(
            f"source::split: {count(unknown, 'image')} in no folder of a split ({name_some(unknown)}); expected "
            f"folders such as {known} in {source.images}, or leave out split to have the seed decide"
        )


def _folders(name: str) -> list[str]:
    """Return the folders that a name has; at least one, which may be empty."""
    return name.split("/")[:-1] or [""]
