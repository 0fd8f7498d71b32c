"""Images without labels: a user's own folder, or one file."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from common.datasets.issues import DatasetIssues
from common.datasets.readers.exif import orientation_of
from common.datasets.readers.file_kinds import PICTURE
from common.datasets.readers.input_files import InputFiles
from common.datasets.readers.picture_formats import EXAMPLES, FORMATS
from common.datasets.readers.pictures import read_picture

logger = logging.getLogger(__name__)


class ImageFiles(InputFiles):
    """The images in a folder and below it, or one image file; see :class:`InputFiles`."""

    noun = "image"
    expected = f"a folder of images, or one image ({EXAMPLES}, ...)"
    formats = ".png, .jpg, .tif or the like"
    input_kind = PICTURE
    mask_suffix = "_mask.png"

    def check(self, path: Path) -> None:
        """Decode an image to its last pixel.

        Raises:
            InputError: as :func:`read_picture` does.
        """
        read_picture(path)

    def unread_parts(self, path: Path) -> str | None:
        """Return how many pages an image has, where only the first of them is read."""
        try:
            with Image.open(path, formats=FORMATS) as image:
                pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a phone's previews are no pages
        except Exception as error:  # on damaged bytes Pillow's plug-ins raise far more than OSError
            return f"{path}: what follows its first page cannot be read ({error})"
        if pages == 1:
            return None
        return f"{path}: only the first of its {pages} pages is segmented, save each as an image of its own"

    def remarks(self, paths: Sequence[Path]) -> list[str]:
        """Return which images viewers show in another orientation than their masks."""
        turned = [self.short(path) for path in paths if _is_shown_turned(path)]
        if not turned:
            return []
        return [
            f"{len(turned)} images have an EXIF orientation, first {turned[0]}: viewers turn them, but masks "
            "follow the stored pixels; turn the pixels and remove the tag if that matters"
        ]


def unlabelled_images(folder: str | os.PathLike | None) -> list[dict[str, str]]:
    """Return the images of a folder as a MONAI datalist, an empty one for None.

    Raises:
        InputError: as :class:`ImageFiles`, or if one of the images cannot be read; all at once.
    """
    if folder is None:
        return []
    files = ImageFiles(folder, key="unlabelled_dir")
    files.check_all()
    issues = DatasetIssues("unlabelled images", folder)
    for reason in files.left_out.values():
        issues.add(reason)
    issues.raise_if_any()
    files.log_passed_over()
    for part in filter(None, map(files.unread_parts, files.found)):
        logger.warning(part)
    return files.entries


def _is_shown_turned(path: Path) -> bool:
    try:
        with Image.open(path, formats=FORMATS) as image:
            return orientation_of(image) != 1
    except OSError:  # it has been segmented, and is gone since
        return False
