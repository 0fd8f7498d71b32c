"""How alike images are: the nearest image of a set, wherever and however it was cropped or turned, and diversity.

Everything works on images reduced to a few pixels a side, where noise and compression matter little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

SIDE = 32  # pixels a side that compared images are reduced to


COARSE_SIDE = 16  # likewise, to find where in a reference to compare


CENTRE = 0.8  # share of an image's side that is looked for in others: what a small crop leaves


SCALES = (0.9, 1.0, 1.1)  # of that part in the other image, so that a crop resized back is found, and its opposite


ORIENTATIONS = 8  # four turns, mirrored or not


_FLAT = 1 / 255  # an image of less contrast, as standard deviation, has nothing that could be recognised


_FEW_POSITIONS = 256  # up to which a convolution is faster than a Fourier transform


_REACH = 2  # pixels around the coarse position that are searched


_CHUNK = 2**22  # numbers in memory at a time


class Neighbours(NamedTuple):
    """The nearest reference of each of N images.

    Attributes:
        distances: ``(N,)``, 0 for the same image, 1 for one that has nothing in common.
        rivals: ``(N,)``, distance to the nearest reference of another group than the nearest one's, 1 if there is none.
        indices: ``(N,)``, which reference is nearest, -1 where there was none to compare with.
        boxes: ``(N, 4)``, top, left, height and width in pixels of the part of the reference that matches the whole
            image; it may reach a little over the rim.
        orientations: ``(N,)``, how the image lies in the reference, see :func:`orient`.
    """

    distances: Tensor
    rivals: Tensor
    indices: Tensor
    boxes: Tensor
    orientations: Tensor


def orient(images: Tensor, orientation: int) -> Tensor:
    """Turn or mirror images ``(..., H, W)``.

    Args:
        images: of any size.
        orientation: in [0, 8); bit 2 swaps the axes, then bit 1 flips columns and bit 0 rows.
    """
    if orientation & 4:
        images = images.transpose(-2, -1)
    return images.flip([axis for bit, axis in ((1, -2), (2, -1)) if orientation & bit])


def orient_back(images: Tensor, orientation: int) -> Tensor:
    """Undo :func:`orient`."""
    images = images.flip([axis for bit, axis in ((1, -2), (2, -1)) if orientation & bit])
    return images.transpose(-2, -1) if orientation & 4 else images


@torch.no_grad()
def nearest(
    images: Tensor,
    references: Sequence[Tensor],
    groups: Sequence[str] | None = None,
    allowed: Tensor | None = None,
) -> Neighbours:
    """Find the reference that each image resembles most.

    The distance is 1 minus the highest normalised cross-correlation of the central part of the image (0.8 of its side)
    with any part of the reference, over all positions, the eight orientations and scales of 0.9, 1 and 1.1. So a
    crop, a flip, a turn or another brightness or contrast hides no copy. Each channel has its mean subtracted; all
    channels are normalised together. The position is searched for at 16 pixels a side and refined at 32.

    Args:
        images: ``(N, C, S, S)``.
        references: ``(C, H, W)``, at the scale of the images, H and W of at least S; sizes may differ.
        groups: patient or exam of each reference; each is by itself if None.
        allowed: ``(N, len(references))``, which references count for which image; all if None.

    Raises:
        ValueError: if there are no references, images are not square, a reference is smaller than they are or has
            another number of channels.
    """
    side = _check(images, references)
    device, count = images.device, len(images)
    factors = [min(1.0, pixels / side) for pixels in (COARSE_SIDE, SIDE)]
    references = [reference.to(device) for reference in references]
    coarse, fine = ([_reduce(reference, factor) for reference in references] for factor in factors)
    scenes = _Scenes(coarse)
    coarse_images, fine_images = (_reduce(images, factor) for factor in factors)
    if allowed is None:
        allowed = torch.ones(count, len(references), dtype=torch.bool)
    groups = list(range(len(references))) if groups is None else [groups.index(group) for group in groups]
    allowed, groups = allowed.to(device), torch.tensor(groups, device=device)
    candidates = []
    for scale in SCALES:
        outlines, templates = (_normalise(_centre(each, scale)) for each in (coarse_images, fine_images))
        inverse_norms = scenes.inverse_norms(outlines.shape[-1])
        whole = side * scale
        margin = (whole - templates.shape[-1] / factors[1]) / 2
        for orientation in range(ORIENTATIONS):
            scores, corners = scenes.correlate(orient(outlines, orientation), inverse_norms)
            scores = scores.masked_fill(~allowed, -torch.inf)
            first = scores.argmax(1)
            others = scores.masked_fill(groups[first][:, None] == groups, -torch.inf)
            for which, known in ((first, scores), (others.argmax(1), others)):
                start = (corners[torch.arange(count), which] * factors[1] / factors[0]).round().long()
                found, start = _refine(orient(templates, orientation), [fine[index] for index in which], start)
                found = torch.where(known.amax(1) > -torch.inf, found, -torch.inf)
                box = torch.cat([start / factors[1] - margin, torch.full_like(start, 1) * whole], dim=1)
                candidates.append((found, which, box, torch.full_like(which, orientation)))
    found, indices, boxes, orientations = (torch.stack(each, dim=1) for each in zip(*candidates, strict=True))
    rows, best = torch.arange(count), found.argmax(1)
    # In each orientation and scale, one of the two candidates is the best of those outside the group of the nearest.
    inside = groups[indices] == groups[indices[rows, best]][:, None]
    compared = allowed.any(1)
    return Neighbours(
        distances=_to_distance(found[rows, best]),
        rivals=_to_distance(found.masked_fill(inside, -torch.inf).amax(1)),
        indices=torch.where(compared, indices[rows, best], -1),
        boxes=boxes[rows, best],
        orientations=orientations[rows, best],
    )


def _to_distance(correlation: Tensor) -> Tensor:
    return 1 - correlation.clamp(0, 1)


def vendi_score(images: Tensor) -> float:
    """Return the effective number of different images: 1 if all are alike, N if no two have anything in common.

    The Vendi score (Friedman and Dieng, 2022, arXiv 2210.02410): the exponential of the Shannon entropy of the
    eigenvalues of K / N, here with the cosine similarity of the reduced images, each channel without its mean, as K.
    It grows with N: compare sets of the same number.

    Args:
        images: ``(N, C, H, W)``.

    Raises:
        ValueError: if there are no images.
    """
    if not len(images):
        raise ValueError("images must not be empty: no images have no diversity")
    vectors = _normalise(_reduce(images, min(1.0, SIDE / max(images.shape[-2:])))).flatten(1).double()
    flat = (vectors.square().sum(1, keepdim=True) < 0.5).double()  # images without contrast are all alike
    vectors = torch.cat([vectors, flat], dim=1)
    # The smaller of the two products has the same eigenvalues, but for zeros.
    product = vectors @ vectors.T if len(vectors) <= vectors.shape[1] else vectors.T @ vectors
    eigenvalues = torch.linalg.eigvalsh(product / len(vectors)).clamp(min=0)
    return float(torch.special.entr(eigenvalues).sum().exp())


class _Scenes:
    """References ready to be searched.

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
        """Return 1 / norm of every square of this side, see :func:`_inverse_norms`."""
        return _inverse_norms(self.padded, side)

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
                if direct:
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


