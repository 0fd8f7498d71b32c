"""Shapes of labelme, which writes one JSON for each image."""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from common.datasets.readers.polygons.annotations import LABELME, Annotations, Region
from common.datasets.readers.polygons.corners import corners_of, numbers
from common.datasets.readers.polygons.shapes import Ellipse, Outline, Patch, Shape

KNOWN_SHAPES = "a polygon, rectangle, circle or mask"


def is_labelme(content: Any) -> bool:
    """Tell whether JSON has the shapes of an image, as labelme writes them."""
    return isinstance(content, dict) and "shapes" in content and bool(content.keys() & {"imagePath", "imageHeight"})


def read_labelme(content: Mapping[str, Any], path: Path) -> Annotations:
    """Return the regions of one image.

    Args:
        content: for which :func:`is_labelme` is true.
        path: of the file; where it does not say what its image is called, it has the name of the image.
    """
    found, shapes = Annotations(LABELME, path), content["shapes"]
    named = content.get("imagePath")
    parts = PureWindowsPath(named).parts if isinstance(named, str) else ()  # this takes both kinds of slashes
    image = "/".join(part for part in parts if part != "..") or path.stem
    found.regions[image] = []
    size: tuple[Any, Any] = (content.get("imageWidth"), content.get("imageHeight"))
    if all(type(side) is int and side > 0 for side in size):
        found.sizes[image] = size
    if not isinstance(shapes, list):
        found.faults.append(f"{path}: expected a list of shapes, got {type(shapes).__name__}")
        return found
    for number, shape in enumerate(shapes, start=1):
        where = f"shape {number}"
        try:
            if not isinstance(shape, dict):
                raise ValueError(f"expected a shape, got {shape!r}")
            label = shape.get("label")
            if label is not None and not isinstance(label, str):
                raise ValueError(f"expected its label as a text, got {label!r}")
            found.add(image, Region(_shape(shape), where, {"label": label.strip()} if label else {}))
        except ValueError as error:
            found.faults.append(f"{path}: {where}: {error}")
    return found


def _shape(shape: Mapping[str, Any]) -> Shape:
    kind, points = shape.get("shape_type", "polygon"), shape.get("points")
    if kind == "polygon":
        return Outline(corners_of(points))
    if kind not in ("rectangle", "circle", "mask"):
        raise ValueError(f"expected {KNOWN_SHAPES}, got a shape of type {kind!r}")
    if not isinstance(points, list) or len(points) != 2 or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise ValueError(f"expected two points of a {kind}, got {points!r}")
    x, y, other_x, other_y = numbers(*points[0], *points[1])
    if kind == "rectangle":
        return Outline(((x, y), (other_x, y), (other_x, other_y), (x, other_y)))
    if kind == "circle":
        radius = math.hypot(other_x - x, other_y - y)
        return Ellipse((x, y), (radius, radius))
    inside = _decode(shape.get("mask"))
    return Patch(inside.astype(np.uint8).tobytes(), inside.shape[::-1], (int(x), int(y)))


def _decode(text: Any) -> np.ndarray:
    """Return a mask that is stored as the text of a PNG."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as picture:
            return np.asarray(picture.convert("L")) > 0
    except (TypeError, binascii.Error, OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"expected a mask as a PNG, cannot be read ({error})") from error
