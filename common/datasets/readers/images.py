"""Read single images for MONAI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import PILReader
from monai.transforms import LoadImaged
from PIL import Image

from common.datasets.readers.nifti import is_volume_file
from common.datasets.readers.picture_formats import EXAMPLES
from common.datasets.readers.pictures import (
    StoredPicture,
    explain_sizes,
    is_opaque,
    read_image,
    read_picture,
    read_stored,
    to_grey,
    to_rgb,
)
from common.errors import InputError

__all__ = [
    "LoadPictured",
    "StoredPicture",
    "explain_sizes",
    "is_opaque",
    "read_image",
    "read_picture",
    "read_stored",
    "to_grey",
    "to_rgb",
]


class LoadPictured(LoadImaged):
    """Reads an image ``(C, W, H)`` as :func:`read_picture` does, and says what is wrong with a file that is no image.

    ``LoadImaged`` tries every reader it knows when the one it was given fails: it would read a volume as an image, and
    its error for a damaged image lists the failure of every reader.

    Args:
        keys: where the path is, and where the image goes.
        converter: from Pillow's image to one with the channels that the student takes.
    """

    def __init__(self, keys: KeysCollection, converter: Callable[[Image.Image], Image.Image]) -> None:
        reader: Any = _PictureReader(converter)  # MONAI takes one, though its hints say a class
        self._reader = reader
        super().__init__(keys, reader=reader, ensure_channel_first=True)

    def __call__(self, data: Mapping[Any, Any], reader: Any = None) -> dict[Any, Any]:
        """Return the data with the image read.

        Raises:
            InputError: if the file is missing, damaged, no image, or has more than 8 bits a channel.
        """
        for key in self.key_iterator(data):
            if is_volume_file(data[key]):
                raise InputError(f"{data[key]}: is a volume; expected an image ({EXAMPLES})")
        return super().__call__(data, reader or self._reader)  # named, it is the only one, and its errors come out


class _PictureReader(PILReader):
    converter: Any  # that of LoadPictured

    def read(self, data: Any, **kwargs: Any) -> Any:
        pictures = [self.converter(read_picture(path)) for path in ([data] if isinstance(data, str) else data)]
        return pictures if len(pictures) > 1 else pictures[0]
