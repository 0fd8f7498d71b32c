"""Any pre-trained image encoder of transformers as a teacher: DINOv2, DINOv3, Swin, ConvNeXt; with a light decoder."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from common.teachers.backbone_weights import is_backbone, load_backbone, patch_size_of
from common.teachers.base import FeatureLayout, Teacher
from common.teachers.cards import Card, backbone_card
from common.teachers.layer_names import adaptable_layers, endings

_WIDTHS = (256, 128, 64)  # of the decoder: at the features' size, at twice and at four times it


class BackboneTeacher(Teacher):
    """An image encoder without a decoder of its own, several levels of which a light decoder turns into logits.

    Args:
        pretrained: a hub id (``facebook/dinov2-small``), a folder of that format, or a config
            for random weights; see ``common.teachers.backbone_weights.MODEL_TYPES``.
        num_classes: classes to tell apart, background included.
        options: see :class:`~common.teachers.base.Teacher`.

    Raises:
        InputError: if the weights cannot be found, read, or are of another architecture.
        ValueError: if ``num_classes`` or ``input_scale`` is out of range.
    """

    family = "backbone"
    encoder: BackboneEncoder

    def __init__(self, pretrained: str | os.PathLike | PreTrainedConfig, num_classes: int, **options: Any) -> None:
        backbone = load_backbone(pretrained)
        super().__init__(pretrained, num_classes, **options)
        self.encoder = BackboneEncoder(backbone)
        self.decoder = make_decoder(sum(backbone.channels), num_classes)

    @classmethod
    def recognises(cls, pretrained: str | os.PathLike) -> bool:
        return is_backbone(pretrained)

    @classmethod
    def suitable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        """Return what turns any multiple of 16 pixels into one of the stride, at about 512 pixels of the usual 256."""
        return 1.75 if patch_size_of(pretrained) == 14 else 2

    @property
    def card(self) -> Card | None:
        return backbone_card(self.base_name)

    @property
    def lora_layers(self) -> tuple[str, ...]:  # type: ignore[override]  # the encoder's own
        """Linear layers of the attention, or where there is none, all linear layers."""
        names = adaptable_layers(self.encoder, self.lora_types)
        names = [name for name in names if not name.rpartition(".")[2].isdigit()]  # layers of a sequence
        attention = [name for name in names if "attention" in name]
        others = [name for name in names if attention and name not in attention]
        return endings(attention or names, others)

    @property
    def stride(self) -> int:
        config = self.encoder.backbone.config
        patch = getattr(config, "patch_size", 4)
        return patch * 2 ** (len(config.depths) - 1) if hasattr(config, "depths") else patch

    @property
    def feature_layers(self) -> dict[str, FeatureLayout]:
        levels = (f"encoder.levels.{index}" for index in range(len(self.encoder.levels)))
        return dict.fromkeys((*levels, "encoder.neck"), FeatureLayout("channels_first"))

    def encode(self, pixels: Tensor) -> Tensor:
        """Return all levels ``(B, C, h, w)`` of normalised pixels ``(B, 3, H, W)``; see :class:`BackboneEncoder`."""
        return self.encoder(pixels)

    def decode(self, features: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, 4 h, 4 w)`` of features ``(B, C, h, w)``."""
        return self.decoder(features)


class BackboneEncoder(nn.Module):
    """Turns pixels ``(B, 3, H, W)`` into the levels of a backbone, side by side in channels, at the size of the finest.

    ``levels`` and ``neck`` do nothing: they are where hooks see each level as it is, and all of them together.
    """

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = backbone
        self.levels = nn.ModuleList(nn.Identity() for _ in backbone.channels)
        self.neck = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.backbone(pixels).feature_maps
        maps = [level(features) for level, features in zip(self.levels, maps, strict=True)]
        size = maps[0].shape[2:]
        resized = [F.interpolate(features, size=size, mode="bilinear", align_corners=False) for features in maps[1:]]
        return self.neck(torch.cat([maps[0], *resized], dim=1))


def make_decoder(channels: int, num_classes: int) -> nn.Sequential:
    """Return what turns features ``(B, channels, h, w)`` into logits ``(B, num_classes, 4 h, 4 w)``."""
    layers: list[nn.Module] = [nn.Conv2d(channels, _WIDTHS[0], 1), nn.GroupNorm(8, _WIDTHS[0]), nn.GELU()]
    for width, following in pairwise(_WIDTHS):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.GELU()]
        layers += [nn.ConvTranspose2d(width, following, 2, stride=2), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(_WIDTHS[-1], num_classes, 1))
