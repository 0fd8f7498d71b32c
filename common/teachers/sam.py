"""TODO"""

from __future__ import annotations

import copy
import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SamConfig, SamModel

from common.files.provenance import base_name, note_origin
from common.teachers.sam_weights import EMBEDDED, _is_embedded, load_sam


class SamSegmenter(nn.Module):
    """SAM's image encoder and mask decoder as a plain segmentation network.

    Each class has a mask token and a hypernetwork of its own, started from those of the checkpoint; the decoder gets
    the "no mask" embedding and no sparse prompt. Absolute and relative positions are interpolated to the size of the
    input; at the checkpoint's own size nothing is interpolated, and the encoder is exactly the checkpoint's.

    Args:
        pretrained: a hub id (``facebook/sam-vit-base``), a folder of that format, an original ``segment-anything``
            ``.pth`` file, ``embedded`` for the miniature that ships with this package, or a ``SamConfig`` for random
            weights.
        num_classes: classes to tell apart, background included.
        input_scale: enlarges the images before the encoder sees them, since SAM decodes at a quarter of its input.

    Raises:
        InputError: if the weights cannot be found, read, or are not SAM's.
        ValueError: if ``num_classes`` or ``input_scale`` is out of range.
    """

    def __init__(self, pretrained: str | os.PathLike | SamConfig, num_classes: int, input_scale: float = 1) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2 (background and one structure), got {num_classes}")
        if input_scale <= 0:
            raise ValueError(f"input_scale must be positive, got {input_scale}")
        self.num_classes = num_classes
        self.input_scale = input_scale
        self._take_parts(load_sam(pretrained))
        if not isinstance(pretrained, SamConfig):
            note_origin(self, {"base": EMBEDDED if _is_embedded(pretrained) else base_name(pretrained)})
        self._make_class_tokens(num_classes)
        del self.decoder.iou_prediction_head  # nothing here asks how good a mask is

    @classmethod
    def sharing(cls, sam: SamModel) -> SamSegmenter:
        """Return a segmenter that shares the layers of ``sam``, with a class for each of its mask tokens."""
        segmenter = cls.__new__(cls)
        nn.Module.__init__(segmenter)
        segmenter.num_classes = sam.mask_decoder.num_mask_tokens
        segmenter.input_scale = 1
        segmenter._take_parts(sam)
        return segmenter

    def _take_parts(self, sam: SamModel) -> None:
        self.encoder = sam.vision_encoder
        self.decoder = sam.mask_decoder
        self.no_mask_embed = sam.prompt_encoder.no_mask_embed
        self.position_embedding = sam.shared_image_embedding
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    @property
    def patch_size(self) -> int:
        """Side of the encoder's patches in pixels."""
        return self.encoder.config.patch_size

    def _make_class_tokens(self, num_classes: int) -> None:
        tokens = self.decoder.mask_tokens.weight.detach()
        source = [index % len(tokens) for index in range(num_classes)]
        self.decoder.mask_tokens = nn.Embedding.from_pretrained(tokens[source].clone(), freeze=False)
        mlps = self.decoder.output_hypernetworks_mlps
        self.decoder.output_hypernetworks_mlps = nn.ModuleList(copy.deepcopy(mlps[index]) for index in source)
        self.decoder.num_mask_tokens = num_classes

    def encode(self, pixels: Tensor) -> Tensor:
        """Return image embeddings ``(B, C, H / patch, W / patch)`` of normalised pixels ``(B, 3, H, W)``."""
        hidden = self.encoder.patch_embed.projection(pixels).permute(0, 2, 3, 1)
        if self.encoder.pos_embed is not None:
            hidden = hidden + resize_positions(self.encoder.pos_embed, hidden.shape[1:3])
        for layer in self.encoder.layers:
            hidden = layer(hidden)
        return self.encoder.neck(hidden)

    def decode(self, embeddings: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, 4 h, 4 w)`` of image embeddings ``(B, C, h, w)``."""
        batch, channels, height, width = embeddings.shape
        tokens = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        queries, keys = self.decoder.transformer(
            point_embeddings=tokens.expand(batch, 1, -1, -1),
            image_embeddings=embeddings + self.no_mask_embed.weight.view(1, -1, 1, 1),
            image_positional_embeddings=self._grid_positions(height, width).expand(batch, -1, -1, -1),
            attention_similarity=None,
        )
        image = keys.transpose(2, 3).reshape(batch, channels, height, width)
        image = self.decoder.upscale_layer_norm(self.decoder.upscale_conv1(image))
        image = self.decoder.activation(self.decoder.upscale_conv2(self.decoder.activation(image)))
        mlps = self.decoder.output_hypernetworks_mlps
        filters = torch.stack([mlp(queries[:, 0, 1 + index]) for index, mlp in enumerate(mlps)], dim=1)
        return torch.einsum("bkc,bchw->bkhw", filters, image)

    def _grid_positions(self, height: int, width: int) -> Tensor:
        frequencies = self.position_embedding.positional_embedding
        y = (torch.arange(height, device=frequencies.device, dtype=frequencies.dtype) + 0.5) / height
        x = (torch.arange(width, device=frequencies.device, dtype=frequencies.dtype) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        return self.position_embedding(torch.stack([columns, rows], dim=-1)).permute(2, 0, 1).unsqueeze(0)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, H, W)`` of images ``(B, C, H, W)`` in [0, 1], C one or three.

        Raises:
            ValueError: if C is neither, or the enlarged height or width is no multiple of the patch size.
        """
        if images.shape[1] not in (1, 3):
            raise ValueError(f"images must have one or three channels, got {images.shape[1]}")
        height, width = images.shape[-2:]
        enlarged = (round(height * self.input_scale), round(width * self.input_scale))
        if enlarged[0] % self.patch_size or enlarged[1] % self.patch_size:
            raise ValueError(
                f"images of {height}x{width} become {enlarged[0]}x{enlarged[1]} at input_scale {self.input_scale}, "
                f"which is no multiple of the teacher's patch size {self.patch_size}"
            )
        if enlarged != (height, width):
            images = F.interpolate(images, size=enlarged, mode="bilinear", align_corners=False)
        logits = self.decode(self.encode((images.expand(-1, 3, -1, -1) - self.mean) / self.std))
        return F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample absolute positions ``(1, h, w, C)`` to another grid, as ViTs are moved to other input sizes."""
    if positions.shape[1:3] == tuple(grid):
        return positions
    resized = F.interpolate(positions.permute(0, 3, 1, 2), size=grid, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)
