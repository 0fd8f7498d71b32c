"""Read single images."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.data import PILReader
from monai.transforms import LoadImaged
from PIL import Image

from common.datasets.readers.nifti import is_volume_file
from common.errors import InputError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff")


def read_picture(path: str | os.PathLike) -> Image.Image:
    """Return the image at ``path``.

    Raises:
        InputError: as :func:`read_image`, or if it has more than 8 bits a channel, which Pillow would make white.
    """
    picture = read_image(path)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        raise InputError(f"{path}: has more than 8 bits a channel (Pillow mode {picture.mode}); save it with 8")
    return picture


class LoadPictured(LoadImaged):
    """Reads an image ``(C, W, H)`` with Pillow alone, and says what is wrong with a file that is not an image.

    ``LoadImaged`` tries every reader it knows when the one it was given fails: it would read a volume as an image, and
    its error for a damaged image lists the failure of every reader.

    Args:
        keys: where the path is, and where the image goes.
        converter: from Pillow's image to one with the channels that the student takes.
    """

    def __init__(self, keys: KeysCollection, converter: Callable[[Image.Image], Image.Image]) -> None:
        super().__init__(keys, reader=PILReader(converter=converter), ensure_channel_first=True)

    def __call__(self, data: Mapping[Any, Any], reader: Any = None) -> dict[Any, Any]:
        """Return the data with the image read.

        Raises:
            InputError: if the file is missing, damaged, no image, or has more than 8 bits a channel.
        """
        for key in self.key_iterator(data):
            if is_volume_file(data[key]):
                raise InputError(f"{data[key]}: is a volume; expected an image ({', '.join(SUFFIXES)})")
            read_picture(data[key])
        return super().__call__(data, reader)


def read_image(path: str | Path) -> Image.Image:
    """Return the image at ``path``, decoded to its last pixel.

    Raises:
        InputError: if the file is missing, a folder, empty, cut off, or not an image.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder, expected an image' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty, copy it again")
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except Exception as error:  # on damaged bytes Pillow's decoders raise far more than OSError
        raise InputError(f"{path}: cannot be read as an image, copy it again ({error})") from error


def to_grey(image: Image.Image) -> Image.Image:
    """Return the image with one 8-bit channel; a ``converter`` for MONAI's ``PILReader``."""
    return image.convert("L")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image with three 8-bit channels; a ``converter`` for MONAI's ``PILReader``."""
    return image.convert("RGB")
