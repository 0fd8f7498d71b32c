"""The networks of MoCo v3 around the student's encoder (Chen et al., 2021, arXiv 2104.02057)."""

from __future__ import annotations

from itertools import pairwise

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from common.errors import InputError
from common.networks.vit import encoder_of, fix_positions, normalise


class ContrastiveEncoder(nn.Module):
    """The student's encoder and a projection head: an image becomes one vector.

    The patch embedding is random and frozen, which keeps the training of ViTs stable, and positions are fixed sines and
    cosines, as in the paper. Tokens are averaged before the encoder's last norm: for ViTs without a class token the
    paper found this as good as with one, and averaging after the norm much worse. So the last norm does not train.

    Args:
        student: its ``encoder`` is a :class:`~common.networks.vit.ViTEncoder`; what it learns, the student has learned.
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
    vectors: with batches of a few images, and a last one that may be a single image, they need them. Among several
    processes with GPUs they see the vectors of all.

    Args:
        encoder: its queries train it.
        momentum_encoder: the moving average of ``encoder``, which someone else updates.
        hidden_size: width of the prediction head's hidden layer.
    """

    def __init__(
        self, encoder: ContrastiveEncoder, momentum_encoder: ContrastiveEncoder, hidden_size: int = 1024
    ) -> None:
        super().__init__()
        out_size = encoder.projector[-1].num_features
        self.encoder = encoder
        self.predictor = make_head([out_size, hidden_size, out_size])
        self.momentum_encoder = momentum_encoder.requires_grad_(False)
        if idist.get_world_size() > 1 and torch.cuda.is_available():
            nn.SyncBatchNorm.convert_sync_batchnorm(self)

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
