"""The rules for masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.datasets.issues import Faults
from common.datasets.readers.images import read_image, to_grey


def load_binary(entry: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the image of an entry, as it is, and its mask ``(H, W)``, uint8: 0, and 1 for every other value.

    Args:
        entry: paths of an "image" and of a "label" that :func:`mask_fault` finds nothing wrong with.

    Raises:
        InputError: if a file cannot be read.
    """
    label = read_image(entry["label"])
    mask = np.asarray(to_grey(label) if label.mode == "RGB" else label) > 0
    return np.asarray(read_image(entry["image"])), mask.astype(np.uint8)


DARKEST_WHITE = 128  # that means "inside" in a mask of black and white; what is darker is a class id


def mask_fault(mask: Image.Image, colour: bool = False, fill: bool = False) -> str | None:
    """Return what keeps an image from being a mask of background 0 and one other value, if anything does.

    Args:
        mask: the image.
        colour: accept RGB if its three channels agree.
        fill: accept a structure that fills the image.
    """
    if colour and mask.mode == "RGB":
        channels = np.asarray(mask)
        if (channels != channels[..., :1]).any():
            return "expected shades of grey, got colours"
        mask = mask.getchannel(0)
    if mask.mode not in ("1", "L", "P"):
        return f"expected one grey channel, got Pillow mode {mask.mode}"
    indices = np.asarray(mask)
    values = np.unique(indices).astype(int).tolist()
    if len(values) > 2:
        return f"expected two grey values, 0 and one above, got {len(values)} from {values[0]} to {values[-1]}"
    if len(values) == 1:
        if fill and values[0] > 0:
            return _shade_fault(values[0])
        return f"expected background 0 and a foreground above, but every pixel is {values[0]}"
    if values[0] != 0:
        return f"expected background 0, but the values are {values[0]} and {values[1]}"
    grey = np.asarray(mask.convert("L"))
    if grey[indices > 0].mean() < grey[indices == 0].mean():
        return "its palette is inverted: value 0 is shown brighter than the foreground; save it as plain grey"
    return _shade_fault(values[1])


def _shade_fault(foreground: int) -> str | None:
    if foreground == 1 or foreground >= DARKEST_WHITE:
        return None
    return f"expected 1 or white (at least {DARKEST_WHITE}) for the foreground, got {foreground}, a class of its own"


def check_files(
    image_path: Path,
    masks: Mapping[Path, Callable[[Image.Image], str | None]],
    root: Path,
    faults: Faults,
    modes: Sequence[str] = ("RGB",),
) -> None:
    """Note what is wrong with the contents of one image and its masks.

    Args:
        image_path: the image, or where it should be.
        masks: by path, the function that says what is wrong with a mask.
        root: the messages name files relative to it.
        faults: gets what is wrong.
        modes: Pillow modes the image may have.
    """
    opened = {}
    for path in (image_path, *masks):
        with faults.collect():
            opened[path] = read_image(path)
    name = image_path.relative_to(root).as_posix()
    image = opened.pop(image_path, None)
    if image is not None and image.mode not in modes:
        faults.add(f"{name}: expected 8-bit {' or '.join(modes)}, got Pillow mode {image.mode}")
    for path, mask in opened.items():
        mask_name = path.relative_to(root).as_posix()
        if image is not None and mask.size != image.size:
            size, expected = ("{} x {}".format(*each.size) for each in (mask, image))
            faults.add(f"{mask_name}: is {size}, but its image {name} is {expected} pixels")
        fault = masks[path](mask)
        if fault:
            faults.add(f"{mask_name}: {fault}")
