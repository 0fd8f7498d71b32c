"""SAM 2 from wherever its weights are, a hub id, a folder, or an original checkpoint: the part that sees images."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)

from common.teachers.base_names import is_hub_id
from common.teachers.model_files import explained, fill, model_type, read_model, stated_architecture
from common.teachers.original_checkpoints import is_original
from common.teachers.sam2_original import convert_original, is_original_sam2

MODEL_TYPES = ("sam2", "sam2_video")
"""What configs call it: the published ones are of the whole model, for videos."""

_HUB_NAMES = re.compile(r"sam2", re.IGNORECASE)
_LEVELS = 3  # that the mask decoder sees, of strides 4, 8 and 16

# What tracks structures through a video; here each image is the first.
_VIDEO_PARTS = (
    "memory_attention.", "memory_encoder.", "memory_temporal_positional_encoding", "mask_downsample.",
    "object_pointer_proj.", "temporal_positional_encoding_projection_layer.", "no_memory_positional_encoding",
    "no_object_pointer", "occlusion_spatial_embedding_parameter",
)  # fmt: skip


def is_sam2(pretrained: Any) -> bool:
    """Say whether this is SAM 2, by its config or weights, or where the hub would have to be asked, by its name."""
    kind = model_type(pretrained, local_files_only=True)
    if kind is None and isinstance(pretrained, (str, os.PathLike)) and is_hub_id(pretrained):
        return _HUB_NAMES.search(str(pretrained)) is not None
    return kind in MODEL_TYPES or is_original_sam2(pretrained)


def load_sam2(pretrained: str | os.PathLike | Sam2Config) -> Sam2Model:
    """Load the image part of a SAM 2, in eval mode; see :class:`~common.teachers.sam2.Sam2Teacher` for where from.

    Raises:
        InputError: if the weights cannot be found, read, or are not SAM 2's.
    """
    if isinstance(pretrained, Sam2Config):
        return Sam2Model(pretrained).eval()
    if is_original(pretrained):
        return fill(
            Sam2Model, *convert_original(Path(pretrained)), f"{pretrained} does not fit the architecture of SAM 2"
        )
    with explained("SAM 2", pretrained):
        content, state = read_model(pretrained, MODEL_TYPES)
        config = _read_architecture(content)
        _check_architecture(config, len(state))
        weights = {name: value for name, value in state.items() if not name.startswith(_VIDEO_PARTS)}
        return fill(Sam2Model, config, weights, f"{pretrained} does not fit its own config")


def _read_architecture(content: Mapping[str, Any]) -> Sam2Config:
    """Return what a config says of the architecture, and nothing else of it."""
    vision = content.get("vision_config") or {}
    hiera = vision.get("backbone_config") or {}
    kind = hiera.get("model_type", Sam2HieraDetConfig.model_type)
    if kind != Sam2HieraDetConfig.model_type:
        raise ValueError(f"its image encoder is a {kind}, expected a {Sam2HieraDetConfig.model_type}")
    backbone = Sam2HieraDetConfig(**stated_architecture(Sam2HieraDetConfig, hiera))
    prompts = content.get("prompt_encoder_config") or {}
    decoder = content.get("mask_decoder_config") or {}
    return Sam2Config(
        vision_config=Sam2VisionConfig(**stated_architecture(Sam2VisionConfig, vision), backbone_config=backbone),
        prompt_encoder_config=Sam2PromptEncoderConfig(**stated_architecture(Sam2PromptEncoderConfig, prompts)),
        mask_decoder_config=Sam2MaskDecoderConfig(**stated_architecture(Sam2MaskDecoderConfig, decoder)),
    )


def _check_architecture(config: Sam2Config, tensors: int) -> None:
    """Refuse what the teacher is not made for, and more layers than there are weights, before any of them is made.

    Raises:
        ValueError: if it is so.
    """
    vision, decoder = config.vision_config, config.mask_decoder_config
    hiera = vision.backbone_config
    pools = (len(hiera.blocks_per_stage) - 1, hiera.num_query_pool_stages, *hiera.query_stride)
    if pools != (3, 3, 2, 2) or vision.num_feature_levels != _LEVELS or len(set(hiera.patch_stride)) > 1:
        raise ValueError(
            f"its image encoder must have 4 stages, each half as large as the one before, and hand out {_LEVELS} levels"
        )
    heads = decoder.num_multimask_outputs + decoder.iou_head_depth
    layers = sum(map(abs, hiera.blocks_per_stage)) + decoder.num_hidden_layers**2 + heads
    if layers > tensors:
        raise ValueError(f"its config has {layers} layers, its weights are {tensors} tensors")
