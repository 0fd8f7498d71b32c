"""The stand-in teacher's architecture, and weights that learning starts from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import SamAttention


def stand_in_config(image_size: int = 256) -> SamConfig:
    """Return the architecture of the stand-in teacher: SAM's, with 3.6 million parameters instead of 94 million."""
    return SamConfig(
        vision_config={
            "hidden_size": 160,
            "num_hidden_layers": 8,
            "num_attention_heads": 5,
            "output_channels": 128,
            "num_pos_feats": 64,
            "image_size": image_size,
            "window_size": 8,
            "global_attn_indexes": [1, 4, 7],
            "initializer_range": 0.02,
        },
        prompt_encoder_config={"hidden_size": 128, "image_size": image_size},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 512, "iou_head_hidden_dim": 128},
    )


def initialise(model: SamModel) -> None:
    """Start from weights that learn: those that transformers gives a new SAM are meant to be overwritten.

    Prompts and pixels carry the same position code. Where the decoder's cross-attention starts with equal projections
    of queries and keys, a prompt looks at its own place from the first step; with SAM's unequal ones, hundreds of
    steps pass in which an empty mask has the lowest loss.
    """
    for part in (model.prompt_encoder, model.mask_decoder, model.vision_encoder.neck):
        for module in part.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    nn.init.normal_(model.shared_image_embedding.positional_embedding)
    nn.init.trunc_normal_(model.vision_encoder.pos_embed, std=0.02)
    for name, module in model.mask_decoder.named_modules():
        if isinstance(module, SamAttention) and "self_attn" not in name:
            module.q_proj.weight.data.mul_(3)
            module.k_proj.weight.data.copy_(module.q_proj.weight)
            module.q_proj.bias.data.zero_()
            module.k_proj.bias.data.zero_()


def whiten_patches(projection: nn.Conv2d, pixels: Tensor) -> None:
    """Make a patch embedding the discrete cosine transform of brightness and two colours, each coefficient whitened.

    It stays so: a learned embedding soon follows the mean colour of patches, which outweighs all that is in them, and
    a frozen one has been seen to train ViTs more steadily (Chen et al., 2021, arXiv 2104.02057).

    Args:
        projection: changed in place.
        pixels: normalised images ``(B, 3, H, W)`` whose coefficients get mean zero and a variance near one.
    """
    assert projection.bias is not None
    width, patch = projection.out_channels, projection.kernel_size[0]
    places = np.pi * (np.arange(patch) + 0.5) / patch
    waves = np.cos(places * np.arange(patch)[:, None])
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    frequencies = sorted(np.ndindex(patch, patch), key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair))
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    counts = (width - 2 * (width // 4), width // 4, width // 4)
    basis = [
        colour[:, None, None] * np.outer(waves[row], waves[column])
        for colour, count in zip(colours, counts, strict=True)
        for row, column in frequencies[:count]
    ]
    with torch.no_grad():
        projection.weight.copy_(torch.as_tensor(np.stack(basis)))
        projection.bias.zero_()
        coefficients = projection(pixels).transpose(0, 1).flatten(1)
        scale = (coefficients.var(1) + 0.05**2).rsqrt()
        projection.weight.mul_(scale[:, None, None, None])
        projection.bias.copy_(-coefficients.mean(1) * scale)
    projection.requires_grad_(False)
