"""ViT-Tiny as a student: a plain vision transformer, and a decoder that keeps thin structures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution, TransformerBlock
from monai.networks.nets.basic_unet import TwoConv
from torch import Tensor, nn


class ViTEncoder(nn.Module):
    """A plain vision transformer (Dosovitskiy et al., 2021, arXiv 2010.11929) for images of any size.

    Args:
        in_channels: channels of the images.
        patch_size: side of a patch in pixels; height and width of images must be divisible by it.
        hidden_size: width of the tokens.
        depth: number of transformer blocks.
        num_heads: attention heads of each block.
        mlp_ratio: width of a block's hidden layer, as a multiple of ``hidden_size``.
        grid_size: side of the grid that the learned positions are stored at; they are interpolated to other grids.
        dropout: probability, in attention and in the perceptrons.
    """

    def __init__(
        self,
        in_channels: int,
        patch_size: int = 16,
        hidden_size: int = 192,
        depth: int = 12,
        num_heads: int = 3,
        mlp_ratio: int = 4,
        grid_size: int = 14,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(in_channels, hidden_size, kernel_size=patch_size, stride=patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, hidden_size, grid_size, grid_size))
        fused = dropout == 0  # MONAI's fused attention goes on dropping in eval mode
        self.blocks = nn.ModuleList(
            TransformerBlock(
                hidden_size, hidden_size * mlp_ratio, num_heads, dropout, qkv_bias=True, use_flash_attention=fused
            )
            for _ in range(depth)
        )
        for block in self.blocks:  # MONAI keeps an unused norm in every block; DDP would wait for its gradient
            block.norm_cross_attn = nn.Identity()
        self.norm = nn.LayerNorm(hidden_size)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def tokens(self, images: Tensor) -> Tensor:
        """Return tokens ``(B, N, hidden_size)`` of the N patches of images ``(B, C, H, W)``, before the last norm."""
        tokens = add_positions(self.patch_embed(images), self.pos_embed)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens ``(B, hidden_size, H / patch, W / patch)`` of images ``(B, C, H, W)``."""
        tokens = self.norm(self.tokens(images))
        patch_height, patch_width = self.patch_embed.kernel_size
        height, width = images.shape[2] // patch_height, images.shape[3] // patch_width
        return tokens.transpose(1, 2).reshape(-1, tokens.shape[2], height, width)


def add_positions(grid: Tensor, positions: Tensor) -> Tensor:
    """Return tokens ``(B, h * w, C)``: a grid ``(B, C, h, w)`` plus positions ``(1, C, H, W)`` interpolated to it."""
    size = [grid.shape[2], grid.shape[3]]
    grid = grid + F.interpolate(positions, size=size, mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2)


class ViTSegmenter(nn.Module):
    """Segments with a plain ViT encoder and a convolutional decoder; by default ViT-Tiny.

    A convolutional path beside the encoder sees what a patch of 16 pixels blurs. The decoder starts with the encoder's
    tokens and adds the path to them level by level, from coarse to fine, as a U-Net does (Ronneberger et al., 2015,
    arXiv 1505.04597). The path keeps every pixel and costs little: it takes squares of 2x2 pixels as the channels of
    half the resolution, and the head puts out the logits of all four (Shi et al., 2016, arXiv 1609.05158).

    Args:
        in_channels: channels of the images.
        num_classes: classes to tell apart, background included.
        patch_size: side of a patch in pixels; height and width of images must be divisible by it.
        hidden_size: width of the encoder.
        depth: blocks of the encoder.
        num_heads: attention heads of the encoder.
        conv_channels: widths of the convolutional path at half the resolution, at a quarter, and so on.
        dropout: probability, in the encoder and before the last layer; left on in inference, it shows how
            sure the network is.

    Raises:
        ValueError: if ``num_classes`` is below 2, ``conv_channels`` is empty, or ``patch_size`` cannot be halved once
            for each of them.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        patch_size: int = 16,
        hidden_size: int = 192,
        depth: int = 12,
        num_heads: int = 3,
        conv_channels: Sequence[int] = (32, 64, 96),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2 (background and one structure), got {num_classes}")
        if not conv_channels:
            raise ValueError("conv_channels must name at least one width, got none")
        if patch_size % 2 ** len(conv_channels):
            raise ValueError(
                f"patch_size must be divisible by {2 ** len(conv_channels)} for conv_channels of {len(conv_channels)} "
                f"widths, got {patch_size}"
            )
        dropout = float(dropout)  # a config's 0 is an int, which TorchScript refuses
        self.patch_size = patch_size
        self.encoder = ViTEncoder(in_channels, patch_size, hidden_size, depth, num_heads, dropout=dropout)
        layer: dict = {"act": "gelu", "norm": ("instance", {"affine": True}), "bias": False}
        self.path = nn.ModuleList([TwoConv(2, 4 * in_channels, conv_channels[0], dropout=0.0, **layer)])
        for finer, width in pairwise(conv_channels):
            halved = Convolution(2, finer, width, strides=2, **layer)
            self.path.append(nn.Sequential(halved, Convolution(2, width, width, **layer)))
        coarse_to_fine = [hidden_size, *reversed(conv_channels)]
        self.narrow = nn.ModuleList(nn.Conv2d(*widths, kernel_size=1) for widths in pairwise(coarse_to_fine))
        self.fuse = nn.ModuleList(TwoConv(2, width, width, dropout=0.0, **layer) for width in coarse_to_fine[1:-1])
        self.fuse.append(
            Convolution(2, conv_channels[0], conv_channels[0], **layer)
        )  # a second one would cost most here
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(conv_channels[0], 4 * num_classes, kernel_size=3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, H, W)`` of images ``(B, in_channels, H, W)`` in [0, 1].

        Raises:
            ValueError: if ``patch_size`` does not divide H and W.
        """
        height, width = images.shape[2], images.shape[3]
        if height % self.patch_size != 0 or width % self.patch_size != 0:
            raise ValueError(f"image size {height}x{width} must be divisible by the patch size {self.patch_size}")
        images = normalise(images)
        joined = self.encoder(images)
        finest_first: list[Tensor] = []
        features = F.pixel_unshuffle(images, 2)
        for level in self.path:
            features = level(features)
            finest_first.append(features)
        for narrow, fuse in zip(self.narrow, self.fuse):  # noqa: B905  # TorchScript has no strict
            beside = finest_first.pop()
            joined = fuse(beside + _enlarge(narrow(joined), beside))
        return F.pixel_shuffle(self.head(self.dropout(joined)), 2)


def normalise(images: Tensor) -> Tensor:
    """Return images in [0, 1] as the student sees them."""
    return (images - 0.5) / 0.25


def _enlarge(features: Tensor, like: Tensor) -> Tensor:
    size = [like.shape[2], like.shape[3]]
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)
