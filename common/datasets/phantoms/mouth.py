"""Procedural photographs of the mouth: an ulcer on mucosa, with teeth at the rim and highlights of saliva."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from common.datasets.phantoms.scenes import smooth_noise


def _draw_ulcers(rng: np.random.Generator, image_size: tuple[int, int]) -> Image.Image:
    """Return the mask of one or two ulcers with ragged borders, off the centre."""
    height, width = image_size
    scale = min(height, width)
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    for index in range(rng.integers(1, 3)):
        series = np.ones_like(angle)
        for order in range(1, 8):
            series += 0.12 * rng.normal() / order * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
        series = np.clip(series, 0.5, 1.5) * scale * rng.uniform(0.09, 0.18) / (1 + index)
        stretch, turn = rng.uniform(1.1, 1.5), rng.uniform(0, np.pi)
        x, y = series * np.cos(angle) * stretch, series * np.sin(angle) / stretch
        centre = np.array([width * rng.uniform(0.3, 0.7), height * rng.uniform(0.45, 0.7)])
        points = np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], axis=1) + centre
        draw.polygon([tuple(point) for point in points], fill=255)
    return canvas


def _draw_teeth(rng: np.random.Generator, image_size: tuple[int, int]) -> Image.Image:
    """Return how much a row of teeth along the upper rim covers, 0 to 255."""
    height, width = image_size
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    breadth, left = width * rng.uniform(0.1, 0.16), -width * rng.uniform(0, 0.1)
    while left < width:
        right = left + breadth * rng.uniform(0.85, 1.1)
        bottom = height * rng.uniform(0.12, 0.19)
        draw.rounded_rectangle([left, -height * 0.2, right - 0.05 * breadth, bottom], radius=breadth / 3, fill=255)
        left = right
    return canvas.filter(ImageFilter.GaussianBlur(0.006 * height))


def draw_mouth(rng: np.random.Generator, image_size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """Draw one photograph of an oral ulcer.

    Args:
        rng: source of everything random.
        image_size: height and width in pixels.

    Returns:
        The photograph (RGB) and the mask of its ulcers (grey, 0 and 255).
    """
    height, width = image_size
    ulcers = _draw_ulcers(rng, image_size)

    def noise(cells: float) -> np.ndarray:
        return smooth_noise(rng, max(height, width), cells)[:height, :width]

    def blurred(mask: Image.Image, radius: float) -> np.ndarray:
        blur = mask.filter(ImageFilter.GaussianBlur(radius * min(height, width)))
        return np.asarray(blur, np.float32)[..., None] / 255

    folds = np.sin(12 * noise(3) + 3 * noise(8))
    mucosa = rng.uniform([185, 95, 95], [215, 130, 125]) * (1 + 0.08 * folds + 0.06 * noise(30))[..., None]
    teeth = blurred(_draw_teeth(rng, image_size), 0)
    image = mucosa * (1 - teeth) + rng.uniform([205, 195, 165], [235, 228, 205]) * teeth
    halo = blurred(ulcers, 0.03)
    image *= 1 - halo * [0.05, 0.35, 0.3]  # inflamed around the ulcer
    fibrin = rng.uniform([205, 185, 140], [228, 212, 175]) * (1 + 0.06 * noise(25) + 0.05 * noise(60))[..., None]
    cover = 0.92 * blurred(ulcers, 0.004)
    image = image * (1 - cover) + fibrin * cover

    rows, columns = np.mgrid[:height, :width]
    lamp = rng.uniform(0.3, 0.7, 2)
    image *= (1.1 - 0.7 * ((columns / width - lamp[0]) ** 2 + (rows / height - lamp[1]) ** 2))[..., None]
    wet = np.clip(noise(35) * noise(11) - 0.55, 0, 1)[..., None]
    image += 500 * wet + rng.normal(0, 3, image.shape)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)), ulcers
