"""What a student is to those who use it, whatever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from common.prediction.recipe import Recipe
from common.students.references import Reference


class Student(ABC):
    """A network and what is known of it.

    Attributes:
        recipe: how images are prepared for it, and what its classes are called.
        reference: features of images that it was trained on; None where its weights have none.
    """

    recipe: Recipe
    reference: Reference | None

    @abstractmethod
    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what the network makes of images.

        Args:
            images: float32 ``(B, in_channels, W, H)`` in [0, 1], x first as MONAI's readers have it; a size that the
                network takes, ``recipe.size`` is one.

        Returns:
            float32 logits ``(B, classes, W, H)``, and float32 features ``(B, F)`` of each image, averaged over its
            places; None where the network has no layer to take them from.

        Raises:
            InputError: if the network does not take images of this size.
        """
