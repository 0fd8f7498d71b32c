"""EfficientSAM (Xiong et al., 2023, arXiv 2312.00863) as a teacher: a small plain ViT, and a mask decoder."""

from __future__ import annotations

import copy
import math
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import InputError
from common.teachers.base import FeatureLayout
from common.teachers.cards import CARDS, Card
from common.teachers.original_checkpoints import check_fit, mentions, read_original
from common.teachers.sam import TRAINED_AT, SamLikeTeacher, resize_positions
from common.teachers.sam_decoder import negate

_MARK = "mask_decoder.final_output_upscaling_layers.0.0.weight"  # no other model has a weight of this name
_POSITIONS = "image_encoder.pos_embed"
_UNUSED = ("pixel_mean", "pixel_std")
_PATCH, _DEPTH, _HEAD = 16, 12, 64
_WIDTHS = (192, 384)  # of EfficientSAM-Ti and -S
_CHANNELS, _TOKEN_HEADS, _MASKS, _NO_PROMPTS = 256, 8, 4, 6


class EfficientSamTeacher(SamLikeTeacher):
    """The image encoder and the mask decoder of EfficientSAM-Ti or -S as a plain segmentation network.

    A mask token for each class. The prompts are those that the published code pads with where nobody prompts: six
    points that are marked as invalid.

    Args:
        pretrained: a published ``.pt`` file, such as ``efficient_sam_vitt.pt``.
        num_classes: classes to tell apart, background included.
        options: see :class:`~common.teachers.base.Teacher`.

    Raises:
        InputError: if the weights cannot be found, read, or are of another model.
        ValueError: if ``num_classes`` or ``input_scale`` is out of range.
    """

    family = "efficient_sam"
    lora_layers = ("qkv", "proj")
    stride = _PATCH

    def __init__(self, pretrained: str | os.PathLike, num_classes: int, **options: Any) -> None:
        sam = load_efficient_sam(pretrained)
        super().__init__(pretrained, num_classes, **options)
        self.encoder = sam.image_encoder
        self.frequencies = sam.prompt_encoder.pe_layer
        self.decoder = NoPromptDecoder(sam.mask_decoder, sam.prompt_encoder.no_prompt(), num_classes)

    @classmethod
    def recognises(cls, pretrained: str | os.PathLike) -> bool:
        return mentions(pretrained, _MARK)

    @property
    def card(self) -> Card | None:
        known = re.fullmatch(r"efficient_sam_vit[ts]\.pt", self.base_name or "")
        return CARDS["efficient_sam"] if known else None

    @property
    def feature_layers(self) -> dict[str, FeatureLayout]:
        blocks = (f"encoder.blocks.{index}" for index in range(_DEPTH))
        layouts = dict.fromkeys(blocks, FeatureLayout("channels_last"))
        return {**layouts, "encoder.neck": FeatureLayout("channels_first")}

    def encode(self, pixels: Tensor) -> Tensor:
        """Return image embeddings ``(B, 256, H / 16, W / 16)`` of normalised pixels ``(B, 3, H, W)``."""
        return self.encoder(pixels)

    def decode(self, features: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, 4 h, 4 w)`` of image embeddings ``(B, 256, h, w)``."""
        return self.decoder(features, self.frequencies.of_grid(*features.shape[2:]))


def load_efficient_sam(pretrained: str | os.PathLike) -> EfficientSam:
    """Load a published checkpoint of EfficientSAM-Ti or -S, in eval mode.

    Raises:
        InputError: if the file is missing, damaged, or has other weights than these.
    """
    path = Path(pretrained)
    state = {name: value for name, value in read_original(path).items() if name not in _UNUSED}
    positions = state.get(_POSITIONS)
    if _MARK not in state or not isinstance(positions, Tensor) or positions.shape[-1:] not in [(w,) for w in _WIDTHS]:
        raise InputError(f"pretrained: {path} is not a checkpoint of EfficientSAM-Ti or EfficientSAM-S")
    sam = EfficientSam(positions.shape[-1])
    check_fit(state, sam.state_dict(), f"{path} does not fit the architecture of EfficientSAM")
    sam.load_state_dict(state)
    return sam.eval()


class EfficientSam(nn.Module):
    """All of EfficientSAM that has weights, by the names of the published files.

    Args:
        width: of the encoder's tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.image_encoder = Encoder(width)
        self.prompt_encoder = Prompts()
        self.mask_decoder = MaskDecoder()


