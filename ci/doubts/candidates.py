"""Ways to say how much a mask should be doubted: what ships, and what it was chosen from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from common.prediction import doubt as shipped
from common.students.references import Reference

# Doubts of one image from probabilities (K, W, H) of it, and of it seen in a mirror.
MASK: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "confidence": lambda seen, mirrored: 1 - shipped.confidence(seen),
    "expected Dice": lambda seen, mirrored: 1 - _expected_dice(seen),
    "mean probability of the mask": lambda seen, mirrored: 1 - _within(seen),
    "mean entropy": lambda seen, mirrored: _entropy(seen),
    "Dice with the mirrored image's mask": lambda seen, mirrored: 1 - _agreement(seen, mirrored),
}
# Distances of features (F,) from those of the training.
IMAGE: dict[str, Callable[[np.ndarray, Reference], float]] = {
    "distance": lambda features, reference: float(shipped.distance(features, reference) or 0),
    "nearest image, standardised": lambda features, reference: _standardised(features, reference.features),
    "mean of the 5 nearest, cosine": lambda features, reference: _cosine(features, reference.features),
    "Mahalanobis": lambda features, reference: _mahalanobis(features, reference.features),
}


def _expected_dice(probabilities: np.ndarray) -> float:
    """Return the mean Dice that the structures of the mask would have if the probabilities were right."""
    mask = probabilities.argmax(0)
    found = [(each, mask == k) for k, each in enumerate(probabilities[1:], start=1) if (mask == k).any()]
    scores = [2 * float(each[inside].sum() / (each.sum() + inside.sum())) for each, inside in found]
    return float(np.mean(scores)) if scores else float(1 - probabilities[1:].max())


def _within(probabilities: np.ndarray) -> float:
    mask = probabilities.argmax(0)
    inside = mask > 0
    return float(probabilities.max(0)[inside].mean()) if inside.any() else float(1 - probabilities[1:].max())


def _entropy(probabilities: np.ndarray) -> float:
    return float(-(probabilities * np.log(np.maximum(probabilities, 1e-7))).sum(0).mean())


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    first, second = one.argmax(0), other.argmax(0)
    both = sum(float(((first == k) & (second == k)).sum()) for k in range(1, len(one)))
    total = float((first > 0).sum() + (second > 0).sum())
    return 2 * both / total if total else 1.0


def _standardised(features: np.ndarray, known: np.ndarray) -> float:
    spread = known.std(0) + 1e-6
    return float(np.linalg.norm((known - features) / spread, axis=1).min())


def _cosine(features: np.ndarray, known: np.ndarray, nearest: int = 5) -> float:
    centre = known.mean(0)
    one, others = features - centre, known - centre
    similar = others @ one / (np.linalg.norm(others, axis=1) * np.linalg.norm(one) + 1e-9)
    return float(1 - np.sort(similar)[-nearest:].mean())


def _mahalanobis(features: np.ndarray, known: np.ndarray, shrinkage: float = 0.5) -> float:
    """With a covariance that is drawn towards a multiple of the unit matrix: there are more features than images."""
    centred = known - known.mean(0)
    covariance = centred.T @ centred / len(known)
    mean = np.trace(covariance) / len(covariance)
    covariance = (1 - shrinkage) * covariance + shrinkage * mean * np.eye(len(covariance))
    off = features - known.mean(0)
    return float(np.sqrt(off @ np.linalg.solve(covariance, off)))


def _far(features: np.ndarray, reference: Reference) -> float:
    """Return a doubt from 0 to 1 by the distance alone."""
    return 1 - 1 / max(1.0, float(shipped.distance(features, reference) or 0))


# Doubts of both.
COMBINED: dict[str, Callable[[np.ndarray, np.ndarray, Reference], float]] = {
    "the larger of both": lambda seen, features, reference: max(
        1 - shipped.confidence(seen), _far(features, reference)
    ),
    "the sum of both": lambda seen, features, reference: 1 - shipped.confidence(seen) + _far(features, reference),
    "doubt": lambda seen, features, reference: shipped.doubt(
        shipped.confidence(seen), shipped.distance(features, reference)
    ),
}
