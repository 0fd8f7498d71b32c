"""MobileSAM and LiteMedSAM from their checkpoints, whose names and shapes tell them from other models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from transformers import SamConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder

from common.errors import InputError
from common.teachers.original_checkpoints import check_fit, mentions, read_original, rename
from common.teachers.tiny_vit import PATCH_KERNELS, TinyVit

_PUBLISHED = "lite_medsam"  # the name by which LiteMedSAM is downloaded
_FIRST = "image_encoder.patch_embed.seq.0.c.weight"
_ENCODER, _NECK = "image_encoder.", "image_encoder.neck."
# MobileSAM's file has a classifier that nothing uses; the others are computed or counted.
_UNUSED_PREFIXES = ("image_encoder.norm_head.", "image_encoder.head.")
_UNUSED_SUFFIXES = (".attn.attention_bias_idxs", ".bn.num_batches_tracked")
_STATISTICS = ("weight", "bias", "running_mean", "running_var")
_EPSILON = 1e-5  # of batch normalisation


class TinySam(nn.Module):
    """SAM with TinyViT for an image encoder; its parts are called as those of transformers' ``SamModel``.

    Args:
        patch_kernel: see :class:`~common.teachers.tiny_vit.TinyVit`.
    """

    def __init__(self, patch_kernel: int) -> None:
        super().__init__()
        config = SamConfig()
        config.mask_decoder_config._attn_implementation = "sdpa"
        config.mask_decoder_config.layer_norm_eps = 1e-5  # as in the original code, unlike transformers' default
        self.vision_encoder = TinyVit(patch_kernel)
        self.prompt_encoder = SamPromptEncoder(config)
        self.mask_decoder = SamMaskDecoder(config.mask_decoder_config)


def is_tiny_sam(pretrained: str | os.PathLike) -> bool:
    """Say whether this is a checkpoint of MobileSAM or LiteMedSAM, as far as the names in it tell."""
    return str(pretrained) == _PUBLISHED or mentions(pretrained, _FIRST)


def is_lite_medsam(pretrained: str | os.PathLike) -> bool:
    """Say whether a checkpoint of one of the two is LiteMedSAM's, by its name or its patch embedding.

    Raises:
        InputError: if the file is missing or damaged.
    """
    if str(pretrained) == _PUBLISHED:
        return True
    first = read_original(Path(pretrained)).get(_FIRST)
    return isinstance(first, Tensor) and first.shape[-1] == 1  # pixel; MobileSAM's kernels are of 3x3


def load_tiny_sam(pretrained: str | os.PathLike) -> TinySam:
    """Load an original checkpoint of MobileSAM or LiteMedSAM, in eval mode.

    Raises:
        InputError: if the file is missing, damaged, or has other weights than these.
    """
    path = Path(pretrained)
    state = read_original(path)
    first = state.get(_FIRST)
    if not isinstance(first, Tensor) or first.ndim != 4:
        raise InputError(f"pretrained: {path} is not a checkpoint of MobileSAM or LiteMedSAM (no {_FIRST})")
    if first.shape[-1] not in PATCH_KERNELS:
        raise InputError(
            f"pretrained: {path} has a patch embedding of {first.shape[-1]}x{first.shape[-1]} kernels, expected 1x1 "
            "(LiteMedSAM) or 3x3 (MobileSAM)"
        )
    sam = TinySam(first.shape[-1])
    weights = _convert(state)
    check_fit(weights, sam.state_dict(), f"{path} does not fit the architecture of MobileSAM and LiteMedSAM")
    sam.load_state_dict(weights)
    return sam.eval()


def _convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights by the names that they have in a ``TinySam``, whatever cannot be used by its own."""
    used = {
        name: value
        for name, value in state.items()
        if not name.startswith(_UNUSED_PREFIXES) and not name.endswith(_UNUSED_SUFFIXES)
    }
    converted = {}
    for name in [name for name in used if name.startswith(_ENCODER) and name.endswith(".c.weight")]:
        layer = name.removesuffix(".c.weight")
        parts = [name, *(f"{layer}.bn.{statistic}" for statistic in _STATISTICS)]
        if all(isinstance(used.get(part), Tensor) for part in parts):
            kernel, *statistics = (used.pop(part) for part in parts)
            if all(values.shape == kernel.shape[:1] for values in statistics):
                converted[f"{layer}.weight"], converted[f"{layer}.bias"] = fold(kernel, *statistics)
    return {_rename(name): value for name, value in (converted | used).items()}


def fold(kernel: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return kernel and bias of the convolution that does what one without bias and batch normalisation do in turn.

    Args:
        kernel: ``(C, ...)``.
        weight, bias, mean, variance: of the batch normalisation, ``(C,)``.
    """
    kernel, weight, bias, mean, variance = (x.double() for x in (kernel, weight, bias, mean, variance))
    # In double precision each of these is exactly rounded, so that the base's fingerprint is the same on any machine.
    scale = weight / (variance + _EPSILON).sqrt()
    return (kernel * scale.view(-1, *[1] * (kernel.ndim - 1))).float(), (bias - mean * scale).float()


def _rename(name: str) -> str:
    if not name.startswith(_ENCODER) or name.startswith(_NECK):
        return rename(name)
    name = name.replace(_ENCODER, "vision_encoder.", 1).replace(".patch_embed.seq.", ".patch_embed.")
    return name.replace(".mlp.fc", ".mlp.lin")
