"""Which layers of a student a method may pre-train by themselves: those of its encoder."""

from __future__ import annotations

import torch
from monai.networks.blocks.pos_embed_utils import build_sincos_position_embedding
from torch import Tensor, nn

from common.errors import InputError
from common.students.vit import ViTEncoder, normalise


class StudentEncoder(nn.Module):
    """The encoder of a student and what it does to images before, to be trained without the decoder.

    The layers are the student's own, under the same names: what is learned here, the student has learned.

    Args:
        student: its ``encoder`` is a :class:`ViTEncoder`, as that of a :class:`ViTSegmenter` is.

    Raises:
        InputError: if it is not.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder_of(student)

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens ``(B, hidden_size, H / patch, W / patch)`` of images ``(B, C, H, W)`` in [0, 1]."""
        return self.encoder(normalise(images))


def encoder_of(student: nn.Module) -> ViTEncoder:
    """Return the encoder of a student that has a :class:`ViTEncoder`, as :class:`ViTSegmenter` does.

    Raises:
        InputError: if it has none.
    """
    encoder = getattr(student, "encoder", None)
    if not isinstance(encoder, ViTEncoder):
        raise InputError(
            "student_def: only the encoder of a ViTSegmenter can be pre-trained alone, got a "
            f"{type(student).__name__}; choose a method that trains the whole student, such as scratch"
        )
    return encoder


@torch.no_grad()
def fix_positions(encoder: ViTEncoder) -> None:
    """Give an encoder fixed sine-cosine positions, with which MAE and MoCo v3 train.

    They stay those of its own grid, interpolated as they will be when the student is fine-tuned and may change them.
    """
    hidden_size, height, width = encoder.pos_embed.shape[1:]
    positions = build_sincos_position_embedding([height, width], hidden_size, spatial_dims=2)
    encoder.pos_embed.copy_(positions.transpose(1, 2).unflatten(2, (height, width)))
    encoder.pos_embed.requires_grad_(False)
