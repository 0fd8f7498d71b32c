"""Reading of images and masks to the last pixel, to find what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from common.datasets.issues import DatasetIssues
from common.datasets.readers.images import read_image


def check_contents(
    image_path: Path,
    masks: Mapping[Path, Callable[[Image.Image], str | None]],
    root: Path,
    issues: DatasetIssues,
    modes: Sequence[str] = ("RGB",),
) -> None:
    """Note what is wrong with the contents of one image and its masks.

    Args:
        image_path: the image, or where it should be.
        masks: by path, the function that says what is wrong with a mask.
        root: the messages name files relative to it.
        issues: gets what is wrong.
        modes: Pillow modes the image may have.
    """
    opened = {}
    for path in (image_path, *masks):
        with issues.collect():
            opened[path] = read_image(path)
    name = image_path.relative_to(root).as_posix()
    image = opened.pop(image_path, None)
    if image is not None and image.mode not in modes:
        issues.add(f"{name}: expected 8-bit {' or '.join(modes)}, got Pillow mode {image.mode}")
    for path, mask in opened.items():
        mask_name = path.relative_to(root).as_posix()
        if image is not None and mask.size != image.size:
            size, expected = ("{} x {}".format(*each.size) for each in (mask, image))
            issues.add(f"{mask_name}: is {size}, but its image {name} is {expected} pixels")
        reason = masks[path](mask)
        if reason:
            issues.add(f"{mask_name}: {reason}")
