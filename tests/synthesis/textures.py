"""Images for the tests of this folder."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter


def textures(count: int, size: int = 32, channels: int = 3, seed: int = 0, blur: float = 2.5) -> torch.Tensor:
    """Return smooth random images ``(count, C, size, size)`` in [0, 1], each with all of that range."""
    noise = np.random.default_rng(seed).normal(size=(count, channels, size, size))
    smooth = gaussian_filter(noise, (0, 0, blur, blur), mode="wrap")
    smooth -= smooth.min((1, 2, 3), keepdims=True)
    return torch.tensor(smooth / smooth.max((1, 2, 3), keepdims=True), dtype=torch.float32)


def small_textures(count: int, channels: int = 1, seed: int = 0) -> torch.Tensor:
    """Return such images of the size of the tiny diffusion model, with grey values that files can hold."""
    return textures(count, 16, channels, seed, blur=1.5).mul(255).round() / 255
