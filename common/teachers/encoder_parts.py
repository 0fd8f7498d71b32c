"""An encoder as parts that run one after the other, of which the first ones may stay as they are."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

_ROOM = 2 * 2**30  # bytes: thousands of images of 128 pixels in LiteMedSAM


@dataclass(frozen=True)
class EncoderPart:
    """One of the parts of an encoder.

    Args:
        modules: names of the modules that it consists of, in the encoder.
        run: turns the features ``(B, ...)`` of the part before, or normalised pixels ``(B, 3, H, W)``, into its own.
    """

    modules: tuple[str, ...]
    run: Callable[[Tensor], Tensor]


def run_parts(parts: Iterable[EncoderPart], features: Tensor) -> Tensor:
    """Return what parts make of features, one after the other."""
    for part in parts:
        features = part.run(features)
    return features


def is_within(layer: str, parts: Sequence[EncoderPart]) -> bool:
    """Say whether a layer of an encoder, by its name in it, belongs to one of its parts."""
    names = [name for part in parts for name in part.modules]
    return any(layer == name or layer.startswith(f"{name}.") for name in names)


@dataclass
class PartMemory:
    """What parts that never change make of each image, computed when the image is first seen.

    Each image is computed alone, so that its features do not depend on which others came with it, and a resumed
    training has those of an uninterrupted one.

    Args:
        room: bytes to keep at most; images that come when they are used up are computed each time.
    """

    room: int = _ROOM
    kept: dict[bytes, Tensor] = field(default_factory=dict)
    is_full: bool = False

    @torch.no_grad()
    def run(self, parts: Sequence[EncoderPart], pixels: Tensor) -> Tensor:
        """Return the features of parts for pixels ``(B, 3, H, W)``; no gradient passes."""
        return torch.cat([self._features_of(parts, image) for image in pixels.split(1)])

    def _features_of(self, parts: Sequence[EncoderPart], image: Tensor) -> Tensor:
        key = _key(image)
        if key not in self.kept:
            features = run_parts(parts, image)
            if self.room < features.nbytes:
                if not self.is_full:
                    self.is_full = True
                    logger.warning(f"what frozen parts make of {len(self.kept)} images is kept; others take longer")
                return features
            self.room -= features.nbytes
            self.kept[key] = features
        return self.kept[key]


def _key(image: Tensor) -> bytes:
    content = image.detach().cpu().contiguous()
    precision = torch.get_autocast_dtype(image.device.type) if torch.is_autocast_enabled(image.device.type) else None
    return hashlib.blake2b(content.numpy().tobytes() + f"{tuple(image.shape)} {precision}".encode()).digest()