def _refine(templates: Tensor, scenes: Sequence[Tensor], corners: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest correlation of each template with its own image near a position, and where that is.

    Args:
        templates: ``(N, C, h, h)`` with norm 1.
        scenes: N images ``(C, H, W)``.
        corners: ``(N, 2)``, the positions.
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
    cut = torch.stack(windows)
    inverse = _inverse_norms(cut, side)
    products = F.conv2d(cut.nan_to_num(0.0).reshape(1, -1, reach, reach), templates, groups=count)[0]
    best, place = (products * inverse).flatten(1).max(1)
    width = products.shape[-1]
    return best, torch.tensor(starts, device=place.device) + torch.stack([place // width, place % width], dim=1)


def _inverse_norms(images: Tensor, side: int) -> Tensor:
    """Return 1 / norm of every square of images ``(N, C, H, W)``, and 0 where it has no contrast or is not whole.

    Args:
        images: NaN where there is none.
        side: of the squares.

    Returns:
        ``(N, H - side + 1, W - side + 1)``.
    """
    pixels = images.double()
    mean, mean_square = (F.avg_pool2d(each, side, stride=1) for each in (pixels, pixels**2))
    norms = (mean_square - mean**2).sum(1).clamp(min=0).sqrt() * side
    return torch.where(norms > _least_norm(images.shape[1], side), 1 / norms, 0.0).float()


def _check(images: Tensor, references: Sequence[Tensor]) -> int:
    """Return the side of the images.

    Raises:
        ValueError: as :func:`nearest` does.
    """
    if not references:
        raise ValueError("references must not be empty: there is nothing to compare with")
    _, channels, side, width = images.shape
    if side != width:
        raise ValueError(f"images must be square, got {side} x {width}")
    for reference in references:
        if reference.shape[0] != channels or min(reference.shape[1:]) < side:
            raise ValueError(
                f"references must have {channels} channels and {side} pixels a side or more, as the images, got one of "
                f"shape {tuple(reference.shape)}"
            )
    return side


def _reduce(images: Tensor, factor: float) -> Tensor:
    """Return images ``(..., C, H, W)`` with ``factor`` times as many pixels a side."""
    size = [round(factor * length) for length in images.shape[-2:]]
    return _resize(images, size)


def _resize(images: Tensor, size: Sequence[int]) -> Tensor:
    if list(images.shape[-2:]) == list(size):
        return images.float()
    batch = images.float().reshape(-1, *images.shape[-3:])
    resized = F.interpolate(batch, size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized.reshape(*images.shape[:-2], *size)


def _centre(images: Tensor, scale: float) -> Tensor:
    """Return the central part of square images ``(N, C, S, S)``, resized by ``scale``."""
    side = images.shape[-1]
    length = round(CENTRE * side)
    start = (side - length) // 2
    part = images[..., start : start + length, start : start + length]
    return _resize(part, [round(scale * length)] * 2)


def _normalise(images: Tensor) -> Tensor:
    """Return images ``(N, C, H, W)`` with the mean of each channel 0 and norm 1, or 0 where there is no contrast."""
    centred = images - images.mean((2, 3), keepdim=True)
    norms = centred.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return torch.where(norms > _least_norm(images.shape[1], images.shape[-1]), centred / norms, 0.0)


def _least_norm(channels: int, side: int) -> float:
    return _FLAT * side * channels**0.5
