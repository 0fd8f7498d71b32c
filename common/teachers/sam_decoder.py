"""The mask decoder of Segment Anything (Kirillov et al., 2023, arXiv 2304.02643) without prompts."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class SamDecoder(nn.Module):
    """SAM's mask decoder without prompts: a mask for each of its mask tokens.

    Args:
        mask_decoder: a ``SamMaskDecoder``, whose layers are shared.
        no_mask_embed: the prompt encoder's embedding that says that no mask is given, shared too.
    """

    def __init__(self, mask_decoder: Any, no_mask_embed: nn.Embedding) -> None:
        super().__init__()
        self.no_mask_embed = no_mask_embed
        self.iou_token, self.mask_tokens = mask_decoder.iou_token, mask_decoder.mask_tokens
        self.transformer = mask_decoder.transformer
        self.upscale_conv1, self.upscale_conv2 = mask_decoder.upscale_conv1, mask_decoder.upscale_conv2
        self.upscale_layer_norm, self.activation = mask_decoder.upscale_layer_norm, mask_decoder.activation
        self.output_hypernetworks_mlps = mask_decoder.output_hypernetworks_mlps

    def set_classes(self, num_classes: int, tokens_are_classes: bool = False) -> None:
        """Have one mask token and one hypernetwork for each class.

        Each starts as the first token's, and so with the one mask that SAM draws where it may not choose; the
        background starts as its opposite. The other tokens are for the choice of three masks: MedSAM and LiteMedSAM
        were trained without them.

        Args:
            num_classes: background included.
            tokens_are_classes: whether the present tokens stand for classes already, as the stand-in's do; they are
                copied in turn.
        """
        tokens, mlps = self.mask_tokens.weight.detach(), self.output_hypernetworks_mlps
        source = [index % len(tokens) if tokens_are_classes else 0 for index in range(num_classes)]
        self.mask_tokens = nn.Embedding.from_pretrained(tokens[source].clone(), freeze=False)
        self.output_hypernetworks_mlps = nn.ModuleList(copy.deepcopy(mlps[index]) for index in source)
        if not tokens_are_classes:
            negate(self.output_hypernetworks_mlps[0].proj_out)

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


def grid_positions(position_embedding: Any, height: int, width: int) -> Tensor:
    """Return the positions ``(1, C, height, width)`` of a grid's places, by SAM's own embedding of points in [0, 1]."""
    frequencies = position_embedding.positional_embedding
    y = (torch.arange(height, device=frequencies.device, dtype=frequencies.dtype) + 0.5) / height
    x = (torch.arange(width, device=frequencies.device, dtype=frequencies.dtype) + 0.5) / width
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return position_embedding(torch.stack([columns, rows], dim=-1)).permute(2, 0, 1).unsqueeze(0)


@torch.no_grad()
def negate(layer: nn.Module) -> None:
    """Have a layer return the negative of what it returns."""
    for parameter in layer.parameters():
        parameter.neg_()