class Encoder(nn.Module):
    """A ViT with positions for 14x14 patches and a class token, which is not there; see :class:`EfficientSam`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, _PATCH, _PATCH)})
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + 14 * 14, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(_DEPTH))
        self.neck = nn.Sequential(
            nn.Conv2d(width, _CHANNELS, 1, bias=False),
            ChannelNorm(_CHANNELS, eps=1e-6),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False),
            ChannelNorm(_CHANNELS, eps=1e-6),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return embeddings ``(B, 256, H / 16, W / 16)`` of normalised pixels ``(B, 3, H, W)``."""
        patches = self.patch_embed["proj"](pixels).permute(0, 2, 3, 1)
        hidden = patches + resize_positions(self.pos_embed[:, 1:].unflatten(1, (14, 14)), patches.shape[1:3])
        for block in self.blocks:
            hidden = block(hidden)
        return self.neck(hidden.permute(0, 3, 1, 2))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of ``(B, C, h, w)``."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A block of a ViT, for tokens ``(B, h, w, C)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width)
        self.mlp = Perceptron(width)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.attn(self.norm1(hidden))
        return hidden + self.mlp(self.norm2(hidden))


class SelfAttention(nn.Module):
    """Of all places of ``(B, h, w, C)`` to each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        qkv = self.qkv(hidden).flatten(1, 2).unflatten(2, (3, -1, _HEAD))  # (B, h * w, 3, heads, channels)
        mixed = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        return self.proj(mixed.transpose(1, 2).reshape(hidden.shape))


class Perceptron(nn.Module):
    """The perceptron of a :class:`Block`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(hidden)))


class Frequencies(nn.Module):
    """Positions as sines and cosines of random frequencies."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.zeros(2, _CHANNELS // 2))

    def forward(self, points: Tensor) -> Tensor:
        """Return ``(..., 256)`` of points ``(..., 2)``, x before y, in [0, 1]."""
        angles = 2 * math.pi * ((2 * points - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def of_grid(self, height: int, width: int) -> Tensor:
        """Return ``(1, h * w, 256)``, of the middle of each place."""
        options: dict[str, Any] = {"device": self.positional_encoding_gaussian_matrix.device}
        y, x = (torch.arange(height, **options) + 0.5) / height, (torch.arange(width, **options) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        return self(torch.stack([columns, rows], dim=-1)).flatten(0, 1).unsqueeze(0)


class Prompts(nn.Module):
    """The prompt encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.pe_layer = Frequencies()
        self.invalid_points, self.point_embeddings = nn.Embedding(1, _CHANNELS), nn.Embedding(1, _CHANNELS)
        self.bbox_top_left_embeddings, self.bbox_bottom_right_embeddings = (nn.Embedding(1, _CHANNELS) for _ in "ab")

    @torch.no_grad()
    def no_prompt(self) -> Tensor:
        """Return the embedding ``(1, 256)`` of a point that is none: marked as invalid, and put at -1."""
        return self.pe_layer(torch.full((1, 2), (0.5 - 1) / TRAINED_AT)) + self.invalid_points.weight


