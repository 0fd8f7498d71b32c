"""Splits that are fixed by seed and made on groups (patients, exams)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import TypeVar

from common.datasets.issues import Faults
from common.errors import InputError

T = TypeVar("T")

SECTIONS = ("training", "validation", "test")


def check_section(section: str) -> None:
    """Refuse a section that no dataset has.

    Raises:
        ValueError: if ``section`` is none of ``SECTIONS``.
    """
    if section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}")


def seeded_order(groups: Sequence[str], seed: int) -> list[str]:
    """Return the distinct groups in an order that depends on their names and ``seed`` alone.

    The order comes from a hash, not from a random generator: it is the same on every machine and in every version of
    numpy, and a group that is added or removed does not reshuffle the others.
    """
    return sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())


def split_groups(groups: Sequence[str], sizes: Sequence[int | float], seed: int) -> list[list[str]]:
    """Split groups (images, patients, exams) into disjoint parts.

    Args:
        groups: one name per group, in any order; repeated names count once.
        sizes: one per part but the last, which gets the rest: a number of groups (int), or a fraction of all groups
            in (0, 1) (float), rounded to at least one.
        seed: the same seed splits the same groups the same way.

    Returns:
        ``len(sizes) + 1`` parts, each in seeded order: the first N of a part are among its first N + 1.

    Raises:
        InputError: if a part, the last one included, would get no group.
        ValueError: if a fraction is not in (0, 1).
    """
    ordered = seeded_order(groups, seed)
    counts = []
    for size in sizes:
        if isinstance(size, float):
            if not 0 < size < 1:
                raise ValueError(f"a fraction in sizes must lie between 0 and 1, got {size}")
            size = max(1, round(size * len(ordered)))
        if size < 1:
            raise InputError(f"every part of a split needs at least one group, got sizes {list(sizes)}")
        counts.append(size)
    if sum(counts) >= len(ordered):
        needed, found = sum(counts) + 1, len(ordered)
        raise InputError(f"a split with parts of {counts} and a rest needs at least {needed} groups, found {found}")
    remaining = iter(ordered)
    return [list(islice(remaining, count)) for count in counts] + [list(remaining)]


def stratified_order(strata: Mapping[str, str], seed: int) -> list[str]:
    """Return names in a seeded order in which every stretch holds each stratum in about its share of the whole.

    Cut anywhere, such an order gives stratified parts, and a small label budget is stratified as well.

    Args:
        strata: the stratum (diagnosis, say) of each name.
        seed: as for :func:`seeded_order`.
    """
    position = {}
    for stratum in set(strata.values()):
        members = seeded_order([name for name in strata if strata[name] == stratum], seed)
        position |= {name: (place + 0.5) / len(members) for place, name in enumerate(members)}
    return sorted(seeded_order(list(strata), seed), key=position.__getitem__)


def cut_sections(
    groups: Sequence[Sequence[str]],
    num_test: int,
    num_validation: int,
    num_labels: int | None,
    faults: Faults,
    unit: str = "images",
) -> dict[str, list[str]]:
    """Cut groups of images, which must not be split, into the test, validation and training sections, in this order.

    Args:
        groups: the images of each patient or exam, in the order in which they are dealt out.
        num_test: number of test images; whole groups are taken until there are at least so many.
        num_validation: number of validation images, likewise.
        num_labels: label budget: the first so many training images; ``None`` takes all.
        faults: gets what is wrong with the numbers; the sections are empty where there is too little to cut.
        unit: what a group is called, in the plural.

    Returns:
        The images of each section: test and validation sorted, training in the order of the groups.
    """
    remaining = list(groups)
    sections: dict[str, list[str]] = {"training": [], "validation": [], "test": []}
    for section, size in (("test", num_test), ("validation", num_validation)):
        while remaining and len(sections[section]) < size:
            sections[section] += remaining.pop(0)
        sections[section].sort()
    sections["training"] = [name for group in remaining for name in group]
    if len(sections["test"]) < num_test or len(sections["validation"]) < num_validation or not sections["training"]:
        count = sum(len(group) for group in groups)
        found = f"{count} images" if unit == "images" else f"{count} images of {len(groups)} {unit}, which stay whole"
        shares = [f"{num_test} for the test"] * (num_test > 0) + [f"{num_validation} for validation"] * (
            num_validation > 0
        )
        faults.add(
            f"too few complete images: {', '.join([*shares, '1 for training'])} needed, found {found}"
            + ("; set num_validation lower or add images" if num_validation > 0 else "; add images")
        )
        return {section: [] for section in SECTIONS}
    available = len(sections["training"])
    if num_labels is not None and not 1 <= num_labels <= available:
        faults.add(f"num_labels must be between 1 and the {available} training images available, got {num_labels}")
    sections["training"] = sections["training"][:num_labels]
    return sections


def repeat(items: Sequence[T], length: int) -> list[T]:
    """Cycle through ``items`` until there are ``length``: an epoch of fixed size whatever the label budget.

    Raises:
        ValueError: if ``items`` is empty or ``length`` is not positive.
    """
    if not items:
        raise ValueError("items must not be empty: there is nothing to repeat")
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    return list(islice(cycle(items), length))
