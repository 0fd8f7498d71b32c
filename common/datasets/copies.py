"""Images that are in a dataset more than once, whatever their names."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

_MAX_NAMED = 3


def digest_of(pixels: np.ndarray) -> str | None:
    """Return what only equal pixels share; None where all are of one value, as in slices outside of the body."""
    if (pixels == pixels.flat[0]).all():
        return None
    digest = hashlib.blake2b(f"{pixels.shape} {pixels.dtype.str}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def groups_of_copies(digests: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names of the images that share a digest with another, by digest."""
    groups: dict[str, list[str]] = {}
    for name, digest in digests.items():
        groups.setdefault(digest, []).append(name)
    return {digest: names for digest, names in groups.items() if len(names) > 1}


def describe_copies(
    digests: Mapping[str, str], splits: Mapping[str, Sequence[str]], disputed: Collection[str] = ()
) -> list[str]:
    """Return a line each for images that are in several splits, in one split twice, and with different labels.

    Args:
        digests: of every image by name.
        splits: the names in each split, training first.
        disputed: digests of images that have more than one label.
    """
    split_of = {name: split for split, names in splits.items() for name in names}
    groups = groups_of_copies({name: digests[name] for name in split_of if name in digests})
    across = {digest: names for digest, names in groups.items() if len({split_of[name] for name in names}) > 1}
    within = {digest: names for digest, names in groups.items() if digest not in across}
    remarks = []
    if across:
        copied = [split_of[name] for names in across.values() for name in names]
        shares = [f"{copied.count(split)} of {len(names)} in {split}" for split, names in splits.items() if names]
        remarks.append(
            f"the same images are in several splits, {', '.join(shares)} ({_show(across, split_of)}): results on them "
            "count for nothing, and synthetic copies of them are not found; keep one of each"
        )
    if within:
        remarks.append(f"{_number(within)} within a split ({_show(within, split_of)}); keep one of each")
    if both := {digest: names for digest, names in groups.items() if digest in disputed}:
        remarks.append(f"{_number(both)} with different labels ({_show(both, split_of)}); keep the right one")
    return remarks


def _number(groups: Mapping[str, Sequence[str]]) -> str:
    return f"{len(groups)} image{' is' if len(groups) == 1 else 's are'} there more than once"


def _show(groups: Mapping[str, Sequence[str]], split_of: Mapping[str, str]) -> str:
    shown = []
    for names in list(groups.values())[:_MAX_NAMED]:
        few = [f"{name} ({split_of[name]})" for name in names[:_MAX_NAMED]]
        shown.append(" = ".join([*few, "..."] if len(names) > _MAX_NAMED else few))
    return ", ".join([*shown, f"and {len(groups) - _MAX_NAMED} more"] if len(groups) > _MAX_NAMED else shown)
