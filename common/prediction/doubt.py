"""How much a mask should be doubted, so that a person looks at the worst ones first.

Two things speak for a bad mask: the student is unsure of it, or the image is unlike those that it was trained on.
"""

from __future__ import annotations

import numpy as np

from common.students.references import Reference


def confidence(probabilities: np.ndarray) -> float:
    """Return how sure a student is of a mask: the Dice that it would have if the probabilities were right.

    Args:
        probabilities: ``(K, W, H)`` in [0, 1], of each class, background first; the mask is where each is the largest.

    Returns:
        A number from 0 to 1: the mean over the structures that the mask has. Where it has none, the share of the
        background at the place where a structure is the most probable.
    """
    mask = probabilities.argmax(0)
    found = [index for index in range(1, len(probabilities)) if (mask == index).any()]
    if not found:
        return float(1 - probabilities[1:].max())
    scores = [
        2 * float(probabilities[i][mask == i].sum()) / float(probabilities[i].sum() + (mask == i).sum()) for i in found
    ]
    return float(np.mean(scores))


def distance(features: np.ndarray | None, reference: Reference | None) -> float | None:
    """Return how far an image is from the nearest image that the student was trained on, in its features.

    Args:
        features: ``(F,)`` of the image.
        reference: of the student.

    Returns:
        A distance in multiples of what is typical among images of the training: about 1 for an image like them; None
        where there is no reference.
    """
    if reference is None or features is None:
        return None
    return float(np.linalg.norm(reference.features - features, axis=1).min() / reference.typical)


def doubt(confidence: float, distance: float | None) -> float:
    """Return how much a mask should be doubted, from 0 to 1; from the confidence alone where no distance is known."""
    if distance is None:
        return 1 - confidence
    return 1 - confidence * min(1.0, 1 / max(distance, 1e-9))
