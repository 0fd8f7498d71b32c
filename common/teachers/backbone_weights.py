"""Backbones of transformers from a hub id or a folder: image encoders that come without a decoder."""

from __future__ import annotations

import os
import re
from typing import Any

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING
from transformers.utils import logging

from common.files.json_files import read_json
from common.teachers.base_names import is_hub_id
from common.teachers.model_files import (
    CONFIG,
    WEIGHTS,
    explained,
    find_file,
    model_type,
    read_model,
    stated_architecture,
)

MODEL_TYPES = (
    "dinov2", "dinov2_with_registers", "dinov3_vit", "dinov3_convnext", "swin", "swinv2", "convnext", "convnextv2",
)  # fmt: skip
"""What a config calls the architectures that the tests go through; others differ in what sizes they take."""

_LEVELS = 4  # of a plain ViT, evenly spaced over its depth
_CHOSEN_HERE = ("out_features", "out_indices", "stage_names", "apply_layernorm", "reshape_hidden_states")
# A frozen encoder does the same in training as in evaluation: no dropped paths, no moved positions.
_SWITCHED_OFF = {
    "drop_path_rate": 0.0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "attention_dropout": 0.0,
    "pos_embed_shift": None,
    "pos_embed_jitter": None,
    "pos_embed_rescale": None,
}
_FRESH = "hidden_states_norms."  # normalise what is handed out; no checkpoint has them, and they begin with ones
_HUB_NAMES = re.compile(r"dinov[23]|swin|convnext", re.IGNORECASE)
_IN_A_LAYER = re.compile(r"(^|\.)(layers?|blocks|stages)\.\d+\.")


def is_backbone(pretrained: Any) -> bool:
    """Say whether this is a backbone, by its config, or where the hub would have to be asked for it, by its name."""
    kind = model_type(pretrained, local_files_only=True)
    if kind is None and isinstance(pretrained, (str, os.PathLike)) and is_hub_id(pretrained):
        return _HUB_NAMES.search(str(pretrained)) is not None
    return kind in MODEL_TYPES


def patch_size_of(pretrained: str | os.PathLike) -> int | None:
    """Return the side of a backbone's patches in pixels, without loading it or asking the hub; None if it is unknown.

    DINOv2 has patches of 14, and where its config is not on this machine its name tells.
    """
    kind = model_type(pretrained, local_files_only=True)
    if kind is None:
        return 14 if "dinov2" in str(pretrained).lower() else None
    config = find_file(pretrained, CONFIG, local_files_only=True)
    assert config is not None  # the model type is from it
    content = read_json(config)
    return content.get("patch_size", CONFIG_MAPPING[kind]().to_dict().get("patch_size"))


def load_backbone(pretrained: str | os.PathLike | PreTrainedConfig) -> PreTrainedModel:
    """Load a backbone that hands out several levels of features; a config gives random weights.

    Raises:
        InputError: if the weights cannot be found or read, lack or have other layers, or are of another architecture.
    """
    if isinstance(pretrained, PreTrainedConfig):
        return _class_of(pretrained)(_prepare(type(pretrained), pretrained.to_dict()))
    with explained("backbone", pretrained):
        content, state = read_model(pretrained, MODEL_TYPES)
        return _load(_prepare(CONFIG_MAPPING[content["model_type"]], content), state)


def _class_of(config: PreTrainedConfig) -> type[PreTrainedModel]:
    return MODEL_FOR_BACKBONE_MAPPING[type(config)]


def _prepare(kind: type[PreTrainedConfig], content: dict[str, Any]) -> PreTrainedConfig:
    """Return what a config says of the architecture, and nothing else of it, with the levels to hand out."""
    usual, stated = kind().to_dict(), stated_architecture(kind, content)
    stated = {key: value for key, value in stated.items() if key not in _CHOSEN_HERE}
    stated |= {key: value for key, value in _SWITCHED_OFF.items() if key in usual}
    stages = kind(**stated).stage_names[1:]
    if "depths" not in usual:
        stages = [stages[round(len(stages) * level / _LEVELS) - 1] for level in range(1, _LEVELS + 1)]
    return kind(**stated, out_features=list(dict.fromkeys(stages)))


def _load(config: PreTrainedConfig, state: dict[str, Tensor]) -> PreTrainedModel:
    depth = sum(config.depths) if hasattr(config, "depths") else config.num_hidden_layers
    if depth > len(state):
        raise ValueError(f"{CONFIG} has {depth} layers, but {WEIGHTS} has {len(state)} tensors")
    options = {"config": config, "state_dict": state, "dtype": torch.float32, "output_loading_info": True}
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what it would print is sorted out below
    try:
        backbone, report = _class_of(config).from_pretrained(None, **options)
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(name for name in map(str, report["missing_keys"]) if _FRESH not in name)
    unknown = sorted(name for name in map(str, report["unexpected_keys"]) if _IN_A_LAYER.search(name))
    if missing or unknown:
        shown = ", ".join([f"{name} is missing" for name in missing] + [f"{name} is unknown" for name in unknown][:5])
        raise ValueError(f"{len(missing)} weights are missing and {len(unknown)} are unknown: {shown}")
    return backbone
