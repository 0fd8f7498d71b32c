"""What SAM makes of a box around a structure: its own use, that a prompt-free teacher leaves behind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from common.teachers.sam_decoder import grid_positions


def masks_in_boxes(sam: Any, embeddings: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Return the logits ``(B, 4 h, 4 w)`` of the structure in each box.

    Args:
        sam: a ``SamModel`` or a :class:`~common.teachers.tiny_sam_weights.TinySam`, with its own mask tokens.
        embeddings: of images, ``(B, C, h, w)``, from its ``vision_encoder``.
        boxes: one for each image, ``(B, 4)``: left, top, right and bottom in pixels.
        image_size: height and width in pixels of what the encoder saw.
    """
    encoder = sam.prompt_encoder
    size = torch.tensor(image_size[::-1], device=boxes.device)
    corners = (boxes.view(-1, 1, 2, 2) + 0.5) / size  # a pixel's place is its centre
    corners = encoder.shared_embedding(corners) + torch.stack([point.weight[0] for point in encoder.point_embed[2:]])
    positions = grid_positions(encoder.shared_embedding, *embeddings.shape[2:])
    masks, _ = sam.mask_decoder(
        image_embeddings=embeddings,
        image_positional_embeddings=positions.expand_as(embeddings),
        sparse_prompt_embeddings=corners,
        dense_prompt_embeddings=encoder.no_mask_embed.weight.view(1, -1, 1, 1).expand_as(embeddings),
        multimask_output=False,
    )
    return masks[:, 0, 0]
