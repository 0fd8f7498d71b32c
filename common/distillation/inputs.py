"""What student and teacher are given before augmentation: drawn once, so that the teacher has to run once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from monai.data.utils import set_rnd
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor
from torch.utils.data import Dataset

from common.files.fingerprints import tensor_digest
from common.transforms.motion import track_moves


def draw_inputs(dataset: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Return the items of a dataset, with whatever is random about them drawn once.

    Args:
        dataset: any dataset of MONAI; where an item is a list of crops, each of them is an input.
        seed: the same seed draws the same inputs.
    """
    set_rnd(dataset, seed)
    items = (dataset[index] for index in range(len(dataset)))
    return [crop for item in items for crop in (item if isinstance(item, list) else [item])]


class TrackedInputs(Dataset):
    """Inputs whose images note how they are moved, see :func:`~common.transforms.motion.track_moves`.

    Args:
        inputs: dictionaries with an ``image`` ``(C, H, W)``.
    """

    def __init__(self, inputs: Sequence[dict[str, Any]]) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an input."""
        found = self.inputs[index]
        return {**found, Keys.IMAGE: track_moves(found[Keys.IMAGE])}


class DistinctImages(NamedTuple):
    """The images of some inputs, equal ones once.

    Attributes:
        images: each ``(C, H, W)``.
        rows: for each input, where its image is among them.
        fingerprint: a hash of the images in their order.
    """

    images: list[Tensor]
    rows: list[int]
    fingerprint: str


def find_distinct(inputs: Sequence[dict[str, Any]]) -> DistinctImages:
    """Return the distinct images of inputs."""
    images: list[Tensor] = []
    rows: list[int] = []
    places: dict[bytes, int] = {}
    for each in inputs:
        image = each[Keys.IMAGE].as_subclass(Tensor)
        digest = tensor_digest(image)
        if digest not in places:
            places[digest] = len(images)
            images.append(image)
        rows.append(places[digest])
    return DistinctImages(images, rows, hashlib.sha256(b"".join(places)).hexdigest())
