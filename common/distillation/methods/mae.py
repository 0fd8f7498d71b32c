"""Masked autoencoding of the student (He et al., 2022, arXiv 2111.06377): network, loss, and a trainer's batch."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from monai.networks.nets import MaskedAutoEncoderViT
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn

from common.errors import InputError
from common.students.pretrainable import encoder_of, fix_positions
from common.students.vit import ViTEncoder, add_positions, normalise


class MaskedReconstructionLoss(nn.Module):
    """Mean squared error of masked patches, each normalised by its own mean and variance (He et al., arXiv 2111.06377).

    Args:
        patch_size: side of a patch in pixels.
        epsilon: added to the variance, for patches of one colour.
    """

    def __init__(self, patch_size: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.epsilon = epsilon

    def forward(self, reconstruction: tuple[Tensor, Tensor], images: Tensor) -> Tensor:
        """Return the error, averaged over masked patches.

        Args:
            reconstruction: pixels by patch ``(B, N, patch * patch * C)``, and which patches were masked ``(B, N)``, 1
                or 0.
            images: ``(B, C, H, W)`` of N patches.
        """
        pixels, mask = reconstruction
        side = self.patch_size
        patches = rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=side, q=side)
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        target = (patches - mean) / (variance + self.epsilon).sqrt()
        errors = (pixels.float() - target).square().mean(dim=-1)
        return (errors * mask).sum() / mask.sum()


def prepare_images(
    batchdata: dict[str, Tensor],
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Return the images ``(B, C, H, W)`` of a batch as input and as target: ``prepare_batch`` of a trainer of MONAI."""
    images = batchdata[Keys.IMAGE].to(device=device, non_blocking=non_blocking, **kwargs)
    return images, images


class MaskedAutoencoder(MaskedAutoEncoderViT):
    """MONAI's ``MaskedAutoEncoderViT`` whose encoder is the student's own, layer by layer.

    The layers are shared, so what the encoder learns, the student has learned. The positions of both encoder and
    decoder are fixed sines and cosines, as in the paper. The class token serves the autoencoder alone, since the
    student has none; segmentation from a masked autoencoder does without it (Li et al., 2022, arXiv 2203.16527).

    Args:
        student: its ``encoder`` is a :class:`~common.students.vit.ViTEncoder`.
        image_size: height and width of the images in pixels.
        masking_ratio: share of the patches that the encoder does not see.
        decoder_hidden_size: width of the decoder; must be divisible by 4 and by ``decoder_num_heads``.
        decoder_depth: transformer blocks of the decoder.
        decoder_num_heads: attention heads of the decoder.

    Raises:
        InputError: if the student has another encoder, or an image would have no patch left to see or none to draw.
    """

    def __init__(
        self,
        student: nn.Module,
        image_size: int,
        masking_ratio: float = 0.75,
        decoder_hidden_size: int = 192,
        decoder_depth: int = 4,
        decoder_num_heads: int = 3,
    ) -> None:
        encoder = encoder_of(student)
        projection = encoder.patch_embed
        count = (image_size // projection.kernel_size[0]) ** 2
        if not 0 < int((1 - masking_ratio) * count) < count:
            raise InputError(
                f"masking_ratio: of the {count} patches of an image of {image_size} x {image_size} pixels, a ratio of "
                f"{masking_ratio} leaves none to see or none to draw; choose another masking_ratio or larger images"
            )
        super().__init__(
            in_channels=projection.in_channels,
            img_size=image_size,
            patch_size=projection.kernel_size,
            hidden_size=projection.out_channels,
            num_layers=0,  # the student's take their place
            num_heads=1,
            masking_ratio=masking_ratio,
            decoder_hidden_size=decoder_hidden_size,
            decoder_mlp_dim=4 * decoder_hidden_size,
            decoder_num_layers=decoder_depth,
            decoder_num_heads=decoder_num_heads,
            pos_embed_type="none",
            spatial_dims=2,
            qkv_bias=True,
        )
        fix_positions(encoder)
        self.patch_embedding = _PatchEmbedding(encoder)  # type: ignore[assignment]  # in place of MONAI's
        self.blocks = nn.Sequential(*encoder.blocks, encoder.norm)
        for block in list(self.decoder_blocks)[:-1]:
            block.norm_cross_attn = nn.Identity()  # unused; DDP would wait for its gradient
        # MONAI writes the encoder's tokens among mask tokens in single precision, which autocast does not see to.
        self.decoder_embed.register_forward_hook(lambda module, inputs, output: output.float())

    def forward(self, x: Tensor, masking_ratio: float | None = None) -> tuple[Tensor, Tensor]:
        """Reconstruct the masked patches of images from the others.

        Args:
            x: images ``(B, C, H, W)`` in [0, 1].
            masking_ratio: another one than the network's.

        Returns:
            the pixels of every patch ``(B, N, patch * patch * C)``, and which patches were masked ``(B, N)``, 1 or 0.
        """
        return super().forward(normalise(x), masking_ratio)


class _PatchEmbedding(nn.Module):
    """The patch embedding and the positions of an encoder."""

    def __init__(self, encoder: ViTEncoder) -> None:
        super().__init__()
        self.projection = encoder.patch_embed
        self.positions = encoder.pos_embed

    def forward(self, images: Tensor) -> Tensor:
        return add_positions(self.projection(images), self.positions)
