"""Checkpoints of the sam2 package: which of the published architectures they are, and how transformers names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2VisionConfig

from common.errors import InputError
from common.teachers.original_checkpoints import mentions, read_original, rename

_POSITIONS = "image_encoder.trunk.pos_embed"

# What tracks structures through a video.
_VIDEO_PARTS = (
    "memory_attention.", "memory_encoder.", "maskmem_tpos_enc", "mask_downsample.", "obj_ptr_proj.",
    "obj_ptr_tpos_proj.", "no_mem_pos_enc", "no_obj_ptr", "no_obj_embed_spatial",
)  # fmt: skip

# From names of the sam2 package to those of transformers, after those that it shares with segment-anything.
_KEY_MAPPING = {
    r"^image_encoder\.trunk\.": "vision_encoder.backbone.",
    r"^image_encoder\.neck\.convs\.(\d+)\.conv\.": r"vision_encoder.neck.convs.\1.",
    r"\.patch_embed\.proj\.": ".patch_embed.projection.",
    r"\.norm(\d)\.": r".layer_norm\1.",
    r"\.mlp\.layers\.0\.": ".mlp.proj_in.",
    r"\.mlp\.layers\.1\.": ".mlp.proj_out.",
    r"\.out_proj\.": ".o_proj.",
    r"pred_obj_score_head\.layers\.0\.": "pred_obj_score_head.proj_in.",
    r"pred_obj_score_head\.layers\.2\.": "pred_obj_score_head.proj_out.",
    r"pred_obj_score_head\.layers\.1\.": "pred_obj_score_head.layers.0.",
    r"^no_mem_embed$": "no_memory_embedding",
}
_POINTS = "prompt_encoder.point_embed"


@dataclass(frozen=True, kw_only=True)
class Hiera:
    """A published image encoder, of which the shapes of the weights do not say all.

    Args:
        width: channels of the first of four stages; each has twice as many as the one before.
        blocks: of each stage.
        heads: of the first stage's attention; they double as the width does.
        global_blocks: which blocks attend to the whole image.
        windows: sides of what the others attend to, for each stage.
        background: side of the grid that positions are interpolated from.
    """

    width: int
    blocks: tuple[int, int, int, int]
    heads: int
    global_blocks: tuple[int, ...]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    background: int = 7

    def config(self) -> Sam2Config:
        """Return the whole architecture, whose other parts are the same in all of them."""
        widths = [self.width * 2**stage for stage in range(4)]
        hiera = Sam2HieraDetConfig(
            hidden_size=self.width,
            num_attention_heads=self.heads,
            blocks_per_stage=list(self.blocks),
            embed_dim_per_stage=widths,
            num_attention_heads_per_stage=[self.heads * 2**stage for stage in range(4)],
            window_size_per_stage=list(self.windows),
            global_attention_blocks=list(self.global_blocks),
            window_positional_embedding_background_size=[self.background] * 2,
        )
        return Sam2Config(vision_config=Sam2VisionConfig(backbone_config=hiera, backbone_channel_list=widths[::-1]))


PUBLISHED = {
    "tiny": Hiera(width=96, blocks=(1, 2, 7, 2), heads=1, global_blocks=(5, 7, 9)),
    "small": Hiera(width=96, blocks=(1, 2, 11, 2), heads=1, global_blocks=(7, 10, 13)),
    "base_plus": Hiera(width=112, blocks=(2, 3, 16, 3), heads=2, global_blocks=(12, 16, 20), background=14),
    "large": Hiera(width=144, blocks=(2, 6, 36, 4), heads=2, global_blocks=(23, 33, 43), windows=(8, 4, 16, 8)),
}


def is_original_sam2(pretrained: Any) -> bool:
    """Say whether this is a checkpoint of the ``sam2`` package, as far as the names in it tell."""
    return mentions(pretrained, _POSITIONS)


def convert_original(path: Path) -> tuple[Sam2Config, dict[str, Any]]:
    """Return the architecture and the weights of the image part by their names in transformers.

    Args:
        path: a checkpoint of the ``sam2`` package, whose shapes tell which of the published ones it is.

    Raises:
        InputError: if it cannot be read, or is none of these.
    """
    state = read_original(path)
    positions = state.get(_POSITIONS)
    if not isinstance(positions, Tensor) or positions.ndim != 4:
        raise InputError(f"pretrained: {path} is not a checkpoint of SAM 2 (no {_POSITIONS})")
    width, blocks = positions.shape[1], _count_blocks(state)
    hiera = next((each for each in PUBLISHED.values() if (each.width, sum(each.blocks)) == (width, blocks)), None)
    if hiera is None:
        known = ", ".join(f"{name} {each.width} and {sum(each.blocks)}" for name, each in PUBLISHED.items())
        raise InputError(
            f"pretrained: {path} has an image encoder of width {width} and {blocks} blocks, expected those of a "
            f"published one ({known})"
        )
    return hiera.config(), _convert(state)


def _count_blocks(state: Mapping[str, Tensor]) -> int:
    found = (re.match(r"image_encoder\.trunk\.blocks\.(\d+)\.", name) for name in state)
    return len({match[1] for match in found if match})


def _convert(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights of the image part by their names in transformers."""
    weights = {_rename(name): value for name, value in state.items() if not name.startswith(_VIDEO_PARTS)}
    names = [f"{_POINTS}.{index}.weight" for index in range(4)]
    points: list[Any] = [weights.get(name) for name in names]
    if all(isinstance(point, Tensor) and point.shape == points[0].shape == (1, point.numel()) for point in points):
        weights[f"{_POINTS}.weight"] = torch.cat([weights.pop(name) for name in names])
    return weights


def _rename(name: str) -> str:
    if name.startswith(("sam_prompt_encoder.", "sam_mask_decoder.")):
        name = rename(name.removeprefix("sam_"))
    for pattern, replacement in _KEY_MAPPING.items():
        name = re.sub(pattern, replacement, name)
    return name
