"""Procedural fundus photographs: a retina with vessels that branch and taper from the optic disc."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from common.datasets.phantoms.scenes import smooth_noise


class _Segment(NamedTuple):
    """A straight piece of a vessel; the field of view is the unit disc around the origin, x points to the temple."""

    start: list[float]
    end: list[float]
    width: float  # in pixels of the 565 x 584 original
    artery: bool


class _Vessel(NamedTuple):
    """A vessel that is about to grow along ``points`` ``(N, 2)``; ``order`` counts the forks before it."""

    points: np.ndarray
    width: float
    artery: bool
    order: int


_FULL_RADIUS = 268.0  # pixels from the centre to the rim of the original's field of view
_STEP = 0.016  # length of a segment where the field of view has radius 1
_MACULA = (0.05, 0.06)
_ABSORPTION = np.array([0.12, 0.38, 0.26])  # of blood in red, green and blue: vessels show best in green


def _wander(rng: np.random.Generator, start: np.ndarray, heading: float, length: float) -> np.ndarray:
    """Return the points ``(N, 2)`` of a winding path."""
    count = max(2, int(length / _STEP))
    bends = np.convolve(rng.normal(0, 0.24, count + 4), np.ones(5) / 5, mode="valid")
    # The pull back to the first heading keeps long vessels from curling up.
    headings = heading + np.cumsum(bends) * np.exp(-np.arange(count) / 60)
    steps = _STEP * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return np.concatenate([start[None], start + np.cumsum(steps, axis=0)])


def _arcade(rng: np.random.Generator, disc: np.ndarray, upwards: float, lift: float) -> np.ndarray:
    """Return the points ``(N, 2)`` of a main vessel, which leaves the optic disc and arches around the macula."""
    corners = np.array([[0.0, 0.0], [0.02, 0.45], [0.4, 0.66], [0.95, 0.74], [1.75, 0.36]])
    corners += rng.normal(0, 0.05, corners.shape)
    corners[0] = rng.normal(0, 0.02, 2)
    t = np.linspace(0, 1, 200)[:, None]
    curve = sum(choose * (1 - t) ** (4 - k) * t**k * corners[k] for k, choose in enumerate((1, 4, 6, 4, 1)))
    for waves in (3, 6, 11):
        curve += rng.normal(0, 0.06 / waves, 2) * np.sin(np.pi * waves * t + rng.uniform(0, 6)) * np.minimum(1, 4 * t)
    curve *= [1, upwards * lift]
    travelled = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    even = np.arange(0, travelled[-1], _STEP)
    return disc + np.stack([np.interp(even, travelled, axis) for axis in curve.T], axis=1)


def _branch(rng: np.random.Generator, vessel: _Vessel, taken: set[tuple[int, int]]) -> tuple[list, list[_Vessel]]:
    """Return a vessel's segments, tapering up to where it meets another one, and the vessels that fork off."""
    segments, forks = [], []
    own_cells = set()
    side = rng.choice([-1, 1])
    next_fork = rng.uniform(0.05, 0.15)
    left_at_tip = 0.5 if vessel.order == 0 else 0.7
    for index, (start, end) in enumerate(pairwise(vessel.points.tolist())):
        cell = (math.floor(end[0] * 40), math.floor(end[1] * 40))
        crowded = vessel.order > 0 and index > 3 and cell in taken
        width = vessel.width * (1 - (1 - left_at_tip) * index / len(vessel.points))
        # The fovea has no vessels, and what is thinner than a pixel is not labelled.
        if crowded or math.hypot(*end) > 1.02 or math.dist(end, _MACULA) < 0.14 or width < 1:
            break
        own_cells.add(cell)
        segments.append(_Segment(start, end, width, vessel.artery))
        if vessel.order < 5 and index * _STEP > next_fork:
            next_fork += rng.uniform(0.07, 0.22)
            side = -side if rng.random() < 0.75 else side
            heading = math.atan2(end[1] - start[1], end[0] - start[0]) + side * rng.uniform(0.5, 1.2)
            child = width * rng.uniform(0.33, 0.75)
            length = min(1.0, 0.2 + 0.17 * child) * rng.uniform(0.6, 1.3)
            forks.append(_Vessel(_wander(rng, np.array(end), heading, length), child, vessel.artery, vessel.order + 1))
    taken |= own_cells
    return segments, forks


def _grow_vessels(rng: np.random.Generator, disc: np.ndarray) -> list[_Segment]:
    """Return the vessels of one eye, thin ones first so that thick ones are drawn over them."""
    growing = []
    for upwards in (-1, 1):
        outer = rng.random() < 0.5  # whether the artery or the vein arches higher
        for artery in (False, True):
            path = _arcade(rng, disc, upwards, rng.uniform(1.06, 1.2) if artery == outer else rng.uniform(0.84, 0.96))
            growing.append(_Vessel(path, rng.uniform(5, 7) if artery else rng.uniform(7.5, 9.5), artery, 0))
    to_the_nose, to_the_macula = rng.uniform(1.9, 4.4, 6), rng.uniform(-0.5, 0.5, 3)
    for heading in (*to_the_nose, *to_the_macula):
        path = _wander(rng, disc + rng.normal(0, 0.02, 2), heading, rng.uniform(0.4, 0.7))
        growing.append(_Vessel(path, rng.uniform(2.2, 5), bool(rng.random() < 0.5), 1))

    segments: list[_Segment] = []
    taken: set[tuple[int, int]] = set()
    while growing:  # breadth first: main vessels take their room before the thin ones fill the rest
        grown, forks = _branch(rng, growing.pop(0), taken)
        segments += grown
        growing += forks
    return sorted(segments, key=lambda segment: segment.width)


