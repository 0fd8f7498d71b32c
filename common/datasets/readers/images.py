"""Read images: single files, and folders without labels."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.data import PILReader
from monai.transforms import LoadImaged
from PIL import ExifTags, Image

from common.datasets.issues import Faults
from common.datasets.readers.nifti import is_volume_file
from common.errors import InputError

logger = logging.getLogger(__name__)

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff")


class ImageFiles:
    """The readable images of a folder, or one image file.

    Args:
        path: a folder, whose images are found at its top level, or a file.
        key: what the user knows the path by.

    Raises:
        InputError: if the path does not exist, holds no readable image, or holds two images of the same stem, whose
            results would overwrite each other.
    """

    def __init__(self, path: str | os.PathLike, key: str = "dataset_dir") -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(f"{key}: {self.path} does not exist; expected a folder of images or one image")
        found = [self.path] if self.path.is_file() else sorted(self.path.iterdir())
        if self.path.is_dir():
            found = [file for file in found if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
        self.readable: list[Path] = []
        self.unreadable: dict[Path, str] = {}
        for file in found:
            try:
                read_picture(file)
            except InputError as error:
                self.unreadable[file] = str(error)
            else:
                self.readable.append(file)
        if not self.readable:
            self.report()
            raise InputError(f"{key}: {self.path} holds no readable image ({', '.join(SUFFIXES)})")
        stems = [file.stem for file in self.readable]
        twice = sorted({stem for stem in stems if stems.count(stem) > 1})
        if twice:
            raise InputError(f"{key}: {self.path} holds several images named {', '.join(twice[:5])}; rename them")

    @property
    def entries(self) -> list[dict[str, str]]:
        """The readable images as a MONAI datalist."""
        return [{"image": str(file)} for file in self.readable]

    def report(self) -> None:
        """Name the files that could not be read, and those whose masks will not lie as viewers show them."""
        if self.unreadable:
            reasons = "\n".join(f"  {reason}" for reason in self.unreadable.values())
            logger.error(f"{len(self.unreadable)} of the images could not be read and were left out:\n{reasons}")
        turned = [file.name for file in self.readable if _is_shown_turned(file)]
        if turned:
            logger.warning(
                f"{len(turned)} images say that they are to be shown turned (EXIF), first {turned[0]}: what is made of "
                "them lies as their pixels are stored; turn the pixels and remove the tag where that matters"
            )


def read_picture(path: str | os.PathLike) -> Image.Image:
    """Return the image at ``path``.

    Raises:
        InputError: as :func:`read_image`, or if it has more than 8 bits a channel, which Pillow would make white.
    """
    picture = read_image(path)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        raise InputError(f"{path}: has more than 8 bits a channel (Pillow mode {picture.mode}); save it with 8")
    return picture


def unlabelled_images(folder: str | os.PathLike | None) -> list[dict[str, str]]:
    """Return the images of a folder as a MONAI datalist, an empty one for None.

    Raises:
        InputError: as :class:`ImageFiles`, or if one of the images cannot be read; all at once.
    """
    if folder is None:
        return []
    files = ImageFiles(folder, key="unlabelled_dir")
    faults = Faults("unlabelled images", folder)
    for reason in files.unreadable.values():
        faults.add(reason)
    faults.raise_if_any()
    return files.entries


def _is_shown_turned(file: Path) -> bool:
    with Image.open(file) as image:
        try:
            return image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        except (SyntaxError, ValueError, OSError, struct.error):  # Pillow's for a damaged tag, which viewers pass over
            return False


class LoadPictured(LoadImaged):
    """Reads an image ``(C, W, H)`` with Pillow alone, and says what is wrong with a file that is none.

    ``LoadImaged`` tries every reader it knows when the one it was given fails: a volume would come out as an image, and
    of a damaged image the error would tell what each of them makes of it.

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
