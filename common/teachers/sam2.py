"""SAM 2 as a teacher (Ravi et al., 2024, arXiv 2408.00714): Hiera, and a decoder that sees three of its resolutions."""

from __future__ import annotations

import os
from math import lcm
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Sam2Config

from common.teachers.base import FeatureLayout
from common.teachers.cards import Card, sam2_card
from common.teachers.sam import TRAINED_AT, SamLikeTeacher
from common.teachers.sam2_weights import is_sam2, load_sam2
from common.teachers.sam_decoder import SamDecoder

_PUBLISHED_STRIDE = 32


class Sam2Teacher(SamLikeTeacher):
    """The image encoder and the mask decoder of SAM 2 or 2.1 as a plain segmentation network; videos are left out.

    The decoder is asked as that of :class:`~common.teachers.sam.SamTeacher`: a mask token for each class, no prompts.
    Hiera interpolates its positions to the size of the input itself, so that nothing here differs from it.

    Args:
        pretrained: a hub id (``facebook/sam2.1-hiera-tiny``), a folder of that format, be it of the image or the video
            model, an original checkpoint (``sam2.1_hiera_tiny.pt``), or a ``Sam2Config`` for random weights.
        num_classes: classes to tell apart, background included.
        options: see :class:`~common.teachers.base.Teacher`.

    Raises:
        InputError: if the weights cannot be found, read, or are not SAM 2's.
        ValueError: if ``num_classes`` or ``input_scale`` is out of range.
    """

    family = "sam2"
    lora_layers = ("attn.qkv", "attn.proj")  # there is another proj, where a stage begins

    encoder: Sam2Encoder

    def __init__(self, pretrained: str | os.PathLike | Sam2Config, num_classes: int, **options: Any) -> None:
        sam = load_sam2(pretrained)
        super().__init__(pretrained, num_classes, **options)
        self.encoder = Sam2Encoder(sam.vision_encoder)
        self.decoder = Sam2Decoder(sam)
        self.decoder.set_classes(num_classes)
        self.position_embedding = sam.shared_image_embedding

    @classmethod
    def recognises(cls, pretrained: str | os.PathLike) -> bool:
        return is_sam2(pretrained)

    @classmethod
    def suitable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        scale = max(1, TRAINED_AT // size)
        return scale if scale * size % _PUBLISHED_STRIDE == 0 else max(2, scale - 1)

    @property
    def card(self) -> Card | None:
        return sam2_card(self.base_name)

    @property
    def stride(self) -> int:
        """Side of the coarsest stage's places, and of the windows that the positions are repeated in."""
        hiera = self.encoder.backbone.config
        return hiera.patch_stride[0] * lcm(2**hiera.num_query_pool_stages, hiera.window_size_per_stage[0])

    @property
    def feature_layers(self) -> dict[str, FeatureLayout]:
        blocks = (f"encoder.backbone.blocks.{index}" for index in range(len(self.encoder.backbone.blocks)))
        levels = ("encoder.levels.0", "encoder.levels.1", "encoder.neck")
        grids, maps = FeatureLayout("channels_last"), FeatureLayout("channels_first")
        return {**dict.fromkeys(blocks, grids), **dict.fromkeys(levels, maps)}

    def encode(self, pixels: Tensor) -> Tensor:
        """Return three levels ``(B, 21 C, H / 16, W / 16)`` of pixels ``(B, 3, H, W)``; see :class:`Sam2Encoder`."""
        return self.encoder(pixels)


class Sam2Encoder(nn.Module):
    """Turns pixels ``(B, 3, H, W)`` into the three levels of the decoder in one tensor ``(B, 21 C, H / 16, W / 16)``.

    The pixels of the finer levels, of strides 4 and 8, are laid into channels, and lose nothing by that. ``levels`` and
    ``neck`` do nothing: they are where hooks see the two finer levels, and the embedding that is attended to.

    Args:
        vision_encoder: a ``Sam2VisionModel``, whose layers are shared.
    """

    def __init__(self, vision_encoder: Any) -> None:
        super().__init__()
        self.backbone, self.pyramid = vision_encoder.backbone, vision_encoder.neck
        self.levels = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.neck = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        stages = self.backbone(pixels).intermediate_hidden_states
        maps, _ = self.pyramid(stages)  # from the coarsest, which is left out, to the finest
        fine, middle = (level(features) for level, features in zip(self.levels, (maps[3], maps[2]), strict=True))
        return torch.cat([self.neck(maps[1]), F.pixel_unshuffle(middle, 2), F.pixel_unshuffle(fine, 4)], dim=1)


class Sam2Decoder(SamDecoder):
    """SAM 2's mask decoder without prompts and memory: a mask for each of its mask tokens.

    Args:
        sam: a ``Sam2Model``, whose layers are shared.
    """

    def __init__(self, sam: Any) -> None:
        super().__init__(sam.mask_decoder, sam.prompt_encoder.no_mask_embed)
        self.no_memory_embedding = sam.no_memory_embedding
        self.obj_score_token = sam.mask_decoder.obj_score_token
        self.conv_s0, self.conv_s1 = sam.mask_decoder.conv_s0, sam.mask_decoder.conv_s1

    def forward(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return logits ``(B, mask tokens, 4 h, 4 w)``.

        Args:
            features: of images, ``(B, 21 C, h, w)``; see :class:`Sam2Encoder`.
            positions: of the grid, ``(1, C, h, w)``; see :func:`~common.teachers.sam_decoder.grid_positions`.
        """
        channels = positions.shape[1]
        embeddings, middle, fine = features.split([channels, 4 * channels, 16 * channels], dim=1)
        tokens = torch.cat([self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight])
        embeddings = embeddings + self.no_memory_embedding.view(1, -1, 1, 1)
        queries, image = self.attend(tokens, embeddings, positions)
        image = self.upscale_conv1(image) + self.conv_s1(F.pixel_shuffle(middle, 2))
        image = self.activation(self.upscale_layer_norm(image))
        image = self.activation(self.upscale_conv2(image) + self.conv_s0(F.pixel_shuffle(fine, 4)))
        return self.draw(queries[:, 2:], image)