class MaskDecoder(nn.Module):
    """The weights of the mask decoder; :class:`NoPromptDecoder` uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.iou_token, self.mask_tokens = nn.Embedding(1, _CHANNELS), nn.Embedding(_MASKS, _CHANNELS)
        self.transformer = TwoWayTransformer()
        self.final_output_upscaling_layers = nn.ModuleList([
            nn.Sequential(nn.ConvTranspose2d(_CHANNELS, 64, 2, 2), nn.GroupNorm(1, 64), nn.GELU()),
            nn.Sequential(nn.ConvTranspose2d(64, 32, 2, 2), nn.Identity(), nn.GELU()),
        ])  # fmt: skip
        self.output_hypernetworks_mlps = nn.ModuleList(Mlp(_CHANNELS, 32, 2) for _ in range(_MASKS))
        self.iou_prediction_head = Mlp(_CHANNELS, _MASKS, 2)


class NoPromptDecoder(nn.Module):
    """EfficientSAM's mask decoder without prompts: a mask for each class.

    Args:
        mask_decoder: whose layers are shared.
        no_prompt: what stands for a prompt, ``(1, C)``.
        num_classes: each gets a mask token and a hypernetwork, copied from the first of ``mask_decoder``, which the
            background's are the opposite of.
    """

    def __init__(self, mask_decoder: MaskDecoder, no_prompt: Tensor, num_classes: int) -> None:
        super().__init__()
        self.iou_token = mask_decoder.iou_token
        self.no_prompt = nn.Parameter(no_prompt)
        self.transformer = mask_decoder.transformer
        self.final_output_upscaling_layers = mask_decoder.final_output_upscaling_layers
        tokens, mlps = mask_decoder.mask_tokens.weight.detach(), mask_decoder.output_hypernetworks_mlps
        self.mask_tokens = nn.Embedding.from_pretrained(tokens[:1].repeat(num_classes, 1), freeze=False)
        self.output_hypernetworks_mlps = nn.ModuleList(copy.deepcopy(mlps[0]) for _ in range(num_classes))
        negate(self.output_hypernetworks_mlps[0].get_submodule("fc"))

    def forward(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, 4 h, 4 w)`` of features ``(B, C, h, w)``, positions ``(1, h * w, C)``."""
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight, self.no_prompt.expand(_NO_PROMPTS, -1)])
        queries, keys = self.transformer(
            tokens.expand(len(features), -1, -1), features.flatten(2).transpose(1, 2), positions
        )
        image = keys.transpose(1, 2).unflatten(2, features.shape[2:])
        for layer in self.final_output_upscaling_layers:
            image = layer(image)
        filters = [mlp(queries[:, 1 + index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)]
        return torch.einsum("bkc,bchw->bkhw", torch.stack(filters, dim=1), image)


class TwoWayTransformer(nn.Module):
    """Tokens and the places of an image attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(is_first) for is_first in (True, False))
        self.final_attn_token_to_image = Attention(_CHANNELS // 2)
        self.norm_final_attn = nn.LayerNorm(_CHANNELS)

    def forward(self, tokens: Tensor, keys: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as they are afterwards: tokens ``(B, n, C)`` and keys ``(B, h * w, C)``."""
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, positions)
        attended = self.final_attn_token_to_image(queries + tokens, keys + positions, keys)
        return self.norm_final_attn(queries + attended), keys


class TwoWayLayer(nn.Module):
    """One layer of a :class:`TwoWayTransformer`; unlike SAM's, the first one too keeps what it attends with."""

    def __init__(self, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(_CHANNELS)
        self.cross_attn_token_to_image = Attention(_CHANNELS // 2)
        self.cross_attn_image_to_token = Attention(_CHANNELS // 2)
        self.mlp = Mlp(2048, _CHANNELS, 1)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(_CHANNELS) for _ in range(4))

    def forward(self, queries: Tensor, keys: Tensor, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        if not self.is_first:
            queries = queries + tokens
        queries = self.norm1(queries + self.self_attn(queries, queries, queries))
        attended = self.cross_attn_token_to_image(queries + tokens, keys + positions, keys)
        queries = self.norm2(queries + attended)
        queries = self.norm3(queries + self.mlp(queries))
        attended = self.cross_attn_image_to_token(keys + positions, queries + tokens, queries)
        return queries, self.norm4(keys + attended)


class Attention(nn.Module):
    """Of queries to keys, in a number of channels of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(_CHANNELS, channels) for _ in range(3))
        self.out_proj = nn.Linear(channels, _CHANNELS)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        projected = (self.q_proj(queries), self.k_proj(keys), self.v_proj(values))
        heads = (x.unflatten(2, (_TOKEN_HEADS, -1)).transpose(1, 2) for x in projected)
        return self.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Layers with GELU, and one without."""

    def __init__(self, hidden: int, channels: int, depth: int) -> None:
        super().__init__()
        widths = [_CHANNELS] + [hidden] * depth
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(*pair), nn.GELU()) for pair in pairwise(widths))
        self.fc = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.fc(x)