class _Camera(NamedTuple):
    """Where the unit disc of the field of view lies in the picture; ``mirror`` is -1 for the other eye."""

    height: int
    width: int
    centre: np.ndarray  # x, y
    radius: float
    mirror: float


def _draw_vessels(segments: list[_Segment], camera: _Camera, zoom: int, shaded: bool) -> Image.Image:
    """Return a picture, ``zoom`` times enlarged, of the vessels at 255, or ``shaded`` by how much light they absorb."""
    canvas = Image.new("L", (camera.width * zoom, camera.height * zoom))
    draw = ImageDraw.Draw(canvas)
    scale = zoom * camera.radius / _FULL_RADIUS
    lines = np.array([[segment.start, segment.end] for segment in segments]) * [camera.mirror, 1]
    lines = (lines * camera.radius + camera.centre + 0.5) * zoom - 0.5
    for segment, (x0, y0, x1, y1) in zip(segments, lines.reshape(-1, 4).tolist(), strict=True):
        breadth = segment.width * scale
        if breadth < 0.4 * zoom:  # invisible at this size: its label would be a guess
            continue
        absorbed = min(1.0, 0.2 + segment.width / 10) * (0.8 if segment.artery else 1.0)
        value = round(255 * absorbed) if shaded else 255
        draw.line([x0, y0, x1, y1], fill=value, width=max(1, round(breadth)))
        if breadth > 2:  # closes the gap to the next segment
            reach = (breadth - 1) / 2
            draw.ellipse([x1 - reach, y1 - reach, x1 + reach, y1 + reach], fill=value)
        if shaded and segment.artery and segment.width > 4:  # the bright reflex along an artery
            draw.line([x0, y0, x1, y1], fill=round(0.75 * value), width=max(1, round(breadth / 4)))
    return canvas


def _paint_retina(rng: np.random.Generator, camera: _Camera, disc: np.ndarray) -> np.ndarray:
    """Return the fundus without its vessels, ``(height, width, 3)`` in [0, 255]."""
    x, y = _field_coordinates(camera)

    def noise(cells: float) -> np.ndarray:
        return smooth_noise(rng, max(camera.height, camera.width), cells)[: camera.height, : camera.width]

    def spot(centre: np.ndarray, size: float, softness: float) -> np.ndarray:
        """Return a soft-edged, slightly upright ellipse in [0, 1]."""
        return 1 / (1 + np.exp((np.hypot(x - centre[0], (y - centre[1]) / 1.1) / size - 1) / softness))

    colour = rng.uniform(150, 210) * np.array([1, rng.uniform(0.43, 0.56), rng.uniform(0.24, 0.35)])
    light = 1.08 - 0.25 * (x**2 + y**2) + 0.1 * noise(3) + 0.04 * noise(9)
    tint, mottle = 0.07 * noise(4), 0.04 * noise(40) + 0.03 * noise(90)
    retina = colour * light[..., None] * np.stack([1 + tint, 1 - tint + mottle, 1 - 2 * tint + mottle], axis=-1)
    macula = rng.uniform(0.6, 1.2) * np.exp(-((x - _MACULA[0]) ** 2 + (y - _MACULA[1]) ** 2) / 0.17**2)
    retina *= 1 - macula[..., None] * [0.2, 0.32, 0.3]
    exposure = 0.6 + 0.4 * colour[0] / 205
    cup = disc + rng.normal(0, 0.02, 2)
    for centre, size, softness, glow in ((disc, 0.13, 0.06, [250, 205, 110]), (cup, 0.055, 0.25, [255, 240, 170])):
        weight = 0.85 * spot(centre, size, softness)[..., None]
        retina = retina * (1 - weight) + exposure * np.array(glow) * weight
    return retina


def _field_coordinates(camera: _Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of every pixel where the field of view is the unit disc."""
    rows, columns = np.mgrid[: camera.height, : camera.width].astype(np.float32)
    return camera.mirror * (columns - camera.centre[0]) / camera.radius, (rows - camera.centre[1]) / camera.radius


def draw_fundus(rng: np.random.Generator, image_size: tuple[int, int]) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Draw one fundus photograph.

    Args:
        rng: source of everything random.
        image_size: height and width in pixels.

    Returns:
        The photograph (RGB), its vessels and its field of view (both grey, 0 and 255).
    """
    height, width = image_size
    radius = 0.474 * min(height, width)
    centre = np.array([width - 1, height - 1]) / 2 + rng.normal(0, 0.01, 2) * radius
    camera = _Camera(height, width, centre, radius, mirror=rng.choice([-1.0, 1.0]))
    disc = np.array([-0.78, -0.04]) + rng.normal(0, 0.03, 2)

    retina = _paint_retina(rng, camera, disc)
    segments = _grow_vessels(rng, disc)
    absorbed = _draw_vessels(segments, camera, zoom=2, shaded=True).reduce(2)
    absorbed = absorbed.filter(ImageFilter.GaussianBlur(0.8 * radius / _FULL_RADIUS))
    retina *= np.exp(-rng.uniform(0.6, 1.2) * _ABSORPTION * (np.asarray(absorbed, np.float32)[..., None] / 255))

    rim = (1 - np.hypot(*_field_coordinates(camera))) * radius  # pixels to the border, negative outside
    surround = np.array([8.0, 6.5, 6.5])  # a camera's black
    image = surround + (retina - surround) * np.clip((rim + 1) / 2, 0, 1)[..., None]
    image += rng.normal(0, 1, image.shape) * np.where(rim >= 0, 3.0, 0.8)[..., None]

    field = rim >= 0
    vessels = np.asarray(_draw_vessels(segments, camera, zoom=1, shaded=False))
    return (
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)),
        Image.fromarray(np.where(field, vessels, 0).astype(np.uint8)),
        Image.fromarray(field.astype(np.uint8) * 255),
    )
