"""Two crops of each image, for contrastive learning."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Randomizable, Transform

from common.files.fingerprints import tensor_digest

CROP_KEYS = ("image", "second_crop")
IMAGE_ID_KEY = "image_id"


class TwoCropsd(Randomizable, Transform):
    """Makes two crops of an image, independent of each other: the random transform is applied twice.

    Under ``IMAGE_ID_KEY`` goes an integer of 64 bits that is equal for copies of one image: an image that comes several
    times in a batch must not be contrasted with itself.

    Args:
        transform: makes a crop of the data of an image, with whatever else changes its look.
        keys: where the first crop goes, and the image was, and where the second one goes.
    """

    def __init__(self, transform: Compose, keys: tuple[str, str] = CROP_KEYS) -> None:
        self.transform = transform
        self.keys = keys

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> TwoCropsd:
        """Seed the transform."""
        self.transform.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the two crops ``(C, H, W)`` and the image's number, and nothing else."""
        image_key = self.keys[0]
        digest = tensor_digest(torch.as_tensor(data[image_key]))
        crops: dict[Hashable, Any] = {key: self.transform(dict(data))[image_key] for key in self.keys}
        return {**crops, IMAGE_ID_KEY: int.from_bytes(digest[:8], "little", signed=True)}
