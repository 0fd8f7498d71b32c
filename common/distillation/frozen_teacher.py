"""The teacher as distillation sees it: images in, logits and features out, and nothing about it changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from common.distillation.feature_hooks import FeatureHooks
from common.distillation.orientations import ORIENTATIONS, Orientation, check_orientations


class FrozenTeacher:
    """Gives a teacher's logits and features, averaged over flips and turns of the images.

    A teacher that was fine-tuned with few labels segments an image and its mirror image differently; the mean of both
    is nearer to the truth.

    Args:
        hooks: on the layers of the teacher that the student is compared with. The teacher, any network with the
            student's input, is frozen and put into eval mode here; it moves to ``device`` when it is first used.
        orientations: of each image, over which the outputs are averaged: 1, 2 or 8, see
            :data:`~common.distillation.orientations.ORIENTATIONS`.
        device: where it runs.
        amp: whether it runs under autocast.
        amp_kwargs: what ``torch.autocast`` takes.
        memory_format: of the images and the weights.

    Raises:
        InputError: if ``orientations`` is another number.
    """

    def __init__(
        self,
        hooks: FeatureHooks,
        *,
        orientations: int = 1,
        device: torch.device | str = "cpu",
        amp: bool = False,
        amp_kwargs: Mapping[str, Any] | None = None,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> None:
        check_orientations(orientations)
        self.hooks = hooks
        self.network: nn.Module = hooks.network.eval().requires_grad_(False)
        self.network.to(memory_format=memory_format)  # type: ignore[call-overload]  # PyTorch's hints lack it
        self.orientations = orientations
        self.device = torch.device(device)
        self.amp = amp
        self.amp_kwargs = dict(amp_kwargs or {})
        self.memory_format = memory_format

    @property
    def precision(self) -> str:
        """In what it computes, such as ``float32`` or ``torch.bfloat16``."""
        return str(self.amp_kwargs.get("dtype", "autocast")) if self.amp else "float32"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits ``(B, classes, H, W)``, and features by layer as grids ``(B, C, h, w)``.

        Args:
            images: ``(B, C, H, W)`` in [0, 1], on any device.
        """
        self.network.to(self.device)
        images = images.to(self.device)
        with torch.autocast(self.device.type, enabled=self.amp, **self.amp_kwargs):
            runs = [self._run(images, orientation) for orientation in ORIENTATIONS[self.orientations]]
        logits = torch.stack([each[0] for each in runs]).mean(0)
        return logits, {layer: torch.stack([each[1][layer] for each in runs]).mean(0) for layer in self.hooks.layers}

    def _run(self, images: Tensor, orientation: Orientation) -> tuple[Tensor, dict[str, Tensor]]:
        shown = orientation.apply(images).to(memory_format=self.memory_format)
        logits = orientation.undo(self.network(shown))
        grids = self.hooks.pop(tuple(shown.shape[2:]))
        return logits, {layer: orientation.undo(grid) for layer, grid in grids.items()}

    @contextmanager
    def borrowed(self) -> Iterator[FrozenTeacher]:
        """Let the teacher run for a while, after which it goes back to the device that it was on."""
        home = next(self.network.parameters()).device
        try:
            yield self
        finally:
            self.network.to(home)
