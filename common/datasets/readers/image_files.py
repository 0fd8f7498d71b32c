"""Images without labels: a user's own folder, or one file."""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path

from PIL import ExifTags, Image

from common.datasets.issues import DatasetIssues
from common.datasets.readers.images import SUFFIXES, read_picture
from common.errors import InputError

logger = logging.getLogger(__name__)


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
        """Log the files that could not be read, and those that viewers show in another orientation than their masks."""
        if self.unreadable:
            reasons = "\n".join(f"  {reason}" for reason in self.unreadable.values())
            logger.error(f"{len(self.unreadable)} of the images could not be read and were left out:\n{reasons}")
        turned = [file.name for file in self.readable if _is_shown_turned(file)]
        if turned:
            logger.warning(
                f"{len(turned)} images have an EXIF orientation, first {turned[0]}: viewers turn them, but masks "
                "follow the stored pixels; turn the pixels and remove the tag if that matters"
            )


def unlabelled_images(folder: str | os.PathLike | None) -> list[dict[str, str]]:
    """Return the images of a folder as a MONAI datalist, an empty one for None.

    Raises:
        InputError: as :class:`ImageFiles`, or if one of the images cannot be read; all at once.
    """
    if folder is None:
        return []
    files = ImageFiles(folder, key="unlabelled_dir")
    issues = DatasetIssues("unlabelled images", folder)
    for reason in files.unreadable.values():
        issues.add(reason)
    issues.raise_if_any()
    return files.entries


def _is_shown_turned(file: Path) -> bool:
    with Image.open(file) as image:
        try:
            return image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        except (SyntaxError, ValueError, OSError, struct.error):  # Pillow's for a damaged tag, which viewers pass over
            return False
