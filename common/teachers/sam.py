"""Segment Anything as a teacher (Kirillov et al., 2023, arXiv 2304.02643)."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SamConfig

from common.teachers.base import FeatureLayout, Teacher
from common.teachers.base_names import is_stand_in
from common.teachers.cards import CARDS, Card, sam_card
from common.teachers.encoder_parts import EncoderPart, run_parts
from common.teachers.normalisation import NORMALISATIONS, PixelNormalisation
from common.teachers.sam_weights import load_sam

logger = logging.getLogger(__name__)

TRAINED_AT = 1024  # pixels a side
STAND_IN_TRAINED_AT = 256


class SamTeacher(Teacher):
    """SAM's image encoder and mask decoder as a plain segmentation network.

    Each class has a mask token and a hypernetwork of its own, started from those of the checkpoint; the decoder gets
    the "no mask" embedding and no sparse prompt. Absolute and relative positions are interpolated to the size of the
    input; at the checkpoint's own size nothing is interpolated, and the encoder is exactly the checkpoint's.

    Args:
        pretrained: a hub id (``facebook/sam-vit-base``), a folder of that format, an original ``segment-anything`` or
            MedSAM ``.pth`` file, ``embedded`` for the stand-in teacher that ships with this package, or a ``SamConfig``
            for random weights.
        num_classes: classes to tell apart, background included.
        options: see :class:`~common.teachers.base.Teacher`.

    Raises:
        InputError: if the weights cannot be found, read, or are not SAM's.
        ValueError: if ``num_classes`` or ``input_scale`` is out of range.
    """

    family = "sam"
    lora_layers = ("qkv", "proj")

    def __init__(self, pretrained: str | os.PathLike | SamConfig, num_classes: int, **options: Any) -> None:
        sam = load_sam(pretrained)
        super().__init__(pretrained, num_classes, **options)
        usual = PixelNormalisation(**NORMALISATIONS["imagenet"]).describe()
        nobody_said = options.get("pixel_normalisation") is None and self.pixel_normalisation.describe() == usual
        if nobody_said and self.card is CARDS["medsam"]:
            logger.warning("%s: MedSAM was trained on pixels in [0, 1]; add --pixel_normalisation none", pretrained)
        self.encoder = sam.vision_encoder
        self.decoder = SamDecoder(sam.mask_decoder, sam.prompt_encoder.no_mask_embed)
        self.decoder.set_classes(num_classes)
        self.position_embedding = sam.shared_image_embedding

    @classmethod
    def suitable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        return max(1, (STAND_IN_TRAINED_AT if is_stand_in(pretrained) else TRAINED_AT) // size)

    @classmethod
    def affordable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        return min(cls.suitable_scale(pretrained, size), scale_to(TRAINED_AT // 2, size))

    @property
    def card(self) -> Card | None:
        return sam_card(self.base_name)

    @property
    def stride(self) -> int:
        return self.encoder.config.patch_size

    @property
    def feature_layers(self) -> dict[str, FeatureLayout]:
        layers = (f"encoder.layers.{index}" for index in range(len(self.encoder.layers)))
        layouts = dict.fromkeys(layers, FeatureLayout("channels_last"))
        return {**layouts, "encoder.neck": FeatureLayout("channels_first")}

    def encode(self, pixels: Tensor) -> Tensor:
        """Return image embeddings ``(B, C, H / patch, W / patch)`` of normalised pixels ``(B, 3, H, W)``.

        Hugging Face's own ``forward`` takes one size alone; this is the same, with the positions resampled.
        """
        return run_parts(self.encoder_parts(), pixels)

    def encoder_parts(self) -> list[EncoderPart]:
        """Return the patch embedding, each layer, and the neck."""
        layers = enumerate(self.encoder.layers)
        return [
            EncoderPart(("patch_embed",), self._embed_patches),
            *(EncoderPart((f"layers.{index}",), layer) for index, layer in layers),
            EncoderPart(("neck",), self.encoder.neck),
        ]

    def _embed_patches(self, pixels: Tensor) -> Tensor:
        hidden = self.encoder.patch_embed.projection(pixels).permute(0, 2, 3, 1)
        if self.encoder.pos_embed is None:
            return hidden
        return hidden + resize_positions(self.encoder.pos_embed, hidden.shape[1:3])

    def decode(self, features: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, 4 h, 4 w)`` of image embeddings ``(B, C, h, w)``."""
        return self.decoder(features, grid_positions(self.position_embedding, *features.shape[2:]))


