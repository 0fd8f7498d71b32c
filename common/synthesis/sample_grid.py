"""Grids of samples while the diffusion model trains."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import SchedulerMixin
from diffusers.utils import make_image_grid
from ignite.engine import Engine, Events
from PIL import Image
from torch import Tensor, nn

from common.files.atomic import atomic_file, is_writer
from common.files.weights import unwrap
from common.pictures.sheets import draw_sheet, save_sheet
from common.synthesis.drawn_labels import mark_label, split_labels, to_label_picture
from common.synthesis.pictures import to_pictures
from common.synthesis.sampling import sample, solver_for
from common.synthesis.told_augmentation import drawing_unchanged


class SampleGridHandler:
    """Writes a grid of samples every few epochs, from the same noise each time so that progress can be seen.

    Neither the random state of the training nor the mode of the network changes; in a distributed run rank 0 writes.

    Args:
        network: a ``diffusers.UNet2DModel``, usually the exponential moving average of the one in training.
        noise_scheduler: the training's scheduler; sampling uses the solver that ``save_pipeline`` saves.
        output_dir: where ``samples_epoch_0010.png`` and its like go.
        interval: epochs from one grid to the next.
        num_samples: samples in a grid.
        num_inference_steps: denoising steps.
        seed: of the noise.
        image_channels: of the network, those of the image; labels, which follow them, are marked on a second grid.
            None for all.

    Raises:
        ValueError: if ``interval`` or ``num_samples`` is below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        noise_scheduler: SchedulerMixin,
        output_dir: str | os.PathLike,
        interval: int = 10,
        num_samples: int = 16,
        num_inference_steps: int = 20,
        seed: int = 0,
        image_channels: int | None = None,
    ) -> None:
        if interval < 1 or num_samples < 1:
            raise ValueError(f"interval and num_samples must be at least 1, got {interval} and {num_samples}")
        self.network = network
        self.noise_scheduler = noise_scheduler
        self.output_dir = Path(output_dir)
        self.interval = interval
        self.num_samples = num_samples
        self.num_inference_steps = num_inference_steps
        self.seed = seed
        self.image_channels = image_channels
        self.images: Tensor | None = None  # the latest, (N, C, W, H), where rank 0 is

    def attach(self, engine: Engine) -> None:
        """Register on a trainer, after any handler that updates the network when an epoch ends."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Engine) -> None:
        """Write the grid of this epoch."""
        if not is_writer():
            return
        unet = drawing_unchanged(unwrap(self.network))
        drawn = sample(
            unet,
            solver_for(self.noise_scheduler),
            self.num_samples,
            unet.config.sample_size,
            num_inference_steps=self.num_inference_steps,
            generator=torch.Generator().manual_seed(self.seed),
        )
        epoch = engine.state.epoch
        title = f"{self.num_samples} samples of the diffusion model after epoch {epoch}"
        images, labels = split_labels(drawn, self.image_channels or drawn.shape[1])
        self.images = images.cpu()
        pictures = to_pictures(images)
        grids, captions = [_make_grid(pictures)], ["from the same noise after every epoch"]
        if labels is not None:
            pictures = [picture.resize([2 * side for side in picture.size]) for picture in pictures]
            marked = [mark_label(*pair) for pair in zip(pictures, map(to_label_picture, labels), strict=True)]
            grids.append(_make_grid(marked).resize(grids[0].size))
            captions.append("their labels, drawn with them")
        sheet = draw_sheet(grids, captions, title)
        with atomic_file(self.output_dir / f"samples_epoch_{epoch:04d}.png") as fresh:
            save_sheet(sheet, fresh)


def _make_grid(pictures: Sequence[Image.Image]) -> Image.Image:
    """Lay pictures of one size out in rows, nearly as many as columns; places that are left over are black."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    blank = Image.new(pictures[0].mode, pictures[0].size)
    return make_image_grid([*pictures, *[blank] * (rows * columns - len(pictures))], rows, columns)
