"""Procedural breast ultrasound: skin, fat, glandular tissue and muscle under a linear probe, and lesions in them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from common.datasets.phantoms.scenes import smooth_noise
from common.datasets.phantoms.ultrasound import draw_speckle

KINDS = ("benign", "malignant", "normal")

# How lesions of a kind tend to look: half the height in heights of the image, from and to; breadth by height;
# raggedness of the border; echo inside; and how much brighter or darker the tissue below them is.
_LOOKS = {
    "benign": ((0.05, 0.14), (1.2, 1.9), 0.03, (0.06, 0.28), 0.35),
    "malignant": ((0.1, 0.2), (0.9, 1.5), 0.09, (0.12, 0.3), -0.8),
}


def draw_breast(
    rng: np.random.Generator, image_size: tuple[int, int], kind: str, num_lesions: int = 1
) -> tuple[Image.Image, list[Image.Image]]:
    """Draw one ultrasound image of a breast.

    Benign lesions are smooth, wider than high, and the tissue below them is brighter; malignant ones are ragged, hazy
    and cast a shadow.

    Args:
        rng: source of everything random.
        image_size: height and width in pixels.
        kind: "benign", "malignant" or "normal"; the last one has no lesion.
        num_lesions: how many there are, side by side, if any.

    Returns:
        The image (grey), and the mask (1-bit) of each lesion.
    """
    height, width = image_size
    echo = _draw_tissue(rng, image_size)
    masks = []
    for place in range(num_lesions if kind != "normal" else 0):
        lesion = _outline(rng, image_size, kind, (place + 0.5) / num_lesions, 1 / num_lesions)
        masks.append(Image.fromarray(lesion))
        echo = _put_in(rng, echo, lesion, kind)
    depth = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    for _ in range(rng.integers(0, 3)):  # where the probe has no contact, at the sides
        edge = (np.arange(width) / width - rng.choice([0, 1])) / rng.uniform(0.04, 0.1)
        echo = echo * (1 - 0.7 * np.exp(-(edge**2)) * np.minimum(1, 3 * depth))
    echo = echo * draw_speckle(rng, image_size) * np.exp(-0.9 * depth**2)
    image = 235 * np.clip(echo, 0, 1) ** 0.75
    return Image.fromarray(image.astype(np.uint8)), masks


def _draw_tissue(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """Return the echo ``(height, width)`` in [0, 1] of a breast without a lesion."""
    height, width = image_size
    side = max(height, width)

    def noise(cells: float) -> np.ndarray:
        return smooth_noise(rng, side, cells)[:height, :width]

    depth = np.linspace(0, 1, height, dtype=np.float32)[:, None] + 0.04 * noise(3)
    gland, muscle, ribs = rng.uniform(0.16, 0.3), rng.uniform(0.6, 0.72), rng.uniform(0.86, 0.95)
    fat = 0.42 + 0.14 * noise(7) + 0.1 * noise(14)  # lobules, about as dark as some lesions
    fibres = 0.58 + 0.16 * noise(9) + 0.14 * np.sin(2 * np.pi * (depth * 14 + 1.5 * noise(5))) * noise(6)
    striae = 0.36 + 0.12 * np.sin(2 * np.pi * (depth * 24 + noise(3))) * (0.6 + 0.4 * noise(6))
    echo: np.ndarray = np.full(image_size, 0.75, np.float32)  # skin
    for layer, start in ((fat, 0.045), (fibres, gland), (striae, muscle), (0.1 + 0.05 * noise(4), ribs)):
        share = expit((depth - start) / 0.006)
        echo = echo * (1 - share) + layer * share
    for border, brightness in ((0.045, 0.3), (gland, 0.3), (muscle, 0.4), (ribs, 0.5)):  # fasciae
        echo = echo + brightness * np.exp(-(((depth - border) / 0.008) ** 2)) * (0.7 + 0.3 * noise(8))
    return np.clip(echo, 0, 1)


def _outline(rng: np.random.Generator, image_size: tuple[int, int], kind: str, place: float, room: float) -> np.ndarray:
    """Return the mask ``(height, width)`` of a lesion whose radius is a random Fourier series.

    Args:
        rng: source of everything random.
        image_size: height and width in pixels.
        kind: "benign" or "malignant".
        place: of its centre, about, in widths of the image.
        room: how much of the width it may take up.
    """
    height, width = image_size
    (smallest, largest), stretches, raggedness, *_ = _LOOKS[kind]
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    radius = np.ones_like(angle)
    for order in range(2, 14):
        radius += raggedness * rng.normal() / order**0.4 * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    high = np.exp(rng.uniform(np.log(smallest), np.log(largest))) * height
    broad = min(high * rng.uniform(*stretches), 0.42 * room * width)
    x, y = np.clip(radius, 0.5, 1.6) * (broad * np.cos(angle), high * np.sin(angle))
    turn = rng.uniform(0.06, 0.35) * rng.choice([-1, 1])
    centre = ((place + room * rng.uniform(-0.16, 0.16)) * width, rng.uniform(0.3, 0.5) * height)
    points = np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], axis=1) + centre
    canvas = Image.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in points], fill=1)
    return np.asarray(canvas)


def _put_in(rng: np.random.Generator, echo: np.ndarray, lesion: np.ndarray, kind: str) -> np.ndarray:
    """Return the echo of tissue with a lesion in it, and with what the lesion does to the tissue below."""
    height, width = echo.shape
    *_, inside, below = _LOOKS[kind]
    haze = (0.004 if kind == "benign" else 0.012) * height
    cover = gaussian_filter(lesion.astype(np.float32), haze)
    pattern = smooth_noise(rng, max(height, width), 20)[:height, :width]
    echo = echo * (1 - cover) + rng.uniform(*inside) * (1 + 0.3 * pattern) * cover
    rows = np.arange(height)[:, None]
    lowest = np.where(lesion.any(0), height - 1 - lesion[::-1].argmax(0), height)
    reach = np.clip((rows - lowest) / (0.35 * height), 0, 1)
    strength = below * rng.uniform(0.4, 1) * (rows > lowest) * (1 - reach)
    return echo * (1 + gaussian_filter(strength.astype(np.float32), 0.01 * height) * (1 - cover))
