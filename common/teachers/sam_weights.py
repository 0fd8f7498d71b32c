"""SAM from wherever its weights are: a hub id, a folder, or an original checkpoint."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedConfig, SamConfig, SamModel

from common.errors import InputError
from common.files.checkpoints import check_finite
from common.files.json_files import read_json
from common.files.links import check_no_way_out
from common.teachers.base_names import STAND_IN, STAND_IN_FOLDER
from common.teachers.hub import is_reachable
from common.teachers.model_files import CONFIG, DAMAGE, WEIGHTS
from common.teachers.original_checkpoints import KEY_MAPPING, is_original, read_original


def load_sam(pretrained: str | os.PathLike | SamConfig) -> SamModel:
    """Load a SAM from wherever its weights are; see :class:`~common.teachers.sam.SamTeacher` for what they may be.

    Raises:
        InputError: if the weights cannot be found, read, or are not SAM's.
    """
    if isinstance(pretrained, SamConfig):
        return SamModel(pretrained)
    path = STAND_IN_FOLDER if str(pretrained) == STAND_IN else Path(pretrained)
    if is_original(path):
        return _load_original(path)
    try:
        return _load_folder(path) if path.is_dir() else _load_from_hub(str(pretrained))
    except InputError as error:
        raise InputError(f"pretrained: {error}") from error
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"pretrained: no SAM could be loaded from '{path}'. Expected a hub id such as facebook/sam-vit-base, a "
            f"folder with config.json and model.safetensors, an original .pth file, or '{STAND_IN}' ({reason})"
        ) from error


# A config could name another implementation of attention, with code of its own on the hub.
_FROM_HUB = {"use_safetensors": True, "attn_implementation": "sdpa"}


def _load_from_hub(name: str) -> SamModel:
    return _load_completely(name, **_FROM_HUB, local_files_only=not is_reachable())


def _load_folder(folder: Path) -> SamModel:
    """Load a folder in the format of transformers, of which nothing but these two files is opened.

    transformers itself would follow other files that lie there (an adapter's, whose base may be anywhere, or an index
    of weights in several files), and what a config may say besides the architecture.
    """
    check_no_way_out(folder, (CONFIG, WEIGHTS))
    config = _read_architecture(folder / CONFIG)
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{WEIGHTS} is missing")
    state = load_file(folder / WEIGHTS)
    check_finite(state, folder / WEIGHTS)
    layers = config.vision_config.num_hidden_layers + config.mask_decoder_config.num_hidden_layers
    if layers > len(state):
        raise ValueError(f"{CONFIG} has {layers} layers, but {WEIGHTS} has {len(state)} tensors")
    return _load_completely(None, config=config, state_dict=state)


def _read_architecture(path: Path) -> SamConfig:
    """Return what a config says of the architecture, and nothing else of it."""
    content, parts = read_json(path), {}
    common = PreTrainedConfig().to_dict().keys()
    for part, known in SamConfig().to_dict().items():
        if part.endswith("_config"):
            stated = content.get(part) or {}
            parts[part] = {key: value for key, value in stated.items() if key in known and key not in common}
    return SamConfig(**parts, initializer_range=content.get("initializer_range", 0.02))


def _load_completely(source: str | Path | None, **options: Any) -> SamModel:
    """Load with transformers, which leaves missing weights random and others out.

    Raises:
        ValueError: if any weight is missing or unknown.
        RuntimeError: if one has another shape.
    """
    sam, report = SamModel.from_pretrained(source, dtype=torch.float32, output_loading_info=True, **options)
    missing, unknown = sorted(map(str, report["missing_keys"])), sorted(map(str, report["unexpected_keys"]))
    if missing or unknown:
        shown = ", ".join([f"{name} is missing" for name in missing] + [f"{name} is unknown" for name in unknown][:5])
        raise ValueError(f"{len(missing)} weights are missing and {len(unknown)} are unknown: {shown}")
    return sam


def _load_original(path: Path) -> SamModel:
    """Load a checkpoint of the ``segment-anything`` package, whose shapes tell the architecture."""
    state = read_original(path)
    if "image_encoder.pos_embed" not in state:
        raise InputError(
            f"pretrained: {path} is not a checkpoint of segment-anything (no image_encoder.pos_embed); of a network of "
            "another kind say which by teacher_network_def"
        )
    architecture = original_architecture(state, path)
    try:
        return _load_completely(None, config=architecture, state_dict=state, key_mapping=KEY_MAPPING)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"pretrained: {path} does not fit the architecture its shapes suggest: {error}") from error


def original_architecture(state: dict[str, Tensor], path: Path) -> SamConfig:
    """Return the architecture that the shapes of weights tell.

    Args:
        state: a checkpoint of the ``segment-anything`` package; what else it has does not matter.
        path: where it is from.

    Raises:
        InputError: if weights that tell it are missing, or have the shapes of none.
    """
    try:
        return _architecture(state)
    except KeyError as error:
        raise InputError(f"pretrained: {path} is not a checkpoint of segment-anything (no {error})") from error
    except (ValueError, TypeError, IndexError, AttributeError, ArithmeticError) as error:
        raise InputError(
            f"pretrained: {path} is not a checkpoint of segment-anything, though it has names of one: a shape of "
            f"its weights is another ({error})"
        ) from error


def _architecture(state: dict[str, Tensor]) -> SamConfig:
    grid, hidden = state["image_encoder.pos_embed"].shape[2:]
    patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
    depth = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("image_encoder.blocks."))
    spans = [state[f"image_encoder.blocks.{index}.attn.rel_pos_h"].shape[0] for index in range(depth)]
    head_dim = state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
    neck, image_size = state["image_encoder.neck.0.weight"].shape[0], grid * patch
    decoder = "mask_decoder.transformer."
    return SamConfig(
        vision_config={
            "hidden_size": hidden,
            "num_hidden_layers": depth,
            "num_attention_heads": hidden // head_dim,
            "mlp_dim": state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
            "output_channels": neck,
            "num_pos_feats": neck // 2,
            "image_size": image_size,
            "patch_size": patch,
            "window_size": (min(spans) + 1) // 2,
            "global_attn_indexes": [index for index, span in enumerate(spans) if span == 2 * grid - 1],
        },
        prompt_encoder_config={"hidden_size": neck, "image_size": image_size, "patch_size": patch},
        mask_decoder_config={
            "hidden_size": neck,
            "layer_norm_eps": 1e-5,  # as in the original code, unlike transformers' default
            "mlp_dim": state[decoder + "layers.0.mlp.lin1.weight"].shape[0],
            "num_hidden_layers": sum(bool(re.fullmatch(decoder + r"layers\.\d+\.norm1\.weight", k)) for k in state),
            "iou_head_hidden_dim": state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        },
    )
