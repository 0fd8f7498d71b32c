"""Normalised cross-correlation of small images with every part of larger ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from common.synthesis.small_images import least_norm

_FEW_POSITIONS = 256  # up to which a convolution is faster than a Fourier transform
_REACH = 2  # pixels around a position that are searched to refine it
_CHUNK = 2**22  # numbers in memory at a time


class Scenes:
    """Images ready to be searched for others.

    Args:
        images: ``(C, H, W)`` of any size; they are padded to a common one that suits the Fourier transform.
    """

    def __init__(self, images: Sequence[Tensor]) -> None:
        height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
        self.padded = torch.stack(
            [F.pad(each, (0, width - each.shape[2], 0, height - each.shape[1]), value=torch.nan) for each in images]
        )
        self.pixels = self.padded.nan_to_num(0.0)
        self.shape = (next_fast_len(height, real=True), next_fast_len(width, real=True))
        self.spectra = torch.fft.rfft2(self.pixels, s=self.shape)

    def inverse_norms(self, side: int) -> Tensor:
        """Return what the function :func:`inverse_norms` returns of these images."""
        return inverse_norms(self.padded, side)

    def correlate(self, templates: Tensor, inverse_norms: Tensor) -> tuple[Tensor, Tensor]:
        """Return the highest correlation of N templates with R images ``(N, R)``, and the corners ``(N, R, 2)`` there.

        Args:
            templates: ``(N, C, h, w)`` with norm 1.
            inverse_norms: of the images' squares of that size.
        """
        height, width = inverse_norms.shape[1:]
        direct = height * width <= _FEW_POSITIONS
        size = max(1, _CHUNK // (height * width if direct else templates.shape[1] * self.shape[0] * self.shape[1]))
        scores, places = [], []
        for chunk in templates.split(size):
            step = max(1, size // len(chunk))
            spectra = None if direct else torch.fft.rfft2(chunk, s=self.shape).conj()
            results = []
            for start in range(0, len(self.pixels), step):
                part = slice(start, start + step)
                if spectra is None:
                    products = F.conv2d(self.pixels[part], chunk).transpose(0, 1)
                else:
                    products = self._multiply(spectra, part)[..., :height, :width]
                results.append((products * inverse_norms[part]).flatten(2).max(2))
            scores.append(torch.cat([each.values for each in results], dim=1))
            places.append(torch.cat([each.indices for each in results], dim=1))
        place = torch.cat(places)
        return torch.cat(scores), torch.stack([place // width, place % width], dim=2)

    def _multiply(self, spectra: Tensor, part: slice) -> Tensor:
        """Return the correlations of templates, by their spectra, with some images at every position."""
        product = spectra[:, None, 0] * self.spectra[None, part, 0]
        for channel in range(1, spectra.shape[1]):
            product += spectra[:, None, channel] * self.spectra[None, part, channel]
        return torch.fft.irfft2(product, s=self.shape)


def correlate_near(templates: Tensor, scenes: Sequence[Tensor], corners: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest correlation of each template with its own image near a position, and the corner there.

    Args:
        templates: ``(N, C, h, h)`` with norm 1.
        scenes: N images ``(C, H, W)``.
        corners: ``(N, 2)``, the positions.

    Returns:
        correlations ``(N,)`` and corners ``(N, 2)``.
    """
    count, _, side, _ = templates.shape
    reach = 2 * _REACH + side
    windows, starts = [], []
    for scene, corner in zip(scenes, corners.tolist(), strict=True):
        size = [min(reach, length) for length in scene.shape[1:]]
        start = [max(0, min(place - _REACH, n - m)) for place, n, m in zip(corner, scene.shape[1:], size, strict=True)]
        window = scene[:, start[0] : start[0] + size[0], start[1] : start[1] + size[1]]
        windows.append(F.pad(window, (0, reach - size[1], 0, reach - size[0]), value=torch.nan))
        starts.append(start)
    padded = torch.stack(windows)
    products = F.conv2d(padded.nan_to_num(0.0).reshape(1, -1, reach, reach), templates, groups=count)[0]
    best, place = (products * inverse_norms(padded, side)).flatten(1).max(1)
    width = products.shape[-1]
    return best, torch.tensor(starts, device=place.device) + torch.stack([place // width, place % width], dim=1)


def inverse_norms(images: Tensor, side: int) -> Tensor:
    """Return 1 / norm of every square of images, and 0 where a square has no contrast or is not within the image.

    Args:
        images: ``(N, C, H, W)``, NaN outside the image.
        side: of the squares.

    Returns:
        ``(N, H - side + 1, W - side + 1)``.
    """
    pixels = images.double()
    mean, mean_square = (F.avg_pool2d(each, side, stride=1) for each in (pixels, pixels**2))
    norms = (mean_square - mean**2).sum(1).clamp(min=0).sqrt() * side
    return torch.where(norms > least_norm(images.shape[1], side), 1 / norms, 0.0).float()
