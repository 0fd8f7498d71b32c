"""Labels of a folder of one's own as class ids, in whichever way they were drawn."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection

from common.datasets.readers.label_formats.black_white import read_black_white, split_shades
from common.datasets.readers.label_formats.colours import read_colours
from common.datasets.readers.label_formats.ids import read_ids, to_ids
from common.datasets.readers.label_pictures import open_label_picture
from common.datasets.readers.labels import LoadLabeld, read_volume_label
from common.datasets.readers.nifti import is_volume_file
from common.datasets.readers.pictures import explain_sizes, read_image, read_stored
from common.datasets.readers.polygons.drawing import draw_annotated
from common.datasets.readers.slice_labels import check_only_segment, check_segment_names, is_of_series
from common.datasets.source import Source
from common.errors import InputError

_Read = Callable[[str], np.ndarray]


class LoadFolderLabeld(LoadLabeld):
    """Reads a label as a folder dataset's entries name it: ``(1, W, H)`` class ids, or ``(1, W, H, D)`` of a volume.

    What :func:`read_folder_label` reads, and the files of class ids that an annotation server saves, NIfTI, NRRD or
    grey pictures, whichever way the folder's own labels are drawn.

    Args:
        keys: where the label's files are, and where the label goes.
        source: of the dataset, as its configs have it.
        image_key: an image ``(C, W, H[, D])`` that was read before must be of the label's size.
        allow_missing_keys: whether to leave alone what has no label.

    Raises:
        InputError: if there is something wrong with the source.
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        *,
        source: Mapping[str, Any] | Source,
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        self.source = Source.from_config(source)
        super().__init__(keys, len(self.source.classes), image_key, allow_missing_keys)

    def read_values(self, label: Any, image: Any, index: int | None) -> np.ndarray:
        """Return the class ids ``(W, H[, D])`` of a label.

        Raises:
            InputError: as :func:`read_folder_label`, or if the label of a volume does not lie on its image.
        """
        if any(is_volume_file(path) or is_of_series(path) for path in files_of(label)):
            return self._read_volumes(label, image, index)
        if isinstance(label, str | os.PathLike) and self._is_of_a_server(label):
            return read_ids(label, len(self.source.classes)).T
        size = (image.shape[1], image.shape[2]) if isinstance(image, torch.Tensor) and image.ndim == 3 else None
        return read_folder_label(label, self.source, size).T

    def _read_volumes(self, label: Any, image: Any, index: int | None) -> np.ndarray:
        num_classes = len(self.source.classes)

        def read(path: str) -> np.ndarray:
            return read_volume_label(path, image, index)

        def read_inside(path: str, name: str) -> np.ndarray:
            if not path.lower().endswith(".dcm"):
                return split_shades(read(path), path)
            check_only_segment(path, name, self.source.classes)
            return read(path) > 0  # whatever its number

        def read_class_ids(path: str) -> np.ndarray:
            if self.source.label_format == "black_white":
                return read_inside(path, self.source.classes[1]).astype(np.uint8)
            values, meaning = read(path), self.source.values
            # A server knows nothing of other values, and volumes of pictures are a server's.
            known = meaning is not None and np.isin(values, [0, *meaning]).all()
            if meaning is None and path.lower().endswith(".dcm"):
                check_segment_names(path, class_ids(self.source))
            return to_ids(values, path, num_classes, meaning if known else None)

        return _join(label, self.source, read_class_ids, read_inside)

    def _is_of_a_server(self, path: str | os.PathLike) -> bool:
        """Tell whether a file has class ids that this folder's own labels would not have."""
        form, num_classes = self.source.label_format, len(self.source.classes)
        if form in ("file_per_class", "polygons"):
            return True  # whose own labels are never a single path
        if form != "colours" and self.source.values is None:
            return False
        picture = open_label_picture(path).image
        if len(picture.getbands()) > 1 or picture.mode == "P":
            return False
        found = set(np.unique(np.asarray(picture)).tolist())
        own = set(self.source.values or ()) | {colour[0] for colour in (self.source.colours or {}).values()}
        return found <= set(range(num_classes)) and not found - {0} & own


