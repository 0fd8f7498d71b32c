"""SAM-HQ as a teacher (Ke et al., 2023, arXiv 2306.01567): SAM whose decoder sees early features for fine edges."""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SamHQConfig

from common.teachers.cards import Card, sam_hq_card
from common.teachers.sam import VitSamTeacher
from common.teachers.sam_decoder import SamDecoder, negate
from common.teachers.sam_hq_weights import is_sam_hq, load_sam_hq


class SamHqTeacher(VitSamTeacher):
    """The image encoder and the mask decoder of SAM-HQ as a plain segmentation network.

    The decoder is asked as that of :class:`~common.teachers.sam.SamTeacher`. Each class has a mask token and a
    high-quality token of its own, and its logits are the sum of their masks, as SAM-HQ's are.

    Args:
        pretrained: a hub id (``syscv-community/sam-hq-vit-base``), a folder of that format, an original checkpoint
            (``sam_hq_vit_b.pth``), or a ``SamHQConfig`` for random weights.
        num_classes: classes to tell apart, background included.
        options: see :class:`~common.teachers.base.Teacher`.

    Raises:
        InputError: if the weights cannot be found, read, or are not SAM-HQ's.
        ValueError: if ``num_classes`` or ``input_scale`` is out of range.
    """

    family = "sam_hq"

    def __init__(self, pretrained: str | os.PathLike | SamHQConfig, num_classes: int, **options: Any) -> None:
        sam = load_sam_hq(pretrained)
        super().__init__(pretrained, num_classes, **options)
        self.encoder = sam.vision_encoder
        self.decoder = SamHqDecoder(sam.mask_decoder, sam.prompt_encoder.no_mask_embed)
        self.decoder.set_classes(num_classes)
        self.position_embedding = sam.shared_image_embedding

    @classmethod
    def recognises(cls, pretrained: str | os.PathLike) -> bool:
        return is_sam_hq(pretrained)

    @property
    def card(self) -> Card | None:
        return sam_hq_card(self.base_name)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return image embeddings and early features ``(B, C + D, H / patch, W / patch)`` of pixels ``(B, 3, H, W)``.

        The early ones, of the encoder's width D, are of the first layer that attends to the whole image.
        """
        hidden = self.embed_patches(pixels)
        early: list[Tensor] = []
        for layer in self.encoder.layers:
            hidden = layer(hidden)
            if layer.window_size == 0 and not early:
                early.append(hidden.permute(0, 3, 1, 2))
        return torch.cat([self.encoder.neck(hidden), *early], dim=1)


class SamHqDecoder(SamDecoder):
    """SAM-HQ's mask decoder without prompts: a mask for each of its mask tokens, with that of a high-quality token.

    Args:
        mask_decoder: a ``SamHQMaskDecoder``, whose layers are shared.
        no_mask_embed: the prompt encoder's embedding that says that no mask is given, shared too.
    """

    def __init__(self, mask_decoder: Any, no_mask_embed: nn.Embedding) -> None:
        super().__init__(mask_decoder, no_mask_embed)
        self.hq_tokens, self.hq_mlps = mask_decoder.hq_token, nn.ModuleList([mask_decoder.hq_mask_mlp])
        self.compress_vit_conv1 = mask_decoder.compress_vit_conv1
        self.compress_vit_norm = mask_decoder.compress_vit_norm
        self.compress_vit_conv2 = mask_decoder.compress_vit_conv2
        self.encoder_conv1, self.encoder_norm = mask_decoder.encoder_conv1, mask_decoder.encoder_norm
        self.encoder_conv2 = mask_decoder.encoder_conv2
        self.mask_conv1, self.mask_norm, self.mask_conv2 = (
            mask_decoder.mask_conv1, mask_decoder.mask_norm, mask_decoder.mask_conv2
        )  # fmt: skip

    def set_classes(self, num_classes: int, tokens_are_classes: bool = False) -> None:
        super().set_classes(num_classes, tokens_are_classes)
        tokens = self.hq_tokens.weight.detach().repeat(num_classes, 1)
        self.hq_tokens = nn.Embedding.from_pretrained(tokens, freeze=False)
        self.hq_mlps = nn.ModuleList(copy.deepcopy(self.hq_mlps[0]) for _ in range(num_classes))
        if not tokens_are_classes:
            negate(self.hq_mlps[0].get_submodule("proj_out"))

    def forward(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return logits ``(B, mask tokens, 4 h, 4 w)``.

        Args:
            features: image embeddings and early features, ``(B, C + D, h, w)``.
            positions: of the grid, ``(1, C, h, w)``; see :func:`~common.teachers.sam_decoder.grid_positions`.
        """
        channels, masks = positions.shape[1], len(self.mask_tokens.weight)
        embeddings, early = features[:, :channels], features[:, channels:]
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight, self.hq_tokens.weight])
        queries, image = self.attend(tokens, embeddings, positions)
        image = self.activation(self.upscale_layer_norm(self.upscale_conv1(image)))
        image = self.activation(self.upscale_conv2(image))
        fine = self._refine(image, embeddings, early)
        filters = [mlp(queries[:, 1 + masks + index]) for index, mlp in enumerate(self.hq_mlps)]
        fine_masks = torch.einsum("bkc,bchw->bkhw", torch.stack(filters, dim=1), fine)
        return self.draw(queries[:, 1:], image) + fine_masks

    def _refine(self, image: Tensor, embeddings: Tensor, early: Tensor) -> Tensor:
        """Return the features that the high-quality tokens draw on, of the size of the image."""
        image = self.mask_conv2(self.activation(self.mask_norm(self.mask_conv1(image))))
        late = self.encoder_conv2(self.activation(self.encoder_norm(self.encoder_conv1(embeddings))))
        early = self.compress_vit_conv2(self.activation(self.compress_vit_norm(self.compress_vit_conv1(early))))
        return image + late + early
