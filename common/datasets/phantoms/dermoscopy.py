"""Procedural dermoscopic images: a pigmented lesion on skin, seen through a dermoscope."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from common.datasets.phantoms.scenes import smooth_noise

# How each diagnosis tends to look: mean radius (in heights of the image), raggedness of the border, contrast of the
# pattern inside, and number of colours.
_LOOKS = {
    "Common Nevus": (0.2, 0.05, 0.06, 1),
    "Atypical Nevus": (0.25, 0.1, 0.12, 2),
    "Melanoma": (0.36, 0.16, 0.2, 3),
}
DIAGNOSES = tuple(_LOOKS)  # in the order of PH2's columns and codes
_PIGMENTS = np.array([[150, 95, 62], [96, 58, 42], [88, 92, 110]])  # light brown, dark brown, blue-grey


def _draw_border(rng: np.random.Generator, image_size: tuple[int, int], radius: float, raggedness: float) -> np.ndarray:
    """Return the mask ``(height, width)`` of a lesion off the centre, its radius a random Fourier series."""
    height, width = image_size
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    series = np.ones_like(angle)
    for order in range(1, 12):
        series += raggedness * rng.normal() / order**0.7 * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    series = np.clip(series, 0.35, 1.7) * radius * height * rng.uniform(0.8, 1.2)
    stretch, turn = rng.uniform(0.8, 1.25), rng.uniform(0, np.pi)
    x, y = series * np.cos(angle) * stretch, series * np.sin(angle) / stretch
    centre = np.array([width, height]) * rng.uniform(0.42, 0.58, 2)
    points = np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], axis=1) + centre
    canvas = Image.new("L", (width, height))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in points], fill=255)
    return np.asarray(canvas) > 0


def _draw_hairs(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """Return how much light hairs take away, ``(height, width)`` in [0, 1]."""
    height, width = image_size
    canvas = Image.new("L", (width * 2, height * 2))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(0, 14)):
        t = np.linspace(0, 1, 24)[:, None]
        start, middle, end = rng.uniform(-0.1, 1.1, (3, 2)) * [width * 2, height * 2]
        middle = (start + end) / 2 + 0.2 * (middle - (start + end) / 2)  # hairs bend a little only
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        breadth = max(1, round(rng.uniform(0.003, 0.007) * height * 2))
        draw.line([tuple(point) for point in curve], fill=int(rng.integers(110, 200)), width=breadth)
    return np.asarray(canvas.reduce(2), np.float32) / 255


def draw_dermoscopy(
    rng: np.random.Generator, image_size: tuple[int, int], diagnosis: str
) -> tuple[Image.Image, Image.Image]:
    """Draw one dermoscopic image.

    Args:
        rng: source of everything random.
        image_size: height and width in pixels.
        diagnosis: "Common Nevus", "Atypical Nevus" or "Melanoma"; it sets size, border and colours.

    Returns:
        The image (RGB) and the mask of its lesion (1-bit).
    """
    height, width = image_size
    radius, raggedness, contrast, colours = _LOOKS[diagnosis]
    lesion = _draw_border(rng, image_size, radius, raggedness)

    def noise(cells: float) -> np.ndarray:
        return smooth_noise(rng, max(height, width), cells)[:height, :width]

    skin = rng.uniform([195, 150, 125], [228, 190, 165]) * (1 + 0.05 * noise(4) + 0.03 * noise(60))[..., None]
    pigment = np.zeros((height, width, 3))
    shares = np.stack([3 * noise(5) for _ in range(colours)])
    shares = np.exp(shares) / np.exp(shares).sum(0)
    for share, colour in zip(shares, _PIGMENTS[:colours], strict=True):
        pigment += share[..., None] * colour * rng.uniform(0.85, 1.15)
    pigment *= (1 + contrast * (noise(12) + noise(45)))[..., None]

    # Pigment fades out over a few pixels, more to the outside, as the lesions of PH2 do.
    soft = ImageFilter.GaussianBlur(0.008 * height)
    cover = np.asarray(Image.fromarray(lesion.astype(np.uint8) * 255).filter(soft), np.float32)[..., None] / 255
    cover *= rng.uniform(0.7, 0.95)
    image = skin * (1 - cover) + pigment * cover
    image *= 1 - _draw_hairs(rng, image_size)[..., None] * [0.75, 0.8, 0.85]

    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot((columns - width * rng.uniform(0.47, 0.53)) / width, (rows - height / 2) / width)
    image *= 1 / (1 + np.exp((distance - rng.uniform(0.5, 0.56)) / 0.02))[..., None]  # the dermoscope's dark rim
    image += rng.normal(0, 2.5, image.shape)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)), Image.fromarray(lesion)
