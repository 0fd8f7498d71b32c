"""MobileSAM (Zhang et al., 2023, arXiv 2306.14289) and LiteMedSAM as teachers: SAM with a small image encoder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from common.teachers.base import FeatureLayout
from common.teachers.cards import CARDS, Card, mobile_sam_card
from common.teachers.sam import TRAINED_AT, SamLikeTeacher, scale_to
from common.teachers.sam_decoder import SamDecoder
from common.teachers.tiny_sam_weights import is_lite_medsam, is_tiny_sam, load_tiny_sam
from common.teachers.tiny_vit import TinyVit

_LITE_MEDSAM_STRIDE = 4
_LITE_MEDSAM_TRAINED_AT = 256  # pixels a side


class TinySamTeacher(SamLikeTeacher):
    """The image encoder and the mask decoder of MobileSAM or LiteMedSAM as a plain segmentation network.

    The decoder is asked as that of :class:`~common.teachers.sam.SamTeacher`: a mask token for each class, no prompts.
    LiteMedSAM, of stride 4, puts out logits of the size of its images; MobileSAM, of stride 16, a quarter of it.

    Args:
        pretrained: an original ``.pth`` or ``.pt`` file; its shapes tell which of the two it is.
        num_classes: classes to tell apart, background included.
        pixel_normalisation: see :class:`~common.teachers.base.Teacher`; None takes what the weights were trained with,
            ImageNet's for MobileSAM and ``none`` for LiteMedSAM.
        options: see :class:`~common.teachers.base.Teacher`.

    Raises:
        InputError: if the weights cannot be found, read, or are of another model.
        ValueError: if ``num_classes`` or ``input_scale`` is out of range.
    """

    family = "tiny_sam"
    lora_layers = ("qkv", "proj", "lin1", "lin2")
    encoder: TinyVit

    def __init__(
        self,
        pretrained: str | os.PathLike,
        num_classes: int,
        pixel_normalisation: str | Mapping[str, Sequence[float]] | None = None,
        **options: Any,
    ) -> None:
        sam = load_tiny_sam(pretrained)
        if pixel_normalisation is None:
            pixel_normalisation = "none" if sam.vision_encoder.stride == _LITE_MEDSAM_STRIDE else "imagenet"
        super().__init__(pretrained, num_classes, pixel_normalisation=pixel_normalisation, **options)
        self.encoder = sam.vision_encoder
        self.decoder = SamDecoder(sam.mask_decoder, sam.prompt_encoder.no_mask_embed)
        self.decoder.set_classes(num_classes)
        self.position_embedding = sam.prompt_encoder.shared_embedding

    @classmethod
    def recognises(cls, pretrained: str | os.PathLike) -> bool:
        return is_tiny_sam(pretrained)

    @classmethod
    def suitable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        return max(1, (_LITE_MEDSAM_TRAINED_AT if is_lite_medsam(pretrained) else TRAINED_AT) // size)

    @classmethod
    def affordable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        half = _LITE_MEDSAM_TRAINED_AT // 2
        affordable = max(1, half // size) if is_lite_medsam(pretrained) else scale_to(TRAINED_AT // 2, size)
        return min(cls.suitable_scale(pretrained, size), affordable)

    @property
    def card(self) -> Card:
        return CARDS["lite_medsam"] if self.stride == _LITE_MEDSAM_STRIDE else mobile_sam_card(self.base_name)

    @property
    def stride(self) -> int:
        return self.encoder.stride

    @property
    def feature_layers(self) -> dict[str, FeatureLayout]:
        stages = (f"encoder.layers.{index}" for index in range(len(self.encoder.layers)))
        return dict.fromkeys((*stages, "encoder.neck"), FeatureLayout("channels_first"))

    def encode(self, pixels: Tensor) -> Tensor:
        """Return image embeddings ``(B, 256, H / stride, W / stride)`` of normalised pixels ``(B, 3, H, W)``."""
        return self.encoder(pixels)
