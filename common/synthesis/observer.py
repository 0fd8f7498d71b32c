"""What a teacher sees in images: features that tell images of one kind from others, and how sure it is of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from common.synthesis.confidence import measure_confidence
from common.synthesis.spectrum import power_by_octave
from common.teachers import build_teacher

logger = logging.getLogger(__name__)

_BATCH_SIZE = 8  # the teacher is far larger than the diffusion model
_LAYER = "encoder.neck"  # every family has it
_SIDE_FOR_THE_STAND_IN = 128  # pixels


class Observation(NamedTuple):
    """What can be seen in N images.

    Attributes:
        features: ``(N, D)``, on the CPU: mean and standard deviation of each channel of the last layer of a teacher's
            encoder, which knows what is in an image and little of its grain.
        spectra: ``(N, E)``, on the CPU: the power of each octave of spatial frequency, which knows its grain.
        confidences: how sure it is of each image, see :func:`~common.synthesis.confidence.measure_confidence`; None
            without a teacher.
        foregrounds: share of the pixels of each image that it takes for structures; None without a teacher.
    """

    features: Tensor
    spectra: Tensor
    confidences: list[float] | None
    foregrounds: list[float] | None


class Observer:
    """Looks at images with a teacher, or with the stand-in where there is none.

    Args:
        teacher: the fine-tuned teacher; None for the stand-in, which knows shapes, and whose opinion on the structures
            does not count.
        transform: applied to each image ``(C, W, H)`` before the teacher gets it; None for nothing.
        device: where to compute.
    """

    def __init__(
        self,
        teacher: nn.Module | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.has_opinion = teacher is not None
        if not self.has_opinion:
            logger.info("no teacher is given: how real samples are is judged by the features of the stand-in")
        self.teacher = (build_teacher("embedded", 2) if teacher is None else teacher).to(device)
        self.transform = transform if self.has_opinion else _resize_for_the_stand_in
        self.device = device

    @torch.no_grad()
    def observe(self, images: Tensor) -> Observation:
        """Look at images ``(N, C, W, H)`` in [0, 1], at least one, and leave the teacher's mode."""
        seen: list[Tensor] = []
        layer = self.teacher.get_submodule(_LAYER)
        handle = layer.register_forward_hook(lambda module, given, output: seen.append(self._describe(output)))
        confidences, foregrounds = [], []
        try:
            with eval_mode(self.teacher):
                for batch in images.split(_BATCH_SIZE):
                    if self.transform is not None:
                        batch = torch.stack([torch.as_tensor(self.transform(image)) for image in batch])
                    confidence, foreground = measure_confidence(self.teacher(batch.to(self.device)))
                    confidences += confidence.tolist()
                    foregrounds += foreground.tolist()
        finally:
            handle.remove()
        opinion = (confidences, foregrounds) if self.has_opinion else (None, None)
        return Observation(torch.cat(seen), power_by_octave(images).cpu(), *opinion)

    def _describe(self, output: Tensor) -> Tensor:
        """Return mean and standard deviation of each channel over all places, ``(B, 2 C)``."""
        layout = getattr(self.teacher, "feature_layers", {}).get(_LAYER)
        if layout is None or layout.kind == "channels_first":
            places = output.flatten(2).transpose(1, 2)
        else:
            places = output.flatten(1, -2)[:, layout.prefix_tokens :]
        places = places.float()
        return torch.cat([places.mean(1), places.std(1, correction=0)], dim=1).cpu()


def _resize_for_the_stand_in(image: Tensor) -> Tensor:
    size = (_SIDE_FOR_THE_STAND_IN, _SIDE_FOR_THE_STAND_IN)
    return F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
