"""Labels that are drawn together with their images, as further channels of the diffusion model.

A channel for each structure: 1 where it is, 0 elsewhere. The model learns what of an image is a structure, and its
samples bring labels of their own.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.networks import one_hot
from monai.transforms import MapTransform
from PIL import Image
from torch import Tensor

from common.pictures.marking import mark_borders
from common.pictures.palette import class_colours

_MAX_CLASSES = 256  # that a grey picture tells apart


class AppendLabeld(MapTransform):
    """Appends a label to its image as further channels: ``(C + classes - 1, ...)``, the label's in [0, 1].

    Args:
        keys: of the images ``(C, ...)``.
        num_classes: of the label, the background included.
        label_key: of the label, class ids ``(1, ...)`` of the image's size.
    """

    def __init__(self, keys: KeysCollection, num_classes: int, label_key: str = "label") -> None:
        super().__init__(keys)
        self.num_classes = num_classes
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with the label in the image, and no longer by itself."""
        joined = dict(data)
        ids = torch.as_tensor(joined.pop(self.label_key))
        structures = one_hot(ids, self.num_classes, dim=0)[1:]
        for key in self.key_iterator(joined):
            joined[key] = torch.cat([joined[key], structures.to(joined[key].dtype)])
        return joined


class Drawn(NamedTuple):
    """What a diffusion model drew.

    Attributes:
        images: ``(B, C, W, H)`` in [0, 1].
        labels: class ids ``(B, W, H)``, uint8; None where the model draws no labels.
    """

    images: Tensor
    labels: Tensor | None


def split_labels(drawn: Tensor, in_channels: int) -> Drawn:
    """Return what was drawn ``(B, C, W, H)`` as images of so many channels, and the labels that follow them.

    A pixel is of the structure whose channel is largest, and background where all are below a half.
    """
    images, structures = drawn[:, :in_channels], drawn[:, in_channels:]
    if not structures.shape[1]:
        return Drawn(images, None)
    largest, which = structures.max(1)
    return Drawn(images, torch.where(largest >= 0.5, which + 1, 0).to(torch.uint8))


def to_label_picture(label: Tensor) -> Image.Image:
    """Return class ids ``(W, H)`` as a grey picture that has them as its values."""
    return Image.fromarray(label.to(torch.uint8).T.cpu().numpy())


def mark_label(picture: Image.Image, label: Image.Image) -> Image.Image:
    """Return a picture with the borders of a label's structures on it; the label takes its size."""
    ids = np.asarray(label.resize(picture.size, Image.Resampling.NEAREST))
    return Image.fromarray(mark_borders(np.asarray(picture.convert("RGB")), ids, class_colours(_MAX_CLASSES)))
