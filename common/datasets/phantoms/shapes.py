"""Plain shapes, one of each class beside the other, for datasets that are of no known kind."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from common.datasets.phantoms.scenes import smooth_noise

Polygon = list[tuple[float, float]]


def draw_outlines(rng: np.random.Generator, size: tuple[int, int], num_classes: int) -> dict[int, Polygon]:
    """Return the outline of one shape of each class, x before y, which do not touch each other.

    Args:
        rng: source of everything random.
        size: width and height in pixels.
        num_classes: background included.
    """
    width, height = size
    cell = width / (num_classes - 1)
    outlines = {}
    for place, index in enumerate(rng.permutation(np.arange(1, num_classes)).tolist()):
        radii = rng.uniform(0.22, 0.38, 2) * (cell, min(height, 2 * cell))
        centre = (cell * (place + 0.5), rng.uniform(0.42, 0.58) * height)
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        bumps = 1 + 0.15 * np.sin(rng.integers(2, 5) * angles + rng.uniform(0, 2 * np.pi))
        x, y = centre[0] + radii[0] * bumps * np.cos(angles), centre[1] + radii[1] * bumps * np.sin(angles)
        outlines[index] = [(round(float(a), 1), round(float(b), 1)) for a, b in zip(x, y, strict=True)]
    return outlines


def fill_outlines(outlines: dict[int, Polygon], size: tuple[int, int]) -> np.ndarray:
    """Return the class ids ``(H, W)``, uint8."""
    canvas = Image.new("L", size)
    for index, outline in outlines.items():
        ImageDraw.Draw(canvas).polygon(outline, fill=index)
    return np.asarray(canvas)


def paint(rng: np.random.Generator, ids: np.ndarray, num_classes: int, channels: int) -> np.ndarray:
    """Return an image ``(H, W, channels)``, uint8, in which each class has a tone of its own.

    Args:
        rng: source of everything random.
        ids: class ids ``(H, W)``.
        num_classes: background included.
        channels: 1 or 3.
    """
    steps = np.arange(num_classes)
    if channels == 1:
        tones = (0.25 + 0.6 * steps / (num_classes - 1))[:, None]
    else:
        hues = 2 * math.pi * (steps[:, None] / num_classes + np.arange(3) / 3)
        tones = 0.55 + 0.3 * np.cos(hues)
    height, width = ids.shape
    side = max(height, width)
    shade = 0.06 * smooth_noise(rng, side, 6)[:height, :width] + rng.normal(0, 0.03, ids.shape)
    image = tones[ids] * (1 + rng.uniform(-0.1, 0.1)) + shade[..., None]
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)