def read_folder_label(label: Any, source: Source, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Return the class ids of a picture's label, uint8 ``(H, W)``.

    Args:
        label: what an entry has: the path of a file; several, which are united; these by class; or, of polygons, the
            path of the annotation file under "polygons" and that of the image under "image".
        source: of the dataset.
        image_size: width and height that the label must have; polygons without it are drawn in the size of the image.

    Raises:
        InputError: if a file cannot be read, or is not what the source says, or has not the size of the image, or if
            files of different classes overlap.
    """
    if isinstance(label, Mapping) and "polygons" in label:
        size = image_size or read_image(label["image"]).size
        return draw_annotated(label["polygons"], label["image"], polygon_names(source), size)

    def check_size(path: str, drawn: np.ndarray) -> np.ndarray:
        if image_size is not None and drawn.shape[::-1] != tuple(image_size):
            sizes = (" x ".join(map(str, each)) for each in (drawn.shape[::-1], image_size))
            raise InputError("{}: is {} pixels, but its image is {}".format(path, *sizes))
        return drawn

    def read_class_ids(path: str) -> np.ndarray:
        if source.label_format == "black_white":
            return check_size(path, read_black_white(path)).astype(np.uint8)
        if source.label_format == "colours":
            return check_size(path, read_colours(path, source.colours or {}, class_ids(source)))
        return check_size(path, read_ids(path, len(source.classes), source.values))

    return _join(label, source, read_class_ids, lambda path, _: check_size(path, read_black_white(path)))


def explain_size(label: Any, image: str | os.PathLike) -> str:
    """Return what to add to the message that sizes differ: nothing, or that the EXIF orientation is why."""
    path = next(iter(files_of(label)), None)
    return "" if path is None else explain_sizes(read_stored(image), open_label_picture(path))


def class_ids(source: Source) -> dict[str, int]:
    """Return the ids of a source's classes by name."""
    return {name: number for number, name in enumerate(source.classes)}


def polygon_names(source: Source) -> dict[str, int]:
    """Return the ids of a source's classes by what they are called in annotation files."""
    called = source.polygons or {}
    return {called.get(name, name): number for number, name in enumerate(source.classes)}


def files_of(label: Any) -> list[str]:
    """Return the files of a label, but for the image that polygons were drawn on."""
    if isinstance(label, Mapping):
        parts = [label["polygons"]] if "polygons" in label else label.values()
        return [path for part in parts for path in files_of(part)]
    return [os.fspath(label)] if isinstance(label, str | os.PathLike) else [os.fspath(path) for path in label]


def _join(
    label: Any, source: Source, read_class_ids: _Read, read_inside: Callable[[str, str], np.ndarray]
) -> np.ndarray:
    """Return the class ids of one or several files.

    Args:
        label: as for :func:`read_folder_label`, but for polygons.
        source: of the dataset.
        read_class_ids: for files that have all classes.
        read_inside: for files of one class, which gets its name too.
    """
    if not isinstance(label, Mapping):
        return _unite([(path, read_class_ids(path)) for path in files_of(label)])
    numbers = class_ids(source)
    parts = [(path, read_inside(path, name), numbers[name]) for name, own in label.items() for path in files_of(own)]
    # Background has a number of its own until all are joined, lest it overlaps with a class and nobody sees it.
    apart = [(path, inside * np.int16(number or len(numbers))) for path, inside, number in parts]
    joined = _unite(apart)
    return np.where(joined == len(numbers), 0, joined).astype(np.uint8)


def _unite(parts: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Return the class ids of several files for one image, of which each has a part.

    Raises:
        InputError: if their sizes differ, or two have different classes in the same pixels.
    """
    (first, ids), *others = parts
    ids, owner = ids.copy(), first
    for path, part in others:
        if part.shape != ids.shape:
            sizes = (" x ".join(map(str, each.shape[::-1])) for each in (part, ids))
            raise InputError("{}: is {} pixels, but {} is {}".format(path, next(sizes), first, *sizes))
        overlap = (ids > 0) & (part > 0) & (ids != part)
        if overlap.any():
            owner = next(name for name, other in parts if (overlap & (other > 0)).any())
            raise InputError(
                f"{owner} and {Path(path).name} overlap in {overlap.sum():,} pixels; a pixel has one class, correct "
                "one of the files"
            )
        ids = np.where(part > 0, part, ids)
    return ids
