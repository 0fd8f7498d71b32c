"""Reading of images and masks to the last pixel, to find what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from common.datasets.findings import Findings
from common.datasets.issues import DatasetIssues
from common.datasets.readers.images import explain_sizes, read_stored
from common.datasets.readers.label_pictures import read_label_picture


def check_contents(
    image_path: Path,
    masks: Mapping[Path, Callable[[Image.Image], str | None]],
    root: Path,
    issues: DatasetIssues,
    findings: Findings,
    modes: Sequence[str] = ("RGB",),
) -> None:
    """Note what is wrong with the contents of one image and its masks, and what else they show.

    Args:
        image_path: the image, or where it should be.
        masks: by path, the function that says what is wrong with a mask.
        root: files are named relative to it.
        issues: gets what is wrong.
        findings: gets what is not wrong, but worth knowing.
        modes: Pillow modes the image may have.
    """
    name, image, opened = image_path.relative_to(root).as_posix(), None, {}
    with issues.collect():
        image = read_stored(image_path)
    for path in masks:
        with issues.collect():
            opened[path] = read_label_picture(path)
    if image is not None and image.image.mode not in modes:
        issues.add(f"{name}: expected 8-bit {' or '.join(modes)}, got Pillow mode {image.image.mode}")
    elif image is not None:
        findings.add_image(name, image)
    for path, mask in opened.items():
        mask_name = path.relative_to(root).as_posix()
        findings.add_label(mask_name, mask)
        if image is not None and mask.image.size != image.image.size:
            size, expected = ("{} x {}".format(*each.image.size) for each in (mask, image))
            why = explain_sizes(image, mask)
            issues.add(f"{mask_name}: is {size}, but its image {name} is {expected} pixels{why}")
        reason = masks[path](mask.image)
        if reason:
            issues.add(f"{mask_name}: {reason}")
