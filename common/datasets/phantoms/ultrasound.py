"""Procedural kidney ultrasound: a sector-shaped field with speckle and shadows, traced by two sonographers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from common.datasets.phantoms.scenes import smooth_noise
from common.datasets.readers.via import Polygon

_ECHO = {"Capsule": 0.3, "Cortex": 0.46, "Medulla": 0.13, "Central Echo Complex": 1.0}  # brightness, in drawing order


class _Kidney(NamedTuple):
    """Where a kidney lies; a point on its capsule has radius 1 in its own polar coordinates."""

    centre: np.ndarray  # x, y in pixels
    axes: np.ndarray  # half the length and half the breadth in pixels
    tilt: float
    dents: np.ndarray  # amplitude and phase of the outline's waves, (orders, 2)

    def corners(self, radius: np.ndarray | float, angle: np.ndarray) -> np.ndarray:
        """Return the pixel coordinates ``(N, 2)`` of points given in the kidney's polar coordinates."""
        orders = np.arange(2, 2 + len(self.dents))[:, None]
        outline = 1 + (self.dents[:, :1] * np.cos(orders * angle + self.dents[:, 1:])).sum(0)
        x, y = (np.stack([np.cos(angle), np.sin(angle)]) * radius * outline) * self.axes[:, None]
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1) + self.centre


def _place_kidney(rng: np.random.Generator, image_size: tuple[int, int]) -> _Kidney:
    """Return a kidney well inside the field, off its centre and tilted."""
    height, width = image_size
    length = rng.uniform(0.2, 0.26) * height
    return _Kidney(
        centre=np.array([rng.uniform(0.45, 0.55) * width, rng.uniform(0.52, 0.6) * height]),
        axes=np.array([length, length * rng.uniform(0.55, 0.68)]),
        tilt=rng.uniform(0.1, 0.5) * rng.choice([-1, 1]),
        dents=np.stack([rng.normal(0, 0.03, 3), rng.uniform(0, 2 * np.pi, 3)], axis=1),
    )


def _trace(rng: np.random.Generator, kidney: _Kidney, hilum: float, longitudinal: bool, skill: float) -> dict:
    """Return the polygon of each structure as one sonographer traces it, ``skill`` pixels off in the mean."""

    def polygon(corners: np.ndarray) -> Polygon:
        noisy = corners + rng.normal(0, skill, corners.shape) + rng.normal(0, skill, 2)
        return [(int(x), int(y)) for x, y in noisy.round()]

    def band(inner: float, outer: float, start: float, end: float) -> Polygon:
        there = np.linspace(hilum + start, hilum + end, 14)
        corners = [kidney.corners(outer, there), kidney.corners(inner, there[::-1])]
        return polygon(np.concatenate(corners))

    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    polygons = {"Capsule": polygon(kidney.corners(1.0, around))}
    if longitudinal:  # medulla and cortex leave out the hilum, and parenchyma that the sonographer is not sure of
        polygons["Cortex"] = band(0.82, 0.96, 0.5, 4.6)
        polygons["Medulla"] = band(0.56, 0.78, 0.7, 5.0)
    centre = kidney.corners(0.1, np.array([hilum]))[0] - kidney.centre
    polygons["Central Echo Complex"] = polygon(kidney.corners(0.44, around[::2]) + centre)
    return polygons


def _draw_sector(rng: np.random.Generator, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the field of the probe, and of each pixel the depth in [0, 1] and the angle in radians."""
    height, width = image_size
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    apex = np.array([width / 2, -rng.uniform(0.1, 0.25) * height])
    reach = np.hypot(columns - apex[0], rows - apex[1])
    angle = np.arctan2(columns - apex[0], rows - apex[1])
    near, far = 0.04 * height - apex[1], 0.96 * height - apex[1]
    depth = (reach - near) / (far - near)
    return (depth >= 0) & (depth <= 1) & (np.abs(angle) < rng.uniform(0.55, 0.68)), depth, angle


def draw_speckle(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """Return what multiplies the echo of an image ``(height, width)``: grains wider than high, 1 in the mean."""
    grain = np.maximum(1, 0.0025 * image_size[0])
    waves = [gaussian_filter(rng.normal(size=image_size).astype(np.float32), (grain, 1.6 * grain)) for _ in range(2)]
    speckle = np.hypot(*waves)
    return 0.45 + 0.55 * speckle / speckle.mean()


def draw_kidney(
    rng: np.random.Generator, image_size: tuple[int, int], longitudinal: bool
) -> tuple[Image.Image, list[dict[str, Polygon]]]:
    """Draw one ultrasound image of a kidney.

    Args:
        rng: source of everything random.
        image_size: height and width in pixels.
        longitudinal: show medulla and cortex; a transverse view has the capsule and the central echo complex alone.

    Returns:
        The image (grey), and for each of two sonographers the polygon of each structure.
    """
    height, width = image_size
    kidney = _place_kidney(rng, image_size)
    hilum = rng.uniform(0, 2 * np.pi)
    truth = _trace(rng, kidney, hilum, longitudinal, 0)
    tracings = [_trace(rng, kidney, hilum, longitudinal, 0.006 * height) for _ in range(2)]

    field, depth, angle = _draw_sector(rng, image_size)

    def noise(cells: float) -> np.ndarray:
        return smooth_noise(rng, max(height, width), cells)[:height, :width]

    layers = 0.5 + 0.5 * np.sin(40 * depth + 5 * noise(3)) * np.exp(-3 * depth)  # skin, fat and muscle
    echo = 0.5 + 0.3 * layers + 0.15 * noise(5)
    canvas = Image.fromarray(echo.astype(np.float32))
    draw = ImageDraw.Draw(canvas)
    for name, brightness in _ECHO.items():
        if name in truth:
            draw.polygon(truth[name], fill=brightness)
    draw.line([*truth["Capsule"], truth["Capsule"][0]], fill=1.0, width=max(1, height // 200))
    echo = gaussian_filter(np.asarray(canvas), 0.004 * height) * (1 + 0.15 * noise(14))

    echo = echo * draw_speckle(rng, image_size) * np.exp(-0.5 * depth)
    for _ in range(rng.integers(1, 3)):  # ribs and bowel gas cast shadows away from the probe
        edge = np.abs(angle - rng.uniform(0.3, 0.6) * rng.choice([-1, 1])) / rng.uniform(0.04, 0.08)
        shadow = 1 / (1 + np.exp(8 * (edge - 1))) / (1 + np.exp(-40 * (depth - rng.uniform(0.1, 0.25))))
        echo *= 1 - 0.85 * shadow
    image = np.where(field, 235 * np.clip(echo, 0, 1) ** 0.75, 0)
    return Image.fromarray(image.astype(np.uint8)), tracings
