"""Segment one picture, of any size, in bounded memory."""

from __future__ import annotations

import numpy as np
from PIL import Image

from common.datasets.readers.pictures import to_grey, to_rgb
from common.errors import InputError
from common.prediction.base import Student
from common.prediction.doubt import confidence, distance
from common.prediction.intensity import scale
from common.prediction.prediction import Prediction, class_ids, softmax
from common.prediction.recipe import Recipe
from common.prediction.resizing import bands, enlarge, shrink
from common.prediction.windows import slide

_CONVERTERS = {1: to_grey, 3: to_rgb}
_MOST_JUDGED = 2**22  # pixels whose probabilities are looked at to say how sure a student is


class PictureSegmenter:
    """Segments pictures as a student's bundle does: resized whole, or crop by crop as they are.

    Args:
        student: of pictures.
        overlap: of neighbouring crops, as a share of their size, from 0 to below 1.
        keep_probabilities: whether predictions have them.

    Raises:
        InputError: if the student does not see pictures that are grey or have three colours, of fixed intensities.
    """

    def __init__(self, student: Student, overlap: float = 0.5, keep_probabilities: bool = False) -> None:
        recipe = student.recipe
        if recipe.in_channels not in _CONVERTERS:
            raise InputError(f"the student sees images of {recipe.in_channels} channels; pictures have 1 or 3")
        if "percentiles" in recipe.intensity:
            raise InputError(
                "the student sees pictures by percentiles of their values, which is not known for pictures"
            )
        self.student = student
        self.overlap = overlap
        self.keep_probabilities = keep_probabilities

    def __call__(self, image: Image.Image) -> Prediction:
        """Return the mask of a picture, in its size."""
        return self._whole(image) if self.student.recipe.sees == "images" else self._crop_by_crop(image)

    def _whole(self, image: Image.Image) -> Prediction:
        recipe, (width, height) = self.student.recipe, image.size
        seen = shrink(
            lambda start, end: read_part(image, recipe, 0, start, width, end),
            width,
            height,
            recipe.size,
            recipe.in_channels,
        )
        logits, features = self.student.run(seen[None])
        ids, probabilities = np.empty((height, width), np.uint8), self._no_probabilities(width, height)
        for start, end in bands(width, height, len(recipe.classes)):
            part = enlarge(logits[0], width, height, start, end)
            ids[start:end] = class_ids(part).T
            if probabilities is not None:
                probabilities[:, start:end] = softmax(part).transpose(0, 2, 1)
        sure = confidence(softmax(logits[0]))
        far = distance(None if features is None else features[0], self.student.reference)
        return Prediction(ids, sure, far, probabilities)

    def _crop_by_crop(self, image: Image.Image) -> Prediction:
        recipe, (width, height) = self.student.recipe, image.size
        seen: list[np.ndarray] = []

        def run(windows: np.ndarray) -> np.ndarray:
            logits, features = self.student.run(windows)
            if features is not None:
                seen.append(features)
            return logits

        def read(left: int, top: int, right: int, bottom: int) -> np.ndarray:
            return read_part(image, recipe, left, top, right, bottom)

        ids, probabilities = np.empty((height, width), np.uint8), self._no_probabilities(width, height)
        step = max(1, int(np.ceil(np.sqrt(width * height / _MOST_JUDGED))))
        judged = []
        for first, logits in slide(read, run, width, height, recipe.size, self.overlap):
            columns = slice(first, first + logits.shape[1])
            ids[:, columns] = class_ids(logits).T
            judged.append(softmax(logits[:, -first % step :: step, ::step]))
            if probabilities is not None:
                probabilities[:, :, columns] = softmax(logits).transpose(0, 2, 1)
        features = np.concatenate(seen).mean(0) if seen else None
        sure = confidence(np.concatenate(judged, axis=1))
        return Prediction(ids, sure, distance(features, self.student.reference), probabilities)

    def _no_probabilities(self, width: int, height: int) -> np.ndarray | None:
        shape = (len(self.student.recipe.classes), height, width)
        return np.empty(shape, np.float16) if self.keep_probabilities else None


def read_part(image: Image.Image, recipe: Recipe, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Return a part of a picture as a student sees it, float32 ``(C, W, H)`` in [0, 1]."""
    part = np.asarray(_CONVERTERS[recipe.in_channels](image.crop((left, top, right, bottom))))
    return scale(part.reshape(*part.shape[:2], recipe.in_channels).transpose(2, 1, 0), recipe.intensity)
