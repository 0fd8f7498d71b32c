"""A family of teachers as someone would add it: this one file, and one line in the registry."""

from __future__ import annotations

import os
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.teachers.base import FeatureLayout, Teacher


class ToyTeacher(Teacher):
    """Patches, one linear layer, and a convolution; ``pretrained`` is a file with the encoder's weights."""

    family = "toy"
    lora_layers = ("mix",)
    stride = 8
    feature_layers: ClassVar = {"encoder.neck": FeatureLayout("tokens", prefix_tokens=2)}

    def __init__(self, pretrained: str | os.PathLike, num_classes: int, **options) -> None:
        super().__init__(pretrained, num_classes, **options)
        self.encoder = ToyEncoder()
        self.encoder.load_state_dict(torch.load(pretrained, weights_only=True))
        self.decoder = nn.Sequential(nn.Conv2d(8, 8, 1), nn.GELU(), nn.Conv2d(8, num_classes, 1))

    @classmethod
    def recognises(cls, pretrained: str | os.PathLike) -> bool:
        return str(pretrained).endswith(".toy")

    def encode(self, pixels: Tensor) -> Tensor:
        grid = [side // self.stride for side in pixels.shape[2:]]
        return self.encoder(pixels)[:, 2:].transpose(1, 2).unflatten(2, grid)

    def decode(self, features: Tensor) -> Tensor:
        return self.decoder(features)


class ToyEncoder(nn.Module):
    """Gives tokens ``(B, 2 + h * w, 8)``."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.mix = nn.Linear(8, 8)
        self.neck = nn.LayerNorm(8)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        return self.neck(F.pad(self.mix(tokens), (0, 0, 2, 0)))
