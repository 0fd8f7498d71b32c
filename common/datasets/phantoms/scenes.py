"""Procedural scenes with exact masks: what the stand-in teacher is pre-trained on.

A scene is a background with a handful of objects on it: closed contours given by random Fourier series, rings, thin
branching trees, and regions that differ from their surroundings in texture alone. Borders are hard or soft, light falls
off, sensors are noisy, and some scenes are seen through a round or fan-shaped field. Formula-driven contours were found
to pre-train segmentation networks as well as real images do (SegRCDB, arXiv 2309.17083).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from torch.utils.data import Dataset


def smooth_noise(rng: np.random.Generator, size: int, cells: float) -> np.ndarray:
    """Return noise in [-1, 1] of shape ``(size, size)`` whose features are about ``size / cells`` pixels wide."""
    coarse = rng.uniform(-1, 1, (max(2, round(cells)), max(2, round(cells)))).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a sinusoidal grating in [-1, 1] of shape ``(size, size)``, slightly bent."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32) / size
    angle, frequency = rng.uniform(0, np.pi), rng.uniform(3, 30)
    bend = 0.1 * smooth_noise(rng, size, 4)
    return np.sin(2 * np.pi * frequency * (np.cos(angle) * columns + np.sin(angle) * rows + bend) + rng.uniform(0, 6))


def texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a random texture in about [-1, 1] of shape ``(size, size)``."""
    kind = rng.integers(4)
    if kind == 0:
        return np.zeros((size, size), np.float32)
    if kind == 1:
        return stripes(rng, size)
    if kind == 2:
        return smooth_noise(rng, size, rng.uniform(6, 80))
    return 0.6 * smooth_noise(rng, size, rng.uniform(4, 16)) + 0.4 * smooth_noise(rng, size, rng.uniform(40, 128))


def draw_contour(rng: np.random.Generator, size: int, outline: bool = False) -> np.ndarray:
    """Return the boolean mask ``(size, size)`` of a closed contour whose radius is a random Fourier series.

    Args:
        rng: source of randomness.
        size: height and width in pixels.
        outline: draw the line alone instead of filling it.
    """
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    roughness = rng.uniform(0, 0.5)
    radius = np.ones_like(angle)
    for order in range(2, 9):
        radius += roughness * rng.normal() / order * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.15, None) * size * np.exp(rng.uniform(np.log(0.05), np.log(0.4)))
    stretch, turn = np.exp(rng.normal(0, 0.3)), rng.uniform(0, 2 * np.pi)
    x, y = radius * np.cos(angle) * stretch, radius * np.sin(angle) / stretch
    centre = rng.uniform(0.05, 0.95, 2) * size
    column = centre[0] + np.cos(turn) * x - np.sin(turn) * y
    row = centre[1] + np.sin(turn) * x + np.cos(turn) * y
    points = np.stack([column, row], axis=1)
    if rng.random() < 0.25:
        points = points[:: rng.integers(8, 30)]  # a polygon with few corners
    canvas = Image.new("1", (size, size))
    corners = [tuple(point) for point in points]
    if outline:
        width = max(2, round(rng.uniform(0.01, 0.08) * size))
        ImageDraw.Draw(canvas).line([*corners, corners[0]], fill=1, width=width, joint="curve")
    else:
        ImageDraw.Draw(canvas).polygon(corners, fill=1)
    return np.asarray(canvas)


def grow_branch(
    rng: np.random.Generator,
    draw: ImageDraw.ImageDraw,
    start: tuple[float, float],
    heading: float,
    width: float,
    length: float,
) -> None:
    """Draw one winding, tapering branch and, from it, thinner ones. Positions and sizes are in pixels."""
    x, y = start
    step = max(3.0, width / 2)
    bend = 0.0
    for _ in range(int(length / step)):
        bend = 0.8 * bend + rng.normal(0, 0.06)
        heading += bend
        end = (x + step * np.cos(heading), y + step * np.sin(heading))
        draw.line([(x, y), end], fill=1, width=max(1, round(width)))
        if width > 3:
            draw.ellipse([end[0] - width / 2, end[1] - width / 2, end[0] + width / 2, end[1] + width / 2], fill=1)
        x, y = end
        width *= 1 - 0.15 * step / length
        if width > 1.2 and rng.random() < 1.3 * step / length:
            side = heading + rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)
            grow_branch(rng, draw, end, side, width * rng.uniform(0.45, 0.85), length * rng.uniform(0.4, 0.8))


