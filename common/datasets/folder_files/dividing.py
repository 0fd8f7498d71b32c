"""Splits of a folder dataset: those that it states, and what the seed draws of the others, patient by patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from common.datasets.findings import count, name_some
from common.datasets.folder_files.items import Item
from common.datasets.issues import DatasetIssues
from common.datasets.splits import SPLITS, cut_splits, stratified_order


def divide(
    groups: Mapping[str, list[Item]], seed: int, num_test: int, num_validation: int, issues: DatasetIssues, units: str
) -> dict[str, list[str]]:
    """Return the groups (patients, volumes, images) in every split; all are empty where there is too little to split.

    A split that the items state is as they state it. Another one is drawn from those of training, or from all where
    none states a split: by the seed, with about the same share of every stratum.

    Args:
        groups: the items of each group, which stay together.
        seed: draws.
        num_test: number of images, or volumes, for a test split that is drawn.
        num_validation: number of them for a validation split that is drawn; more where a group has several.
        issues: gets groups that are in several splits, and what keeps them from being split.
        units: what groups are called, in the plural.
    """
    stated = {group: {item.split for item in items} - {None} for group, items in groups.items()}
    torn = [group for group, splits in stated.items() if len(splits) > 1]
    if torn:
        several = ", ".join(split for split in SPLITS if split in stated[torn[0]])
        issues.add(
            f"source::split: {count(torn, units[:-1])} in several splits ({name_some(torn)}; {torn[0]} is in {several})"
            ": results on them would count for nothing; keep each in one"
        )
        return {split: [] for split in SPLITS}
    fixed = {split: [group for group, splits in stated.items() if split in splits] for split in SPLITS}
    free = [group for group, splits in stated.items() if not splits or "training" in splits]
    order = stratified_order({group: _stratum_of(groups[group]) for group in free}, seed)
    num_test = 0 if fixed["test"] else num_test
    num_validation = 0 if fixed["validation"] else num_validation
    drawn = cut_splits([[group] * len(groups[group]) for group in order], num_test, num_validation, issues, units)
    if not drawn["training"]:
        return drawn
    return {split: list(dict.fromkeys(drawn[split])) or sorted(fixed[split]) for split in SPLITS}


def _stratum_of(items: list[Item]) -> str:
    """Return the stratum that most images of a group have."""
    return Counter(item.stratum or "" for item in items).most_common(1)[0][0]
