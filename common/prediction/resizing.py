"""Resize images and logits as MONAI's ``Resize`` does, in numpy, and a band at a time where they are large.

Bilinear resizing with a Gaussian before it is linear, and the same along each axis by itself. So an image ``(W, H)``
becomes ``X @ image @ Y.T``, with two sparse matrices of weights: those of a band of rows are added to those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import sparse
from scipy.special import erf

_REACH = 4.0  # of the Gaussian, in standard deviations
_BAND = 2**22  # values of an image, or of logits, that are held at full size at a time


def bands(width: int, height: int, depth: int) -> Iterator[tuple[int, int]]:
    """Yield where bands of rows begin and end, of images with ``depth`` values at each pixel."""
    rows = max(1, _BAND // (width * depth))
    for start in range(0, height, rows):
        yield start, min(start + rows, height)


def shrink(read: Callable[[int, int], np.ndarray], width: int, height: int, size: int, channels: int) -> np.ndarray:
    """Return an image of ``size`` times ``size`` pixels, smoothed before where it becomes smaller.

    That is ``monai.transforms.Resize(mode="bilinear", anti_aliasing=True)``: along each axis that shrinks by a factor
    f, a Gaussian of standard deviation (f - 1) / 2, with zeros beyond the border.

    Args:
        read: returns the rows from one index to another as float32 ``(C, W, rows)``.
        width: of the image, W.
        height: of the image.
        size: width and height of the result.
        channels: C.

    Returns:
        float32 ``(C, size, size)``, x first.
    """
    along_x, along_y = _weights(width, size, True), _weights(height, size, True).tocsc()
    result = np.zeros((channels, size, size), np.float32)
    for start, end in bands(width, height, channels):
        part = read(start, end)
        narrow = _apply(along_x, part.transpose(1, 0, 2))  # (size, C, rows)
        low = _apply(along_y[:, start:end].tocsr(), narrow.transpose(2, 1, 0))  # (size, C, size), y first
        result += low.transpose(1, 2, 0)
    return result


def enlarge(values: np.ndarray, width: int, height: int, start: int, end: int) -> np.ndarray:
    """Return rows of values ``(C, w, h)`` that are resized to another size, as ``Resize`` is inverted: bilinearly.

    Args:
        values: float32, x first.
        width: of the result.
        height: of the result.
        start: first row.
        end: the row after the last one.

    Returns:
        float32 ``(C, width, end - start)``.
    """
    along_x, along_y = _weights(values.shape[1], width), _weights(values.shape[2], height)
    tall = _apply(along_y[start:end], values.transpose(2, 0, 1))  # (rows, C, w)
    return _apply(along_x, tall.transpose(2, 1, 0)).transpose(1, 0, 2)


def _apply(weights: sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    """Return weights ``(m, n)`` times values ``(n, ...)``."""
    flat = np.ascontiguousarray(values).reshape(len(values), -1)
    return (weights @ flat).reshape(-1, *values.shape[1:])


def _neighbours(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each place of ``size`` along an axis the two of ``length`` that it lies between, and its way from the
    first to the second: as ``torch.nn.functional.interpolate`` has them, which rounds to float32 after the subtraction.
    """
    scale = float(np.float32(length) / np.float32(size))
    places = (scale * (np.arange(size) + 0.5) - 0.5).astype(np.float32)
    places = np.maximum(places, np.float32(0))
    left = np.minimum(places.astype(np.int64), length - 1)
    right = np.minimum(left + 1, length - 1)
    return left, right, np.minimum(places - left.astype(np.float32), np.float32(1))


def _weights(length: int, size: int, smooth: bool = False) -> sparse.csr_matrix:
    """Return the weights ``(size, length)`` of resizing along an axis, and of smoothing before where it shrinks."""
    left, right, share = _neighbours(length, size)
    kernel = _gaussian(max(0.0, (length / size - 1) / 2) if smooth else 0.0)
    reach = len(kernel) // 2
    rows, columns, weights = [], [], []
    for centre, part in ((left, 1 - share), (right, share)):
        near = centre[:, None] + np.arange(-reach, reach + 1)
        inside = (near >= 0) & (near < length)
        rows.append(np.broadcast_to(np.arange(size)[:, None], near.shape)[inside])
        columns.append(near[inside])
        weights.append((part[:, None] * kernel)[inside])
    places = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_matrix((np.concatenate(weights).astype(np.float32), places), (size, length))


def _gaussian(sigma: float) -> np.ndarray:
    """Return the weights of ``monai.networks.layers.GaussianFilter``: a Gaussian integrated over each pixel."""
    if sigma == 0:
        return np.ones(1, np.float32)
    tail = int(max(sigma * _REACH, 0.5) + 0.5)
    edges = (np.arange(-tail, tail + 2) - 0.5) / (np.sqrt(2) * sigma)
    return np.diff(0.5 * erf(edges)).astype(np.float32)
