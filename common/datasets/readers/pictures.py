"""Read single images with Pillow; what MONAI makes of them is in ``images``."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.datasets.readers.exif import SIDEWAYS, orientation_of, turn_back
from common.datasets.readers.picture_formats import EXAMPLES, FORMATS
from common.errors import InputError


class StoredPicture(NamedTuple):
    """An image as its file holds it.

    Attributes:
        image: the pixels as they are stored, whatever the orientation.
        orientation: the EXIF orientation, 1 to 8; other than 1, viewers turn what they show.
        num_pages: how many images the file holds; ``image`` is the first. Previews in a photograph do not count.
    """

    image: Image.Image
    orientation: int
    num_pages: int


def read_picture(path: str | os.PathLike) -> Image.Image:
    """Return the image at ``path``.

    Raises:
        InputError: as :func:`read_image`, or if it has more than 8 bits a channel, which Pillow would make white.
    """
    picture = read_image(path)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        raise InputError(f"{path}: has more than 8 bits a channel (Pillow mode {picture.mode}); save it with 8")
    return picture


def read_image(path: str | os.PathLike) -> Image.Image:
    """Return the image at ``path``, decoded to its last pixel: the pixels as they are stored, whatever the orientation.

    Raises:
        InputError: if the file is missing, a folder, empty, cut off, too large, or not an image, or has several
            channels of more than 8 bits.
    """
    return read_stored(path).image


def read_stored(path: str | os.PathLike, examples: str = EXAMPLES) -> StoredPicture:
    """Return the image at ``path`` with what else its file says.

    Args:
        path: of the file.
        examples: of suffixes that it may have, for the message.

    Raises:
        InputError: as :func:`read_image` does.
    """
    path = Path(path)
    _refuse_other_than_files(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    try:
        # By its name, Pillow would map an uncompressed TIFF into memory, and scramble one that it turns.
        with file, _open_quietly(file) as image:
            _refuse_deep_colours(image, path)
            num_pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            if image.format == "TIFF":
                orientation = orientation_of(image)  # loading removes it
                image.load()
                image = turn_back(image, orientation)
            else:
                image.load()
                orientation = orientation_of(image)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: cannot be read as an image; copy it again, or save it as {examples}") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise InputError(f"{path}: has more than {most:,} pixels, the most that are read; save it smaller") from error
    except Exception as error:  # on damaged bytes Pillow's decoders raise far more than OSError
        raise InputError(f"{path}: cannot be read as an image, copy it again ({error})") from error
    return StoredPicture(image, orientation, num_pages)


def _open_quietly(file: BinaryIO) -> Image.Image:
    """Open an image; one of more than 89 million pixels is no attack, as Pillow warns, but a large photograph."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=FORMATS)


def _refuse_deep_colours(image: Image.Image, path: Path) -> None:
    """Refuse several channels of 16 bits, of which Pillow keeps the upper 8 and does not say so once it has read them.

    Raises:
        InputError: if an opened image that is not read yet has them.
    """
    if len(image.getbands()) > 1 and any(";16" in str(part) for part in getattr(image, "tile", ())):
        raise InputError(f"{path}: has 16 bits in each of its channels; save it with 8")


def is_opaque(image: Image.Image) -> bool:
    """Tell whether every pixel is seen: an alpha channel, or a transparent colour, may hide some."""
    if not image.has_transparency_data:
        return True
    if image.getbands()[-1] in ("A", "a"):
        return image.getchannel(image.getbands()[-1]).getextrema()[0] == 255
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return not (np.asarray(image) == image.info["transparency"]).any()
    return image.convert("RGBA").getchannel("A").getextrema()[0] == 255


def to_grey(image: Image.Image) -> Image.Image:
    """Return the image with one 8-bit channel; a ``converter`` for ``LoadPictured``."""
    return image.convert("L")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image with three 8-bit channels; a ``converter`` for ``LoadPictured``."""
    return image.convert("RGB")


def explain_sizes(image: StoredPicture, label: StoredPicture) -> str:
    """Return what to add to the message that a label has not the size of its image: nothing, or that EXIF is why."""
    turned = [what for what, each in (("image", image), ("label", label)) if each.orientation in SIDEWAYS]
    if not turned or image.image.size != label.image.size[::-1]:
        return ""
    return (
        f"; the EXIF orientation of the {' and the '.join(turned)}, by which viewers turn it, explains that: turn the "
        "pixels themselves and remove the tag"
    )


def _refuse_other_than_files(path: Path) -> None:
    """Refuse what is no file with anything in it; to open a pipe would wait for someone to write into it."""
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        link = f"is a link to {os.readlink(path)}, where there is no file" if path.is_symlink() else "no such file"
        raise InputError(f"{path}: {link}") from error
    except (OSError, ValueError) as error:  # no permission, too long a name, a zero byte
        raise InputError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISDIR(state.st_mode):
        raise InputError(f"{path}: is a folder, expected an image")
    if not stat.S_ISREG(state.st_mode):
        raise InputError(f"{path}: is neither a file nor a folder, expected an image")
    if state.st_size == 0:
        raise InputError(f"{path}: the file is empty, copy it again")
