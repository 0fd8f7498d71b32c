"""How much there is in an image of coarse and of fine structure: what tells noise and blur from real images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FLOOR = 1e-6  # power by pixel: about that of rounding to 256 shades


def power_by_octave(images: Tensor) -> Tensor:
    """Return the decimal logarithm of the power of images in octaves of spatial frequency.

    The first octave is the finest, of waves of two to four pixels, the diagonal ones included; the last is of those of
    a quarter of the image's side. Images are weighted towards their middle (Hann), since their rims do not fit.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].

    Returns:
        ``(N, C * octaves)``, octaves of each channel together.
    """
    height, width = images.shape[-2:]
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)
    window = window.to(images.device)
    centred = images.float() - (images * window).sum((2, 3), keepdim=True) / window.sum()
    power = torch.fft.fft2(centred * window).abs().square() / window.square().sum()
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]
    frequency = (rows.square() + columns.square()).sqrt().to(images.device)  # cycles by pixel
    octaves = max(1, int(math.log2(min(height, width))) - 2)
    found = []
    for octave in range(octaves):
        upper = math.inf if octave == 0 else 2.0 ** -(octave + 1)
        inside = (frequency > 2.0 ** -(octave + 2)) & (frequency <= upper)
        found.append(power[..., inside].mean(-1))
    return (torch.stack(found, dim=2) + _FLOOR).log10().flatten(1)
