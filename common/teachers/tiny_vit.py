"""TinyViT-5M, the image encoder of MobileSAM and LiteMedSAM (Wu et al., 2022, arXiv 2207.10666).

Batch normalisation is folded into the convolution before it (see ``common.teachers.tiny_sam_weights``): its statistics
stay those of the pretraining while the teacher is trained, and a saved adapter fits the base that it was made on.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionNeck

WIDTHS, DEPTHS, HEADS, WINDOWS = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)
_MERGE_STRIDES = (2, 2, 1)  # the last stage keeps the resolution: SAM's decoder wants fine features
_EMBEDDING = 256  # channels that SAM's decoder takes
PATCH_KERNELS = {1: 1, 3: 2}  # LiteMedSAM's patch embedding and MobileSAM's: side of the kernel -> stride, twice over


class TinyVit(nn.Module):
    """Turns pixels ``(B, 3, H, W)``, normalised, into embeddings ``(B, 256, H / stride, W / stride)``.

    One stage of inverted bottlenecks, three of windowed attention, and SAM's neck. Windows at the border are filled up
    with zeros that take part in the attention, as in the pretraining; so any size will do that the stride divides.

    Args:
        patch_kernel: side of the two convolutions of the patch embedding, a key of ``PATCH_KERNELS``.
    """

    def __init__(self, patch_kernel: int) -> None:
        super().__init__()
        patch_stride = PATCH_KERNELS[patch_kernel]
        self.stride = 4 * patch_stride**2
        """Side in pixels of what one place of the embeddings covers."""
        options: dict[str, Any] = {"kernel_size": patch_kernel, "stride": patch_stride, "padding": patch_kernel // 2}
        self.patch_embed = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0] // 2, **options), nn.GELU(), nn.Conv2d(WIDTHS[0] // 2, WIDTHS[0], **options)
        )
        self.layers = nn.ModuleList(_make_stage(index) for index in range(len(WIDTHS)))
        self.neck = SamVisionNeck(SamVisionConfig(hidden_size=WIDTHS[-1], output_channels=_EMBEDDING))

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.patch_embed(pixels)
        for stage in self.layers:
            features = stage(features)
        return self.neck(features.permute(0, 2, 3, 1))


class Stage(nn.Module):
    """Blocks on a map ``(B, C, h, w)``, and what hands it on, with the next stage's channels, to the next stage."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, features: Tensor) -> Tensor:
        for block in self.blocks:
            features = block(features)
        return features if self.downsample is None else self.downsample(features)


def _make_stage(index: int) -> Stage:
    width, depth = WIDTHS[index], DEPTHS[index]
    blocks: list[nn.Module]
    if index == 0:
        blocks = [InvertedBottleneck(width) for _ in range(depth)]
    else:
        blocks = [AttentionBlock(width, HEADS[index], WINDOWS[index]) for _ in range(depth)]
    is_last = index == len(WIDTHS) - 1
    return Stage(blocks, None if is_last else PatchMerging(width, WIDTHS[index + 1], _MERGE_STRIDES[index]))


def _depthwise(width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, stride, padding=1, groups=width)


class InvertedBottleneck(nn.Module):
    """Widens a map ``(B, C, h, w)`` four times, filters each channel and narrows it again, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, 4 * width, 1)
        self.conv2 = _depthwise(4 * width)
        self.conv3 = nn.Conv2d(4 * width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        inner = F.gelu(self.conv2(F.gelu(self.conv1(features))))
        return F.gelu(features + self.conv3(inner))


class PatchMerging(nn.Module):
    """Turns ``(B, C, h, w)`` into ``(B, out_width, h / stride, w / stride)``, rounded up."""

    def __init__(self, width: int, out_width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out_width, 1)
        self.conv2 = _depthwise(out_width, stride)
        self.conv3 = nn.Conv2d(out_width, out_width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(features)))))


class AttentionBlock(nn.Module):
    """Attention within windows, a filter of each channel across them, and a perceptron; on ``(B, C, h, w)``."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = _depthwise(width)
        self.mlp = Perceptron(width)

    def forward(self, features: Tensor) -> Tensor:
        tokens = features.permute(0, 2, 3, 1)
        tokens = tokens + self._attend(tokens)
        tokens = self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)

    def _attend(self, tokens: Tensor) -> Tensor:
        """Return the attention ``(B, h, w, C)`` of each window of tokens ``(B, h, w, C)``."""
        height, width = tokens.shape[1:3]
        side = self.window
        padded = F.pad(tokens, (0, 0, 0, -width % side, 0, -height % side))
        windows = padded.unflatten(2, (-1, side)).unflatten(1, (-1, side)).transpose(2, 3)  # (B, rows, columns, ...)
        mixed = self.attn(windows.flatten(3, 4).flatten(0, 2)).view(windows.shape)
        return mixed.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]


class WindowAttention(nn.Module):
    """Attention among tokens ``(B, window * window, C)``, with a bias by distance in rows and columns."""

    bias_index: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)  # each head's query, key and value lie side by side
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        distances = [abs(place.flatten()[:, None] - place.flatten()) for place in (rows, columns)]
        self.register_buffer("bias_index", distances[0] * window + distances[1], persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        heads = self.qkv(self.norm(tokens)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query, key, value = heads.chunk(3, dim=-1)
        biases = self.attention_biases[None, :, self.bias_index].to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=biases)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two layers on tokens ``(..., C)``, called as SAM calls them, so that one choice of LoRA layers fits both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.lin1 = nn.Linear(width, 4 * width)
        self.lin2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lin2(F.gelu(self.lin1(self.norm(tokens))))
