"""Segment Anything as a teacher (Kirillov et al., 2023, arXiv 2304.02643)."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SamConfig

from common.teachers.base import FeatureLayout, Teacher
from common.teachers.base_names import is_stand_in
from common.teachers.cards import CARDS, Card, sam_card
from common.teachers.normalisation import NORMALISATIONS, PixelNormalisation
from common.teachers.sam_decoder import SamDecoder, grid_positions
from common.teachers.sam_weights import load_sam

logger = logging.getLogger(__name__)

TRAINED_AT = 1024  # pixels a side
STAND_IN_TRAINED_AT = 256


class SamLikeTeacher(Teacher):
    """What SAM and its relatives have in common: images of 1024 pixels in training, and how most call the decoder."""

    position_embedding: nn.Module

    @classmethod
    def suitable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        return max(1, TRAINED_AT // size)

    @classmethod
    def affordable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        return min(cls.suitable_scale(pretrained, size), scale_to(TRAINED_AT // 2, size))

    def decode(self, features: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, 4 h, 4 w)`` of what :meth:`encode` returned, ``(B, C, h, w)``."""
        return self.decoder(features, grid_positions(self.position_embedding, *features.shape[2:]))


class VitSamTeacher(SamLikeTeacher):
    """What SAM and SAM-HQ have in common: the encoder is a ViT."""

    lora_layers = ("qkv", "proj")
    encoder: Any  # of transformers

    @property
    def stride(self) -> int:
        return self.encoder.config.patch_size

    @property
    def feature_layers(self) -> dict[str, FeatureLayout]:
        layers = (f"encoder.layers.{index}" for index in range(len(self.encoder.layers)))
        layouts = dict.fromkeys(layers, FeatureLayout("channels_last"))
        return {**layouts, "encoder.neck": FeatureLayout("channels_first")}

    def embed_patches(self, pixels: Tensor) -> Tensor:
        """Return what the first layer gets of normalised pixels ``(B, 3, H, W)``: ``(B, H / patch, W / patch, D)``."""
        hidden = self.encoder.patch_embed.projection(pixels).permute(0, 2, 3, 1)
        if self.encoder.pos_embed is None:
            return hidden
        return hidden + resize_positions(self.encoder.pos_embed, hidden.shape[1:3])


class SamTeacher(VitSamTeacher):
    """SAM's image encoder and mask decoder as a plain segmentation network.

    Each class has a mask token and a hypernetwork of its own, started from the checkpoint's first; the decoder gets the
    "no mask" embedding and no sparse prompt. Absolute and relative positions are interpolated to the size of the
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

    def __init__(self, pretrained: str | os.PathLike | SamConfig, num_classes: int, **options: Any) -> None:
        sam = load_sam(pretrained)
        super().__init__(pretrained, num_classes, **options)
        usual = PixelNormalisation(**NORMALISATIONS["imagenet"]).describe()
        nobody_said = options.get("pixel_normalisation") is None and self.pixel_normalisation.describe() == usual
        if nobody_said and self.card is CARDS["medsam"]:
            logger.warning("%s: MedSAM was trained on pixels in [0, 1]; add --pixel_normalisation none", pretrained)
        self.encoder = sam.vision_encoder
        self.decoder = SamDecoder(sam.mask_decoder, sam.prompt_encoder.no_mask_embed)
        knows_classes = not isinstance(pretrained, SamConfig) and is_stand_in(pretrained)
        self.decoder.set_classes(num_classes, tokens_are_classes=knows_classes)
        self.position_embedding = sam.shared_image_embedding

    @classmethod
    def suitable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        return (
            max(1, STAND_IN_TRAINED_AT // size) if is_stand_in(pretrained) else super().suitable_scale(pretrained, size)
        )

    @property
    def card(self) -> Card | None:
        return sam_card(self.base_name)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return image embeddings ``(B, C, H / patch, W / patch)`` of normalised pixels ``(B, 3, H, W)``.

        Hugging Face's own ``forward`` takes one size alone; this is the same, with the positions resampled.
        """
        hidden = self.embed_patches(pixels)
        for layer in self.encoder.layers:
            hidden = layer(hidden)
        return self.encoder.neck(hidden)


def scale_to(affordable: int, size: int) -> int:
    """Return an even factor, at least 2, that enlarges ``size`` pixels to about ``affordable`` ones, or fewer.

    With an even one, strides of up to 32 divide what becomes of a multiple of 16.
    """
    return max(2, affordable // size // 2 * 2)


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample absolute positions ``(1, h, w, C)`` to another grid, as ViTs are moved to other input sizes."""
    if positions.shape[1:3] == tuple(grid):
        return positions
    resized = F.interpolate(positions.permute(0, 3, 1, 2), size=grid, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)
