"""Checkpoints in the format of the segment-anything package, which its kin share."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from common.errors import InputError
from common.files.checkpoints import check_finite, read_checkpoint

_SUFFIXES = (".pth", ".pt")
_WRAPPERS = ("model", "state_dict")  # where checkpoints of a training keep the weights
_HEAD = 2**24  # bytes of a file that its names are looked for in; more than any of these models has

# From names of the segment-anything package to those of transformers.
KEY_MAPPING = {
    r"^image_encoder\.": "vision_encoder.",
    r"\.patch_embed\.proj\.": ".patch_embed.projection.",
    r"\.blocks\.": ".layers.",
    r"\.neck\.0\.": ".neck.conv1.",
    r"\.neck\.1\.": ".neck.layer_norm1.",
    r"\.neck\.2\.": ".neck.conv2.",
    r"\.neck\.3\.": ".neck.layer_norm2.",
    r"\.pe_layer\.positional_encoding_gaussian_matrix$": ".shared_embedding.positional_embedding",
    r"\.point_embeddings\.": ".point_embed.",
    r"\.mask_downscaling\.0\.": ".mask_embed.conv1.",
    r"\.mask_downscaling\.1\.": ".mask_embed.layer_norm1.",
    r"\.mask_downscaling\.3\.": ".mask_embed.conv2.",
    r"\.mask_downscaling\.4\.": ".mask_embed.layer_norm2.",
    r"\.mask_downscaling\.6\.": ".mask_embed.conv3.",
    r"\.output_upscaling\.0\.": ".upscale_conv1.",
    r"\.output_upscaling\.1\.": ".upscale_layer_norm.",
    r"\.output_upscaling\.3\.": ".upscale_conv2.",
    r"\.norm(\d|_final_attn)\.": r".layer_norm\1.",
    r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.layers\.0\.": r"\1.proj_in.",
    r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.layers\.2\.": r"\1.proj_out.",
    r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.layers\.1\.": r"\1.layers.0.",
}


def rename(name: str) -> str:
    """Return the name in transformers of a weight of the segment-anything package."""
    for pattern, replacement in KEY_MAPPING.items():
        name = re.sub(pattern, replacement, name)
    return name


def is_original(pretrained: Any) -> bool:
    """Say whether this names a file with the suffix of a checkpoint of PyTorch."""
    return isinstance(pretrained, (str, os.PathLike)) and Path(pretrained).suffix in _SUFFIXES


def mentions(pretrained: Any, name: str) -> bool:
    """Say whether a checkpoint is there and lists weights of this name, which PyTorch does before all weights.

    Nothing is unpickled: a damaged file, or one that would run code, is for :func:`read_original` to refuse.
    """
    if not is_original(pretrained) or not Path(pretrained).is_file():
        return False
    with Path(pretrained).open("rb") as file:
        return name.encode() in file.read(_HEAD)


def read_original(path: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint, also one of a training: under ``model``, or with ``module.`` before each name.

    Raises:
        InputError: if the file is missing, damaged, would have to run code, or has weights that are not finite.
    """
    try:
        state = read_checkpoint(path)
        for wrapper in _WRAPPERS:
            state = state.get(wrapper, state) if isinstance(state, dict) else {}
        named = state.items() if isinstance(state, dict) else ()
        state = {str(name).removeprefix("module."): value for name, value in named}
        check_finite(state, path)
    except InputError as error:
        raise InputError(f"pretrained: {error}") from error
    return state


def check_fit(found: Mapping[str, Any], expected: Mapping[str, Tensor], misfit: str) -> None:
    """Refuse weights that are not those that a network has, in name and shape.

    Args:
        found: the weights, by name.
        expected: the weights of the network, by name.
        misfit: what to say before how many differ, and which.

    Raises:
        InputError: if any is missing, unknown or of another shape.
    """
    faults = [f"{name} is missing" for name in expected if name not in found]
    for name, value in found.items():
        if name not in expected:
            faults.append(f"{name} is unknown")
        elif not isinstance(value, Tensor) or value.shape != expected[name].shape:
            shape = "x".join(map(str, getattr(value, "shape", ()))) or "none"
            faults.append(f"{name} has the shape {shape}, not {'x'.join(map(str, expected[name].shape))}")
    if faults:
        shown = f"{', '.join(faults[:5])}{', ...' if len(faults) > 5 else ''}"
        raise InputError(f"pretrained: {misfit} in {len(faults)} weights: {shown}")
