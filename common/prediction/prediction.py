"""What a student makes of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.prediction import doubt as doubts


@dataclass(frozen=True)
class Prediction:
    """The mask of a picture, or of one slice of a volume, and how much it should be doubted.

    Args:
        ids: class ids, uint8: ``(H, W)`` of a picture, ``(W, H)`` of a slice.
        confidence: of the student in the mask, from 0 to 1.
        distance: of the image from those of the training; None where it is not known.
        probabilities: float16, the classes before the axes of ``ids``; None where they were not asked for.
    """

    ids: np.ndarray
    confidence: float
    distance: float | None
    probabilities: np.ndarray | None = None

    @property
    def doubt(self) -> float:
        """How much the mask should be doubted, from 0 to 1."""
        return doubts.doubt(self.confidence, self.distance)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits ``(K, ...)``, float32."""
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


def class_ids(logits: np.ndarray) -> np.ndarray:
    """Return where logits ``(K, ...)`` are largest, uint8; the first of several that are alike."""
    best, ids = logits[0].copy(), np.zeros(logits.shape[1:], np.uint8)
    for number, values in enumerate(logits[1:], start=1):
        larger = values > best
        ids[larger] = number
        np.maximum(best, values, out=best)
    return ids
