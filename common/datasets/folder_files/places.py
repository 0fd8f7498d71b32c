"""The folders of a source: where images, labels and fields of view are, and the folders of official splits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from common.datasets.source import FOLDER, Source

SPLIT_NAMES = {
    "training": ("training", "train", "tr"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "ts"),
}
USUAL_NAMES = {"training": "train", "validation": "val", "test": "test"}
_NNUNET_NAMES = {"training": "tr", "validation": "val", "test": "ts"}
_SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
_MONAI_LABEL = PurePosixPath("labels/final")


class Place(NamedTuple):
    """Folders whose files pair.

    Attributes:
        images: of the images.
        labels: a folder, or a file of polygons.
        fov: of the fields of view; None where there are none.
        split: of all images there; None where it is decided otherwise.
    """

    images: Path
    labels: Path
    fov: Path | None
    split: str | None = None


def split_named(text: str) -> str | None:
    """Return the split that a word means, such as "training" for "Train"; None for any other word."""
    return _SPLIT_OF.get(text.strip().lower())


def places_of(source: Source, root: Path) -> list[Place]:
    """Return the folders of a source; several where those of training, validation and test lie beside each other.

    nnU-Net has ``imagesTr`` and ``labelsTr`` beside ``imagesTs`` and ``labelsTs``, others ``train/images`` and
    ``train/masks`` beside ``test/images`` and ``test/masks``. Folders without labels are left out.
    """
    images, labels = source.images, source.labels if source.labels is not None else source.images
    places = [Place(root / images, root / labels, _below(root, source.field_of_view))]
    if source.split != FOLDER:
        return places
    named = _split_in(images)
    if named is None:  # a folder of each split below `images`
        return places
    places = [places[0]._replace(split=named[0])]
    for split, names in SPLIT_NAMES.items():
        for name in names if split != named[0] else ():
            place = _in_other_split(source, root, name, split)
            if place.images.is_dir() and place.labels.exists() and not _same_place(place, places):
                places.append(place)
    return places


def in_place(source: Source, root: Path, split: str) -> Place:
    """Return the folders that the images of a split belong into, which need not exist.

    ``split`` of the place is None where a folder of the split in them, or something else, says the split.
    """
    images, labels = source.images, source.labels if source.labels is not None else source.images
    place = Place(root / images, root / labels, _below(root, source.field_of_view))
    first = _split_in(images) if source.split == FOLDER and not source.is_datalist else None
    if first is None:
        return place
    if split == first[0]:
        return place._replace(split=split)
    return _in_other_split(source, root, (_NNUNET_NAMES if first[1] == "Tr" else USUAL_NAMES)[split], split)


def leave_out(place: Place, source: Source, root: Path) -> set[Path]:
    """Return the folders among a source's images that hold something else."""
    others = {path for path in (place.labels, place.fov) if path is not None and path != place.images}
    if source.labels is not None and PurePosixPath(source.labels) == _MONAI_LABEL:
        others.add(root / _MONAI_LABEL.parent)  # original labels, and those of other versions
    if place.labels == place.images:
        others |= {place.labels / text for text in (source.class_files or {}).values() if text.endswith("/")}
    return others


def is_of_monai_label(source: Source) -> bool:
    """Tell whether labels are MONAI Label's, which come one by one: an image without one is yet to be annotated."""
    return source.labels is not None and PurePosixPath(source.labels) == _MONAI_LABEL


def shown_from(root: Path) -> Callable[[Path], str]:
    """Return a function that names files for messages, relative to the root."""
    return lambda path: Path(os.path.relpath(path, root)).as_posix()


def _below(root: Path, text: str | None) -> Path | None:
    return None if text is None else root / text


def _same_place(place: Place, places: list[Place]) -> bool:
    """Tell whether folders are known by another spelling, where the file system does not mind capitals."""
    return any(os.path.samefile(place.images, other.images) for other in places if other.images.exists())


def _split_in(text: str) -> tuple[str, str] | None:
    """Return the split that a path names, and the part of it that does: "train", or the "Tr" of "imagesTr"."""
    for part in PurePosixPath(text).parts:
        split = split_named(part)
        if split is not None:
            return split, part
        if part.endswith("Tr"):
            return "training", "Tr"
    return None


def _in_other_split(source: Source, root: Path, name: str, split: str) -> Place:
    """Return the folders of a split, which are called as those of the source but for the name of the split."""
    images = _renamed(source.images, name)
    labels = images if source.labels is None else _renamed(source.labels, name)
    fov = None if source.field_of_view is None else root / _renamed(source.field_of_view, name)
    return Place(root / images, root / labels, fov, split)


def _renamed(text: str, name: str) -> str:
    """Return a path with the part that names its split exchanged for another name, in the capitals of the first."""
    parts = list(PurePosixPath(text).parts)
    for index, part in enumerate(parts):
        if split_named(part) is not None:
            parts[index] = name.capitalize() if part[0].isupper() else name
        elif part.endswith("Tr"):
            parts[index] = part.removesuffix("Tr") + name.capitalize()
    return "/".join(parts)
