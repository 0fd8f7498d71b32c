"""MoCo v3 of the student (Chen et al., 2021, arXiv 2104.02057): networks, loss, and what a trainer makes of a batch."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import ignite.distributed as idist
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from torch import Tensor, nn

from common.errors import InputError
from common.students.pretrainable import encoder_of, fix_positions
from common.students.vit import normalise
from common.transforms.crops import CROP_KEYS, IMAGE_ID_KEY


class MomentumEncoder(EMAHandler):
    """Keeps the momentum encoder of MoCo v3, a moving average of an encoder (Chen et al., 2021, arXiv 2104.02057).

    Its momentum grows from its first value to 1 along half a cosine. Its batch norms go by the batch, in training mode.

    Args:
        encoder: what is averaged; ``ema_model`` is the average.
        momentum: the first value, what the average keeps of itself in a step.
    """

    def __init__(self, encoder: nn.Module, momentum: float = 0.99) -> None:
        # Ignite's momentum is the share of the new weights.
        super().__init__(encoder, momentum=1 - momentum, handle_buffers="ema_train")

    def attach(self, engine: Engine, *args: Any, **kwargs: Any) -> None:
        """
        Args:
            engine: a trainer.
            args: of Ignite's handler.
            kwargs: of Ignite's handler.
        """
        super().attach(engine, *args, **kwargs)
        engine.add_event_handler(Events.ITERATION_STARTED, self._schedule)

    def _schedule(self, engine: Engine) -> None:
        state = engine.state
        progress = (state.iteration - 1) / (state.max_epochs * state.epoch_length)
        state.ema_momentum = self.momentum * (1 + math.cos(math.pi * progress)) / 2


class ContrastiveLoss(nn.Module):
    """The symmetrised InfoNCE loss of MoCo v3 (Chen et al., 2021, arXiv 2104.02057).

    A query of one crop has to be nearer to the key of the other crop of its image than to the keys of other images, of
    all processes. Where few labels make an image come several times in a batch, its other copies do not count.

    Args:
        temperature: of the cosine similarities; the result is scaled by twice its value, as in the paper.

    Raises:
        ValueError: if ``temperature`` is not positive.
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {temperature}")
        self.temperature = temperature

    def forward(self, vectors: tuple[Tensor, Tensor], image_ids: Tensor) -> Tensor:
        """Return the loss of queries and keys, each ``(2, B, D)``: of the first and of the second crop of each image.

        Args:
            vectors: queries and keys of any length; keys get no gradient.
            image_ids: ``(B,)``, integers that are equal for copies of one image.
        """
        queries, keys = (F.normalize(each.float(), dim=-1) for each in vectors)
        own = len(image_ids) * idist.get_rank() + torch.arange(len(image_ids), device=image_ids.device)
        copies = image_ids[:, None] == idist.all_gather(image_ids)
        copies[torch.arange(len(own)), own] = False
        return self._contrast(queries[0], keys[1], own, copies) + self._contrast(queries[1], keys[0], own, copies)

    def _contrast(self, queries: Tensor, keys: Tensor, own: Tensor, copies: Tensor) -> Tensor:
        similarities = queries @ idist.all_gather(keys.detach().contiguous()).T / self.temperature
        similarities = similarities.masked_fill(copies, -torch.inf)
        return 2 * self.temperature * F.cross_entropy(similarities, own)


def prepare_crops(
    batchdata: dict[str, Tensor],
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, Tensor, tuple[Tensor], dict]:
    """Return crops ``(B, C, H, W)`` as the inputs, and whose they are ``(B,)`` as the target: ``prepare_batch``."""
    first, second = (batchdata[key].to(device=device, non_blocking=non_blocking, **kwargs) for key in CROP_KEYS)
    return first, batchdata[IMAGE_ID_KEY].to(device=device, non_blocking=non_blocking), (second,), {}


class ContrastiveEncoder(nn.Module):
    """The student's encoder and a projection head: an image becomes one vector.

    The patch embedding is random and frozen, which keeps the training of ViTs stable, and positions are fixed sines and
    cosines, as in the paper. Tokens are averaged before the encoder's last norm: for ViTs without a class token the
    paper found this as good as with one, and averaging after the norm much worse. So the last norm does not train.

    Args:
        student: its ``encoder`` is a :class:`~common.students.vit.ViTEncoder`; what it learns, the student has learned.
        hidden_size: width of the head's hidden layers.
        out_size: length of the vector.

    Raises:
        InputError: if the student has another encoder.
    """

    def __init__(self, student: nn.Module, hidden_size: int = 1024, out_size: int = 256) -> None:
        super().__init__()
        self.encoder = encoder_of(student)
        projection = self.encoder.patch_embed
        nn.init.xavier_uniform_(projection.weight.flatten(1))
        assert projection.bias is not None
        nn.init.zeros_(projection.bias)
        projection.requires_grad_(False)
        fix_positions(self.encoder)
        self.encoder.norm.requires_grad_(False)
        self.projector = make_head([projection.out_channels, hidden_size, hidden_size, out_size])

    def forward(self, images: Tensor) -> Tensor:
        """Return vectors ``(B, out_size)`` of images ``(B, C, H, W)`` in [0, 1]."""
        return self.projector(self.encoder.tokens(normalise(images)).mean(dim=1))


class MomentumContrast(nn.Module):
    """Queries of two crops of each image from an encoder that trains, and keys from its moving average.

    Both crops go through a network at once. That changes nothing but the heads' batch norms, which see twice as many
    vectors: with batches of a few images, and a last one that may be a single image, they need them.

    Args:
        encoder: its queries train it.
        momentum_encoder: the moving average of ``encoder``, which :class:`MomentumEncoder` updates.
        hidden_size: width of the prediction head's hidden layer.
    """

    def __init__(
        self, encoder: ContrastiveEncoder, momentum_encoder: ContrastiveEncoder, hidden_size: int = 1024
    ) -> None:
        super().__init__()
        last: Any = encoder.projector[-1]
        self.encoder = encoder
        self.predictor = make_head([last.num_features, hidden_size, last.num_features])
        self.momentum_encoder = momentum_encoder.requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and keys, each ``(2, B, D)``, of two crops ``(B, C, H, W)`` in [0, 1] of each image."""
        crops = torch.cat([first, second])
        queries = self.predictor(self.encoder(crops))
        with torch.no_grad():
            keys = self.momentum_encoder(crops)
        return queries.unflatten(0, (2, -1)), keys.unflatten(0, (2, -1))


def check_batch_size(batch_size: int) -> None:
    """Refuse batches of a single image, which there is nothing to tell apart from.

    Raises:
        InputError: if the batches of all processes together have fewer than two images.
    """
    if batch_size * idist.get_world_size() < 2:
        raise InputError(
            f"batch_size: MoCo v3 tells the images of a batch apart, so there must be at least 2, got {batch_size}"
        )


def make_head(sizes: list[int]) -> nn.Sequential:
    """Return a perceptron of layers of these sizes with batch norms, the last one without a scale and an offset."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-2], nn.BatchNorm1d(sizes[-1], affine=False))
