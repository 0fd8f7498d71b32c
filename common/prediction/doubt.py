"""How much a mask should be doubted, so that a person looks at the worst ones first.

Two things speak for a bad mask: the student is unsure of it, or the image is unlike those that it was trained on. How
well that finds bad masks, and what else was tried, is in docs/predict.md; ci/doubt.py measures it.
"""

from __future__ import annotations

import numpy as np

from common.students.references import Reference

_POSSIBLE, _CERTAIN = 1 / 3, 2 / 3
_NEGLIGIBLE = 0.001  # of the pixels
_STEEPNESS = 4


def confidence(probabilities: np.ndarray) -> float:
    """Return how sure a student is of a mask: the Dice of what it is certain of with all that it thinks possible.

    A mask that stays the same, whether a pixel needs a third or two thirds of the probability to belong to a structure,
    has 1. A tenth of a percent of the pixels is added to all sizes, so that a few of them do not matter.

    Args:
        probabilities: ``(K, W, H)`` in [0, 1], of each class, background first.

    Returns:
        A number from 0 to 1: the mean over the structures of which something is possible; 1 where nothing is.
    """
    slack = _NEGLIGIBLE * probabilities[0].size
    sizes = [(int((each > _POSSIBLE).sum()), int((each > _CERTAIN).sum())) for each in probabilities[1:]]
    scores = [(2 * certain + slack) / (possible + certain + slack) for possible, certain in sizes if possible]
    return float(np.mean(scores)) if scores else 1.0


def distance(features: np.ndarray | None, reference: Reference | None) -> float | None:
    """Return how far an image is from the nearest image that the student was trained on, in its features.

    Args:
        features: ``(F,)`` of the image.
        reference: of the student.

    Returns:
        A distance in multiples of the one that nine of ten images of the training do not exceed among themselves: an
        image beyond 1 is unlike them. None where there is no reference.
    """
    if reference is None or features is None:
        return None
    return float(np.linalg.norm(reference.features - features, axis=1).min() / reference.reach)


def doubt(confidence: float, distance: float | None) -> float:
    """Return how much a mask should be doubted, from 0 to 1: by its confidence, which counts less beyond distance 1.

    Args:
        confidence: of the mask, from 0 to 1.
        distance: of the image from those of the training; None where it is not known, and does not count.
    """
    nearness = 1.0 if distance is None else max(distance, 1.0) ** -_STEEPNESS
    return 1 - confidence * nearness
