"""Check that there is something to train on, and that it fits into batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.configs.checks import check
from common.datasets.readers.images import read_image
from common.errors import InputError


def check_any(entries: Sequence[Mapping[str, str]]) -> None:
    """Check that there is something to train on: an annotation server may start a training before it has a label.

    Args:
        entries: a MONAI datalist.

    Raises:
        InputError: if it is empty.
    """
    if not entries:
        raise InputError("train::dataset::data: there is no image with a label to train on; submit a label first")


def check_crops(entries: Sequence[Mapping[str, str]], crop_size: int) -> None:
    """Check that no image is smaller than the crops: its crops would not stack into a batch with the others.

    Args:
        entries: a MONAI datalist.
        crop_size: height and width of the crops in pixels.

    Raises:
        InputError: if the size is not whole and positive; naming the first images that are smaller, or that cannot be
            read.
    """
    check(crop_size=crop_size)
    sizes = {path: read_image(path).size for path in dict.fromkeys(entry["image"] for entry in entries)}
    small = [
        f"{path} is {width} x {height}" for path, (width, height) in sizes.items() if min(width, height) < crop_size
    ]
    if small:
        limit = min(min(size) for size in sizes.values())
        raise InputError(
            f"crop_size: {len(small)} of {len(sizes)} images are smaller than {crop_size} ({'; '.join(small[:3])} "
            f"pixels): set crop_size to {limit} or less"
        )
