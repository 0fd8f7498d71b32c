"""The reference of a student: features of some images of its training, as the student that ships sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor, nn

from common.files.atomic import is_writer
from common.files.weights import unwrap
from common.students.features import WithFeatures, find_layer
from common.students.references import Reference

_MAX_IMAGES, _MAX_TILES = 64, 64


def with_reference(
    provenance: Mapping[str, Any],
    network: nn.Module,
    entries: Sequence[Mapping[str, Any]],
    transforms: Sequence[Callable[[Any], Any]],
    size: int,
    in_channels: int,
) -> dict[str, Any]:
    """Return the provenance of a student with its reference, on the first rank only, which alone writes it.

    Weights and all that is known of them are written at once: a stage is done when its weights are there.

    Args:
        provenance: what else is known.
        network, entries, size, in_channels: see :func:`reference_of`.
        transforms: what prepares an entry without chance.

    Raises:
        InputError: if an image cannot be read any more.
    """
    if not is_writer():
        return dict(provenance)
    return {**provenance, "reference": reference_of(network, entries, Compose(list(transforms)), size, in_channels)}


@torch.no_grad()
def reference_of(
    network: nn.Module,
    entries: Sequence[Mapping[str, Any]],
    transform: Callable[[Any], Any],
    size: int,
    in_channels: int,
) -> dict[str, Any] | None:
    """Return features of at most 64 images of a training, as a provenance has them.

    Args:
        network: the student, trained; in ``DistributedDataParallel`` or not.
        entries: what it was trained on, repeated or not.
        transform: what prepares an entry's ``image`` ``(C, W, H)`` without chance.
        size: width and height of what it sees; of a larger image the tiles are averaged.
        in_channels: channels of an image.

    Returns:
        What :meth:`Reference.to_json` returns; None where the network has no layer to take features from, or where
        there are too few images.
    """
    network = unwrap(network)
    images = list({repr(entry["image"]): entry for entry in entries}.values())
    chosen = [images[int(i)] for i in np.linspace(0, len(images) - 1, min(_MAX_IMAGES, len(images)))]
    pictures = (torch.as_tensor(transform(entry)["image"]).as_subclass(Tensor).float() for entry in chosen)
    layer = find_layer(network, in_channels, size)
    if layer is None:
        return None
    was_training = network.training
    with_features = WithFeatures(network, layer).eval()
    try:
        features = [_features(with_features, image, size) for image in pictures]
    finally:
        network.train(was_training)
    reference = Reference.of(np.stack(features)) if features else None
    return reference.to_json() if reference else None


def _features(with_features: WithFeatures, image: Tensor, size: int) -> np.ndarray:
    """Return the features ``(F,)`` of an image ``(C, W, H)``: the mean over its tiles."""
    device = next(with_features.parameters()).device
    found = [with_features(tile[None].to(device))[1][0] for tile in _tiles(image, size)]
    return torch.stack(found).mean(0).float().cpu().numpy()


def _tiles(image: Tensor, size: int) -> Iterator[Tensor]:
    """Yield the tiles of an image ``(C, W, H)`` that cover it evenly, or some of them where it has very many."""
    starts = [
        (x, y)
        for x in _starts(image.shape[1], size)
        for y in _starts(image.shape[2], size)
    ]  # fmt: skip
    for index in np.linspace(0, len(starts) - 1, min(_MAX_TILES, len(starts))):
        x, y = starts[int(index)]
        yield image[:, x : x + size, y : y + size]


def _starts(length: int, size: int) -> list[int]:
    count = max(1, -(-length // size))
    return [int(start) for start in np.linspace(0, max(0, length - size), count)]