def scale_to(affordable: int, size: int) -> int:
    """Return an even factor, at least 2, that enlarges ``size`` pixels to about ``affordable`` ones, or fewer.

    With an even one, strides of up to 32 divide what becomes of a multiple of 16.
    """
    return max(2, affordable // size // 2 * 2)


class SamDecoder(nn.Module):
    """SAM's mask decoder without prompts: a mask for each of its mask tokens.

    Args:
        mask_decoder: a ``SamMaskDecoder``, whose layers are shared.
        no_mask_embed: the prompt encoder's embedding that says that no mask is given, shared too.
    """

    def __init__(self, mask_decoder: nn.Module, no_mask_embed: nn.Embedding) -> None:
        super().__init__()
        self.no_mask_embed = no_mask_embed
        self.iou_token, self.mask_tokens = mask_decoder.iou_token, mask_decoder.mask_tokens
        self.transformer = mask_decoder.transformer
        self.upscale_conv1, self.upscale_conv2 = mask_decoder.upscale_conv1, mask_decoder.upscale_conv2
        self.upscale_layer_norm, self.activation = mask_decoder.upscale_layer_norm, mask_decoder.activation
        self.output_hypernetworks_mlps = mask_decoder.output_hypernetworks_mlps

    def set_classes(self, num_classes: int) -> None:
        """Have one mask token and one hypernetwork for each class, copied from the present ones in turn."""
        tokens = self.mask_tokens.weight.detach()
        source = [index % len(tokens) for index in range(num_classes)]
        self.mask_tokens = nn.Embedding.from_pretrained(tokens[source].clone(), freeze=False)
        mlps = self.output_hypernetworks_mlps
        self.output_hypernetworks_mlps = nn.ModuleList(copy.deepcopy(mlps[index]) for index in source)

    def forward(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """Return logits ``(B, mask tokens, 4 h, 4 w)``.

        Args:
            embeddings: of images, ``(B, C, h, w)``.
            positions: of the grid, ``(1, C, h, w)``; see :func:`grid_positions`.
        """
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        queries, image = self.attend(tokens, embeddings, positions)
        image = self.upscale_layer_norm(self.upscale_conv1(image))
        image = self.activation(self.upscale_conv2(self.activation(image)))
        return self.draw(queries[:, 1:], image)

    def attend(self, tokens: Tensor, embeddings: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens ``(B, n, C)`` and embeddings ``(B, C, h, w)`` that have attended to each other.

        Args:
            tokens: the same for all images, ``(n, C)``.
            embeddings: of images, ``(B, C, h, w)``.
            positions: of the grid, ``(1, C, h, w)``.
        """
        batch, channels, height, width = embeddings.shape
        queries, keys = self.transformer(
            point_embeddings=tokens.expand(batch, 1, -1, -1),
            image_embeddings=embeddings + self.no_mask_embed.weight.view(1, -1, 1, 1),
            image_positional_embeddings=positions.expand(batch, -1, -1, -1),
            attention_similarity=None,
        )
        return queries[:, 0], keys.transpose(2, 3).reshape(batch, channels, height, width)

    def draw(self, queries: Tensor, image: Tensor) -> Tensor:
        """Return logits ``(B, n, h, w)`` of mask tokens ``(B, n, C)`` on an enlarged image ``(B, c, h, w)``."""
        mlps = self.output_hypernetworks_mlps
        filters = torch.stack([mlp(queries[:, index]) for index, mlp in enumerate(mlps)], dim=1)
        return torch.einsum("bkc,bchw->bkhw", filters, image)


def grid_positions(position_embedding: Callable[[Tensor], Tensor], height: int, width: int) -> Tensor:
    """Return the positions ``(1, C, height, width)`` of a grid's places, by SAM's own embedding of points in [0, 1]."""
    frequencies = position_embedding.positional_embedding
    y = (torch.arange(height, device=frequencies.device, dtype=frequencies.dtype) + 0.5) / height
    x = (torch.arange(width, device=frequencies.device, dtype=frequencies.dtype) + 0.5) / width
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return position_embedding(torch.stack([columns, rows], dim=-1)).permute(2, 0, 1).unsqueeze(0)


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample absolute positions ``(1, h, w, C)`` to another grid, as ViTs are moved to other input sizes."""
    if positions.shape[1:3] == tuple(grid):
        return positions
    resized = F.interpolate(positions.permute(0, 3, 1, 2), size=grid, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)
