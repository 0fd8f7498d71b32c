"""How well two annotators of KidneyUS agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.datasets.readers.kidneyus import TASKS, join_masks, task_of
from common.errors import InputError


def inter_annotator_dice(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how well the two annotators agree: the Dice coefficient by class, as a mean over images.

    No model can be expected to agree with one of them any better. Images where neither has drawn a class do not count
    for it, images where only one has count 0; a class that is in no image is NaN. MONAI's ``DiceMetric`` leaves out
    what is missing in one of them alone, which would make it matter who is taken for the reference.

    Args:
        entries: of :class:`KidneyUSDataset` for annotator "intersection".

    Raises:
        InputError: if a file cannot be read, the polygons of an image are faulty, or two labels differ in size.
        ValueError: if an entry has not the labels of two annotators.
    """
    scores: dict[str, list[float]] = {}
    for entry in entries:
        if len(entry["label"]) != 2:
            raise ValueError("entries must have the labels of two annotators: take those of annotator 'intersection'")
        first, second = (join_masks(files) for files in entry["label"])
        if first.shape != second.shape:
            sizes = " and ".join("{1} x {0}".format(*each.shape) for each in (first, second))
            where = next(iter(entry["label"][0].values()))
            raise InputError(f"{where}: the labels of the two annotators are {sizes} pixels; expected one size")
        for value, name in TASKS[task_of(entry["label"][0])].items():
            drawn = (first == value).sum() + (second == value).sum()
            if value > 0:
                both = ((first == value) & (second == value)).sum()
                scores.setdefault(name, []).extend([2 * both / drawn] if drawn else [])
    return {name: float(np.mean(values)) if values else float("nan") for name, values in scores.items()}
