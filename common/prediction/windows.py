"""Segment an image window by window, as MONAI's ``SlidingWindowInferer(mode="gaussian")`` does, in bounded memory.

Windows go down one column of the image after the other. What is to the left of the next column will not change any
more, and is handed on, so that logits are held for the width of a window alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

_BATCH = 4  # windows that a network gets at a time
_SIGMA = 0.125  # of the Gaussian, in widths of a window
_LEAST_WEIGHT = 1e-3


def window_starts(length: int, size: int, overlap: float) -> list[int]:
    """Return where windows begin along an axis; the last one ends where the axis does.

    Args:
        length: of the axis, at least ``size``.
        size: of a window.
        overlap: of neighbours, as a share of the size, from 0 to below 1.
    """
    if length == size:
        return [0]
    step = max(int(size * (1 - overlap)), 1)
    return [*range(0, length - size, step), length - size]


def slide(
    read: Callable[[int, int, int, int], np.ndarray],
    run: Callable[[np.ndarray], np.ndarray],
    width: int,
    height: int,
    size: int,
    overlap: float,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the logits of an image, strip by strip from the left to the right.

    Logits of windows that overlap are averaged, with weights that fall from the middle of a window to its border. An
    image that is smaller than a window is seen in the middle of zeros.

    Args:
        read: returns a part of the image, float32 ``(C, size, size)``; takes its left, upper, right and lower border.
        run: returns logits ``(B, K, size, size)`` of windows ``(B, C, size, size)``.
        width: of the image.
        height: of the image.
        size: of a window.
        overlap: of neighbours, as a share of the size, from 0 to below 1.

    Yields:
        The first column of a strip, and its logits, float32 ``(K, columns, height)``.
    """
    padded = max(width, size), max(height, size)
    left, top = (padded[0] - width) // 2, (padded[1] - height) // 2
    columns, rows = (window_starts(length, size, overlap) for length in padded)
    weights = _gaussian(size)
    places = [(x, y) for x in columns for y in rows]
    sums, counts, first = None, np.zeros((size, padded[1]), np.float32), 0
    for number in range(0, len(places), _BATCH):
        batch = places[number : number + _BATCH]
        windows = [_read_window(read, x - left, y - top, width, height, size) for x, y in batch]
        for (x, y), logits in zip(batch, run(np.stack(windows)), strict=True):
            if sums is None:
                sums = np.zeros((len(logits), size, padded[1]), np.float32)
            if x > first:
                yield from _finished(sums, counts, first, x, left, top, width, height)
                first = x
            sums[:, :, y : y + size] += logits * weights
            counts[:, y : y + size] += weights
    assert sums is not None  # there is at least one window
    yield from _finished(sums, counts, first, first + size, left, top, width, height)


def _read_window(read: Callable, x: int, y: int, width: int, height: int, size: int) -> np.ndarray:
    """Return a window that may reach beyond the image, with zeros there."""
    inside = max(x, 0), max(y, 0), min(x + size, width), min(y + size, height)
    part = read(*inside)
    if part.shape[1:] == (size, size):
        return part
    window = np.zeros((len(part), size, size), np.float32)
    window[:, inside[0] - x : inside[2] - x, inside[1] - y : inside[3] - y] = part
    return window


def _finished(
    sums: np.ndarray, counts: np.ndarray, first: int, end: int, left: int, top: int, width: int, height: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the mean logits of the columns before ``end``, and move the others to the front."""
    done = end - first
    low, high = max(first, left), min(end, left + width)
    if low < high:
        part = slice(low - first, high - first), slice(top, top + height)
        yield low - left, sums[:, *part] / counts[part]
    for array in (sums, counts):
        kept = array[..., done:, :].copy()
        array[..., : kept.shape[-2], :] = kept
        array[..., kept.shape[-2] :, :] = 0


def _gaussian(size: int) -> np.ndarray:
    """Return the weights ``(size, size)`` of the logits of a window, as ``compute_importance_map`` has them."""
    places = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    line = np.exp(places**2 / np.float32(-2 * (_SIGMA * size) ** 2))
    weights = line[:, None] * line[None]
    return np.maximum(weights, max(float(weights.min()), _LEAST_WEIGHT)).astype(np.float32)
