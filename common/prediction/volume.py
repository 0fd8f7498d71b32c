"""Segment one volume, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import nibabel
import numpy as np

from common.datasets.readers.affines import turn_to_lps, turn_towards
from common.errors import InputError
from common.prediction.base import Student
from common.prediction.doubt import confidence, distance
from common.prediction.intensity import scale
from common.prediction.prediction import Prediction, class_ids, softmax
from common.prediction.resizing import enlarge, shrink

_BATCH = 4  # slices that a network gets at a time


@dataclass(frozen=True)
class VolumePrediction:
    """The mask of a volume, and how much each of its slices should be doubted.

    Args:
        slices: the masks ``(W, H)`` of the slices, from the feet to the head, as DICOM stores axial slices.
        affine: of the slices, from indices to millimetres in RAS.
        file_affine: of the volume as its file has it.
        values: the volume ``(W, H, D)``, its axes as those of the slices.
    """

    slices: list[Prediction]
    affine: np.ndarray
    file_affine: np.ndarray
    values: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """The mask ``(W, H, D)`` with the axes of the volume's file, uint8."""
        stacked = np.stack([each.ids for each in self.slices], axis=-1)
        return np.ascontiguousarray(turn_towards(stacked, self.affine, self.file_affine)[0])

    @property
    def probabilities(self) -> np.ndarray:
        """The probabilities ``(K, W, H, D)``, float16, with the axes of the volume's file, if they were asked for."""
        known = [each.probabilities for each in self.slices if each.probabilities is not None]
        stacked = np.stack(known, axis=-1)
        return np.stack([turn_towards(each, self.affine, self.file_affine)[0] for each in stacked])

    @property
    def file_indices(self) -> list[int]:
        """The index of each slice, from 0, along that axis of the file that runs most from the feet to the head."""
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(self.affine), nibabel.io_orientation(self.file_affine)
        )
        indices = list(range(len(self.slices)))
        return indices[::-1] if turn[2, 1] < 0 else indices

    @property
    def pixel_area(self) -> float:
        """Square millimetres of a pixel of a slice."""
        return float(np.linalg.norm(np.cross(self.affine[:3, 0], self.affine[:3, 1])))

    @property
    def voxel_volume(self) -> float:
        """Cubic millimetres of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def judged(self) -> list[Prediction]:
        """The slices that say how much the volume should be doubted: those with a structure, or else all."""
        return [each for each in self.slices if each.ids.any()] or self.slices


class VolumeSegmenter:
    """Segments volumes as a student's bundle does: axial slices resized whole.

    Args:
        student: of slices.
        keep_probabilities: whether predictions have them.

    Raises:
        InputError: if the student does not see slices of one channel.
    """

    def __init__(self, student: Student, keep_probabilities: bool = False) -> None:
        if student.recipe.in_channels != 1:
            raise InputError(f"the student sees images of {student.recipe.in_channels} channels; slices have 1")
        self.student = student
        self.keep_probabilities = keep_probabilities

    def __call__(self, values: np.ndarray, affine: np.ndarray) -> VolumePrediction:
        """Return the mask of a volume.

        Args:
            values: ``(W, H, D)``.
            affine: from its indices to millimetres in RAS.
        """
        turned, turned_affine = turn_to_lps(values, affine)
        slices = []
        for start in range(0, turned.shape[2], _BATCH):
            slices += self._segment(turned[..., start : start + _BATCH])
        return VolumePrediction(slices, turned_affine, affine, turned)

    def _segment(self, values: np.ndarray) -> list[Prediction]:
        """Return the masks of a few slices ``(W, H, n)``."""
        width, height, number = values.shape
        recipe = self.student.recipe
        scaled = [scale(values[..., index], recipe.intensity) for index in range(number)]
        seen = [shrink(partial(_rows, part), width, height, recipe.size, 1) for part in scaled]
        logits, features = self.student.run(np.stack(seen))
        found = []
        for index in range(number):
            large = enlarge(logits[index], width, height, 0, height)
            far = distance(None if features is None else features[index], self.student.reference)
            kept = softmax(large).astype(np.float16) if self.keep_probabilities else None
            found.append(Prediction(class_ids(large), confidence(softmax(logits[index])), far, kept))
        return found


def _rows(values: np.ndarray, start: int, end: int) -> np.ndarray:
    """Return rows of a slice ``(W, H)`` in one channel."""
    return values[None, :, start:end]
