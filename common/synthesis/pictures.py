"""Tensors as pictures, and grids of samples as the training goes on."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist
import torch
from diffusers import SchedulerMixin
from ignite.engine import Engine, Events
from PIL import Image
from torch import Tensor, nn

from common.files.atomic import replace_file
from common.synthesis.folder import _unwrap
from common.synthesis.sampling import _solver, sample


class SampleGridHandler:
    """Write a grid of samples every few epochs, from the same noise each time so that progress can be seen.

    Neither the random state of the training nor the mode of the network changes; in a distributed run rank 0 writes.

    Args:
        network: a ``diffusers.UNet2DModel``, usually the exponential moving average of the one in training.
        noise_scheduler: the training's scheduler; sampling uses the solver that :func:`save_pipeline` would save.
        folder: where ``samples_epoch_0010.png`` and its like go.
        interval: epochs from one grid to the next.
        count: samples in a grid.
        num_inference_steps: denoising steps.
        seed: of the noise.

    Raises:
        ValueError: if ``interval`` or ``count`` is below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        noise_scheduler: SchedulerMixin,
        folder: str | os.PathLike,
        interval: int = 10,
        count: int = 16,
        num_inference_steps: int = 25,
        seed: int = 0,
    ) -> None:
        if interval < 1 or count < 1:
            raise ValueError(f"interval and count must be at least 1, got {interval} and {count}")
        self.network = network
        self.noise_scheduler = noise_scheduler
        self.folder = Path(folder)
        self.interval = interval
        self.count = count
        self.num_inference_steps = num_inference_steps
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Register on a trainer, after any handler that updates the network when an epoch ends."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Engine) -> None:
        """Write the grid of this epoch."""
        if idist.get_rank() != 0:
            return
        unet = _unwrap(self.network)
        images = sample(
            unet,
            _solver(self.noise_scheduler),
            self.count,
            unet.config.sample_size,
            num_inference_steps=self.num_inference_steps,
            generator=torch.Generator().manual_seed(self.seed),
        )
        with replace_file(self.folder / f"samples_epoch_{engine.state.epoch:04d}.png") as path:
            _grid(to_pictures(images)).save(path, format="PNG")


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Turn ``(B, C, W, H)`` in [0, 1], the axis order of MONAI's readers, into grey (C = 1) or RGB (C = 3) pictures."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 3, 2, 1).cpu().numpy()
    return [Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture) for picture in pixels]


def _grid(pictures: Sequence[Image.Image]) -> Image.Image:
    """Lay pictures of one size out in rows, nearly as many as columns."""
    columns = math.ceil(math.sqrt(len(pictures)))
    width, height = pictures[0].size
    grid = Image.new(pictures[0].mode, (columns * width, math.ceil(len(pictures) / columns) * height))
    for index, picture in enumerate(pictures):
        grid.paste(picture, (index % columns * width, index // columns * height))
    return grid
