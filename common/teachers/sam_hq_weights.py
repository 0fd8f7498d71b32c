"""SAM-HQ from wherever its weights are: a hub id, a folder, or an original checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import SamHQConfig, SamHQMaskDecoderConfig, SamHQModel, SamHQPromptEncoderConfig, SamHQVisionConfig

from common.errors import InputError
from common.teachers.base_names import is_hub_id
from common.teachers.model_files import explained, fill, model_type, read_model, stated_architecture
from common.teachers.original_checkpoints import is_original, mentions, read_original, rename
from common.teachers.sam_weights import original_architecture

MODEL_TYPES = ("sam_hq",)

_HUB_NAMES = re.compile(r"sam[-_]hq", re.IGNORECASE)
_TOKEN, _POSITIONS = "mask_decoder.hf_token.weight", "image_encoder.pos_embed"
_PARTS = {
    "vision_config": SamHQVisionConfig,
    "prompt_encoder_config": SamHQPromptEncoderConfig,
    "mask_decoder_config": SamHQMaskDecoderConfig,
}

# From names of the published code to those of transformers, where it adds to segment-anything.
_KEY_MAPPING = {
    r"\.hf_token\.": ".hq_token.",
    r"\.hf_mlp\.layers\.0\.": ".hq_mask_mlp.proj_in.",
    r"\.hf_mlp\.layers\.2\.": ".hq_mask_mlp.proj_out.",
    r"\.hf_mlp\.layers\.1\.": ".hq_mask_mlp.layers.0.",
    r"\.compress_vit_feat\.0\.": ".compress_vit_conv1.",
    r"\.compress_vit_feat\.1\.": ".compress_vit_norm.",
    r"\.compress_vit_feat\.3\.": ".compress_vit_conv2.",
    r"\.embedding_encoder\.0\.": ".encoder_conv1.",
    r"\.embedding_encoder\.1\.": ".encoder_norm.",
    r"\.embedding_encoder\.3\.": ".encoder_conv2.",
    r"\.embedding_maskfeature\.0\.": ".mask_conv1.",
    r"\.embedding_maskfeature\.1\.": ".mask_norm.",
    r"\.embedding_maskfeature\.3\.": ".mask_conv2.",
}


def is_sam_hq(pretrained: Any) -> bool:
    """Say whether this is SAM-HQ, by its config or weights, or where the hub would have to be asked, by its name."""
    kind = model_type(pretrained, local_files_only=True)
    if kind is None and isinstance(pretrained, (str, os.PathLike)) and is_hub_id(pretrained):
        return _HUB_NAMES.search(str(pretrained)) is not None
    return kind in MODEL_TYPES or mentions(pretrained, _TOKEN)


def load_sam_hq(pretrained: str | os.PathLike | SamHQConfig) -> SamHQModel:
    """Load a SAM-HQ, in eval mode; see :class:`~common.teachers.sam_hq.SamHqTeacher` for where from.

    Raises:
        InputError: if the weights cannot be found, read, or are not SAM-HQ's.
    """
    if isinstance(pretrained, SamHQConfig):
        return SamHQModel(pretrained).eval()
    if is_original(pretrained):
        return _load_original(Path(pretrained))
    with explained("SAM-HQ", pretrained):
        content, state = read_model(pretrained, MODEL_TYPES)
        config = _read_architecture(content, len(state))
        return fill(SamHQModel, config, state, f"{pretrained} does not fit its own config")


def _read_architecture(content: Mapping[str, Any], tensors: int) -> SamHQConfig:
    """Return what a config says of the architecture, and nothing else of it.

    Raises:
        ValueError: if it has more layers than there are weights, or none that attends to the whole image.
    """
    parts = {name: kind(**stated_architecture(kind, content.get(name) or {})) for name, kind in _PARTS.items()}
    vision, decoder = parts["vision_config"], parts["mask_decoder_config"]
    layers = vision.num_hidden_layers + decoder.num_hidden_layers + decoder.num_multimask_outputs
    if layers + decoder.iou_head_depth > tensors:
        raise ValueError(f"its config has {layers} layers, its weights are {tensors} tensors")
    if not set(vision.global_attn_indexes) & set(range(vision.num_hidden_layers)):
        raise ValueError("none of its layers attends to the whole image, whose features its decoder needs")
    return SamHQConfig(**parts)


def _load_original(path: Path) -> SamHQModel:
    """Load a checkpoint of the published code, whose shapes tell the architecture."""
    state = read_original(path)
    missing = [name for name in (_TOKEN, _POSITIONS) if not isinstance(state.get(name), Tensor)]
    if missing:
        raise InputError(f"pretrained: {path} is not a checkpoint of SAM-HQ with SAM's encoder (no {missing[0]})")
    content = original_architecture(state, path).to_dict()
    parts = {name: stated_architecture(kind, content[name]) for name, kind in _PARTS.items()}
    parts["mask_decoder_config"]["vit_dim"] = content["vision_config"]["hidden_size"]
    weights = {_rename(name): value for name, value in state.items()}
    return fill(SamHQModel, SamHQConfig(**parts), weights, f"{path} does not fit the architecture of SAM-HQ")


def _rename(name: str) -> str:
    for pattern, replacement in _KEY_MAPPING.items():
        name = re.sub(pattern, replacement, name)
    return rename(name)
