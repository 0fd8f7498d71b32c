"""Splits that are fixed by seed and made on groups (patients, exams)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import TypeVar

from common.datasets.issues import DatasetIssues
from common.errors import InputError

T = TypeVar("T")

SPLITS = ("training", "validation", "test")


def check_split(split: str) -> None:
    """Refuse a split that no dataset has.

    Raises:
        ValueError: if ``split`` is none of ``SPLITS``.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")


def seeded_order(groups: Sequence[str], seed: int) -> list[str]:
    """Return the distinct groups in an order that depends on their names and ``seed`` alone.

    The order comes from a hash, not from a random generator: it is the same on every machine and in every version of
    numpy, and a group that is added or removed does not reshuffle the others.
    """
    return sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())


def split_groups(groups: Sequence[str], sizes: Sequence[int], seed: int) -> list[list[str]]:
    """Divide groups (images, patients, exams) into disjoint parts.

    Args:
        groups: one name per group, in any order; repeated names count once.
        sizes: the number of groups in each part but the last, which gets the rest.
        seed: the same seed divides the same groups the same way.

    Returns:
        ``len(sizes) + 1`` parts, each in seeded order: the first N of a part are among its first N + 1.

    Raises:
        InputError: if a part, the last one included, would get no group.
    """
    ordered = seeded_order(groups, seed)
    if min(sizes, default=1) < 1:
        raise InputError(f"every part needs at least one group, got sizes {list(sizes)}")
    if sum(sizes) >= len(ordered):
        needed, found = sum(sizes) + 1, len(ordered)
        raise InputError(f"parts of {list(sizes)} and a rest need at least {needed} groups, found {found}")
    remaining = iter(ordered)
    return [list(islice(remaining, size)) for size in sizes] + [list(remaining)]


def stratified_order(strata: Mapping[str, str], seed: int) -> list[str]:
    """Return names in a seeded order in which every stretch holds each stratum in about its share of the whole.

    Cut anywhere, such an order gives stratified parts, and a small label budget is stratified as well.

    Args:
        strata: the stratum (diagnosis, say) of each name.
        seed: as for :func:`seeded_order`.
    """
    position: dict[str, float] = {}
    for stratum in set(strata.values()):
        members = seeded_order([name for name in strata if strata[name] == stratum], seed)
        position |= {name: (place + 0.5) / len(members) for place, name in enumerate(members)}
    return sorted(seeded_order(list(strata), seed), key=position.__getitem__)


def cut_splits(
    groups: Sequence[Sequence[str]],
    num_test: int,
    num_validation: int,
    issues: DatasetIssues,
    unit: str = "images",
) -> dict[str, list[str]]:
    """Cut groups of images, which must stay whole, into the test, validation and training splits, in this order.

    Args:
        groups: the images of each patient or exam, in the order in which they are dealt out.
        num_test: number of test images; whole groups are taken until there are at least so many.
        num_validation: number of validation images, likewise.
        issues: gets what is wrong with the numbers; the splits are empty where there is too little to cut.
        unit: what a group is called, in the plural.

    Returns:
        The images of each split: test and validation sorted, training in the order of the groups.
    """
    remaining = list(groups)
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for split, size in (("test", num_test), ("validation", num_validation)):
        while remaining and len(splits[split]) < size:
            splits[split] += remaining.pop(0)
        splits[split].sort()
    splits["training"] = [name for group in remaining for name in group]
    if len(splits["test"]) >= num_test and len(splits["validation"]) >= num_validation and splits["training"]:
        return splits
    count = sum(len(group) for group in groups)
    alone = unit == "images" or count == len(groups)
    found = f"{count} {unit}" if alone else f"{count} images of {len(groups)} {unit}, which stay whole"
    shares = [f"{num_test} for the test"] * (num_test > 0)
    shares += [f"{num_validation} for validation"] * (num_validation > 0)
    advice = "set num_validation lower or add images" if num_validation > 0 else "add images"
    issues.add(f"too few complete images: {', '.join([*shares, '1 for training'])} needed, found {found}; {advice}")
    return {split: [] for split in SPLITS}


def spread_slices(slices: Mapping[str, list[str]]) -> list[str]:
    """Return all slices in the order in which a label budget takes them: one of each patient in turn.

    A patient's slices follow each other in bit-reversed order (the middle, the quarters, the eighths), from a start
    that differs between patients by the golden ratio: any number of them is spread over the volumes.

    Args:
        slices: of each patient, in the order of their names.
    """
    turns = []
    for place, names in enumerate(slices.values()):
        start = int((0.5 + 0.618034 * place) % 1 * len(names))
        order = sorted(range(len(names)), key=lambda index: f"{index:032b}"[::-1])
        for turn, index in enumerate(order):
            turns.append((turn, place, names[(start + index) % len(names)]))
    return [name for _, _, name in sorted(turns)]


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


def repeat_unlabelled(entries: Sequence[T], length: int | None) -> list[T]:
    """Return images without labels, as many as an epoch takes: repeated, or the first of them; all once for None.

    Args:
        entries: a MONAI datalist.
        length: ``unlabelled_length`` of the config.

    Raises:
        InputError: if there are none to repeat.
    """
    if length is None:
        return list(entries)
    if not entries:
        raise InputError(
            f"unlabelled_length {length}: there are no images without labels; give unlabelled_dir or beyond_budget, or "
            "leave it null"
        )
    return repeat(entries, length)
