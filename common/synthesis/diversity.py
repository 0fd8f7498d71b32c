"""How different images are from each other."""

from __future__ import annotations

import torch
from torch import Tensor

from common.synthesis.small_images import SIDE, normalise, shrink


def reduce(images: Tensor) -> Tensor:
    """Return images ``(..., C, H, W)`` with the few pixels that the score looks at; again, that changes nothing."""
    return shrink(images, min(1.0, SIDE / max(images.shape[-2:])))


def spread(images: Tensor, count: int) -> Tensor:
    """Return ``count`` images, or whatever a tensor lists, from all over it."""
    return images[torch.linspace(0, len(images) - 1, count).round().long()]


def vendi_score(images: Tensor) -> float:
    """Return the effective number of different images: 1 if all are alike, N if no two have anything in common.

    The Vendi score (Friedman and Dieng, 2022, arXiv 2210.02410): the exponential of the Shannon entropy of the
    eigenvalues of K / N. Here, K holds the cosine similarities of the reduced images, each channel without its mean.
    The score grows with N: compare sets of the same number.

    Args:
        images: ``(N, C, H, W)``.

    Raises:
        ValueError: if there are no images.
    """
    if not len(images):
        raise ValueError("images must not be empty: no images have no diversity")
    vectors = normalise(reduce(images)).flatten(1).double()
    flat = (vectors.square().sum(1, keepdim=True) < 0.5).double()  # images without contrast are all alike
    vectors = torch.cat([vectors, flat], dim=1)
    # The smaller of the two products has the same eigenvalues, but for zeros.
    product = vectors @ vectors.T if len(vectors) <= vectors.shape[1] else vectors.T @ vectors
    eigenvalues = torch.linalg.eigvalsh(product / len(vectors)).clamp(min=0)
    return float(torch.special.entr(eigenvalues).sum().exp())