def draw_tree(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return the boolean mask ``(size, size)`` of one to four branching trees, such as vessels."""
    canvas = Image.new("1", (size, size))
    draw = ImageDraw.Draw(canvas)
    widest = np.exp(rng.uniform(np.log(0.01), np.log(0.2))) * size
    for _ in range(rng.integers(1, 5)):
        start = tuple(rng.uniform(-0.1, 1.1, 2) * size)
        towards = rng.uniform(0.2, 0.8, 2) * size
        heading = np.arctan2(towards[1] - start[1], towards[0] - start[0])
        grow_branch(rng, draw, start, heading, widest * rng.uniform(0.4, 1), size * rng.uniform(0.4, 1.4))
    return np.asarray(canvas)


# What a pixel can belong to, by id.
KINDS = ("background", "tree", "contour", "outline")
MAX_OBJECTS = 4


def _draw_object(rng: np.random.Generator, kind: int, size: int) -> np.ndarray:
    return draw_tree(rng, size) if kind == 1 else draw_contour(rng, size, outline=kind == 3)


def _soften(mask: np.ndarray, sigma: float) -> np.ndarray:
    if sigma < 0.3:
        return mask.astype(np.float32)
    image = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(float(sigma)))
    return np.asarray(image, np.float32) / 255


def _field_of_view(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return the boolean mask of a round or fan-shaped field, as fundus cameras and ultrasound probes have."""
    canvas = Image.new("1", (size, size))
    draw = ImageDraw.Draw(canvas)
    centre = rng.uniform(0.3, 0.7, 2) * size
    radius = rng.uniform(0.45, 0.8) * size
    box = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
    if rng.random() < 0.5:
        draw.ellipse(box, fill=1)
    else:
        middle, half = rng.uniform(0, 360), rng.uniform(25, 80)
        box[1::2] = [box[1] + radius / 2, box[3] + radius / 2]
        draw.pieslice(box, middle - half, middle + half, fill=1)
    return np.asarray(canvas)


def _tone(rng: np.random.Generator, difficulty: float) -> np.ndarray:
    """Return an object's difference in colour ``(3,)``: faint where it is difficult, never invisible."""
    direction = 1 + 0.5 * rng.normal(0, 1, 3)  # channels tend to darken or brighten together
    faintest, strongest = 0.4 - 0.3 * difficulty, 0.7 - 0.3 * difficulty
    size = rng.choice([-1, 1], p=[0.65, 0.35]) * np.exp(rng.uniform(np.log(faintest), np.log(strongest)))
    return (direction / np.linalg.norm(direction) * size).astype(np.float32)


def draw_scene(rng: np.random.Generator, size: int = 128) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one scene: up to three contours or outlines and, on top of them in most scenes, branching trees.

    Args:
        rng: source of everything random; the same state draws the same scene.
        size: height and width in pixels.

    Returns:
        The image, uint8 of shape ``(3, size, size)``; the number of the object that is seen at each pixel, uint8 of
        shape ``(size, size)``, 0 where there is none; and the kind (of ``KINDS``) of each number, 0 for number 0.
    """
    # Networks that start from nothing learn what an object is on plain scenes, and to find it on difficult ones.
    difficulty = rng.random()
    kinds = [0] + [int(rng.choice([2, 3], p=[0.75, 0.25])) for _ in range(rng.integers(0, MAX_OBJECTS))]
    if len(kinds) == 1 or rng.random() < 0.6:
        kinds.append(1)
    image = np.ones((3, size, size), np.float32) * rng.uniform(0.15, 0.9, 3).astype(np.float32)[:, None, None]
    image += difficulty * rng.uniform(0, 0.06) * texture(rng, size)
    instances = np.zeros((size, size), np.uint8)
    for number, kind in enumerate(kinds[1:], start=1):
        mask = _draw_object(rng, kind, size)
        alpha = _soften(mask, rng.choice([0, rng.uniform(0.5, 3) * size / 128]))
        shift = _tone(rng, difficulty)[:, None, None] + difficulty * rng.uniform(0, 0.06) * texture(rng, size)
        image = image + alpha * shift
        instances[mask] = number
    image = image * (1 + difficulty * rng.uniform(0, 0.5) * smooth_noise(rng, size, rng.uniform(2, 4)))[None]
    if rng.random() < 0.15:
        field = _field_of_view(rng, size)
        image = np.where(field, image, rng.uniform(0, 0.1))
        instances = np.where(field, instances, 0).astype(np.uint8)
    if rng.random() < 0.3:
        image = np.broadcast_to(image.mean(0, keepdims=True), image.shape)
    noise: np.ndarray = rng.normal(0, difficulty * rng.uniform(0, 0.04), image.shape).astype(np.float32)
    if rng.random() < 0.3:
        noise = noise * image * 2  # speckle grows with the signal
    image = np.clip(image + noise, 0, 1) ** np.exp(rng.normal(0, 0.25))
    image = (image * 255).astype(np.uint8)
    if rng.random() < 0.5:
        soft = ImageFilter.GaussianBlur(rng.uniform(0.4, 2) * size / 128)
        image = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).filter(soft)).transpose(2, 0, 1)
    return image, instances, np.array(kinds, np.uint8)


class SceneDataset(Dataset):
    """Scenes by number, each drawn afresh when asked for and always the same for the same seed.

    Args:
        length: number of scenes.
        size: height and width of a scene in pixels.
        seed: seed of the whole set.
    """

    def __init__(self, length: int, size: int = 128, seed: int = 0) -> None:
        self.length = length
        self.size = size
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what :func:`draw_scene` does, the kinds filled up with zeros to ``MAX_OBJECTS + 1``."""
        image, instances, kinds = draw_scene(np.random.default_rng((self.seed, index)), self.size)
        return image, instances, np.pad(kinds, (0, MAX_OBJECTS + 1 - len(kinds)))
