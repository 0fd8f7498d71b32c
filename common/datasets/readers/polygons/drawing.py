"""Class ids drawn from the regions of an annotation file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.datasets.readers.polygons.annotations import VIA, Annotations, Region
from common.datasets.readers.polygons.files import read_annotations
from common.errors import InputError


def draw_annotated(
    path: str | os.PathLike, image: str | os.PathLike, classes: Mapping[str, int], size: tuple[int, int]
) -> np.ndarray:
    """Return the class ids of an image, uint8 ``(H, W)``.

    Regions of a class are united. Where classes overlap, the higher id is seen, and background, where regions are
    called so, above all: these are holes.

    Args:
        path: the annotation file.
        image: path of the image, whose name the file has.
        classes: ids by what the classes are called in the file.
        size: width and height of the image.

    Raises:
        InputError: if the file cannot be read or has faults, of which the first is named; does not list the image, or
            with another size; has regions of no known class, outside of the image, or, drawn with the VGG Image
            Annotator, one within another of its class: nobody can tell whether it is a hole.
    """
    annotations = read_annotations(path)
    reading = understand(annotations, tuple(classes.items()))
    if reading.faults:
        raise InputError(reading.faults[0])
    name = annotations.listed_name(image)
    if name is None:
        raise InputError(f"{path}: does not list {Path(image).name}; images without the structure are listed, too")
    regions, shown = annotations.regions[name], f"{path}: {name}"
    _check_size(annotations.sizes.get(name, size), size, shown)
    _refuse_outside(regions, size, shown)
    ids = np.zeros(size[::-1], np.uint8)
    by_class: dict[int, list[Region]] = {}
    for region in regions:
        by_class.setdefault(reading.id_of(region), []).append(region)
    for number in sorted(by_class, key=lambda number: (number == 0, number)):
        drawn = []
        for region in by_class[number]:
            inside = region.shape.fill(size)
            ids[inside] = number
            if annotations.tool == VIA and number > 0 and inside.any():  # other formats say that shapes are united
                drawn.append(_Part.of(inside, region.where))
        _refuse_nested(drawn, shown)
    return ids


class Understanding(NamedTuple):
    """What the names in a file mean.

    Attributes:
        attribute: which says the class; None where regions have no names and are the only structure.
        ids: by name.
        faults: what is wrong in the file, with its path.
    """

    attribute: str | None
    ids: dict[str, int]
    faults: tuple[str, ...]

    def id_of(self, region: Region) -> int:
        """Return the class of a region of a file without faults."""
        return max(self.ids.values()) if self.attribute is None else self.ids[region.named[self.attribute]]


@lru_cache(maxsize=256)
def understand(annotations: Annotations, classes: tuple[tuple[str, int], ...]) -> Understanding:
    """Return what the names in a file mean, and what is wrong with it: one line for each name that is no class.

    Args:
        annotations: of the file.
        classes: name in the file and id of each class.
    """
    ids, path = dict(classes), annotations.path
    attribute, names = annotations.attribute_of(ids), annotations.names()
    known = ", ".join(name for name, number in classes if number > 0)
    faults = list(annotations.faults)
    if attribute is None and names:
        faults.append(
            f"{path}: its regions have the attributes {', '.join(names)}; not one of them alone has the classes {known}"
        )
    elif attribute is not None or sum(number > 0 for number in ids.values()) > 1:
        faults += _unknown_names(annotations, attribute or "", ids, known)
    return Understanding(attribute, ids, tuple(faults))


def _unknown_names(annotations: Annotations, attribute: str, ids: Mapping[str, int], known: str) -> list[str]:
    places: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for image, regions in annotations.regions.items():
        for region in regions:
            name = region.named.get(attribute, "")
            if name not in ids:
                counts[name] += 1
                places.setdefault(name, f"{image}, {region.where}")
    faults = []
    for name, count in counts.items():
        are = f"{count} regions are" if count > 1 else "a region is"
        what = f"called {name!r}" if name else "without a class"
        faults.append(f"{annotations.path}: {are} {what} (first: {places[name]}); expected {known}")
    return faults


def _check_size(stated: tuple[int, int], size: tuple[int, int], name: str) -> None:
    if tuple(stated) != tuple(size):
        turned = tuple(stated) == tuple(size)[::-1]
        why = "viewers turn it by its EXIF orientation, turn its pixels" if turned else "take those that match"
        raise InputError(
            "{}: was drawn on {} x {} pixels, but its image has {} x {}; {}".format(name, *stated, *size, why)
        )


def _refuse_outside(regions: list[Region], size: tuple[int, int], name: str) -> None:
    outside = [(region.where, what) for region in regions if (what := region.shape.outside(size))]
    if outside:
        (where, what), count = outside[0], len(outside)
        reach = f"{count} regions reach" if count > 1 else "a region reaches"
        raise InputError(
            "{}: {} beyond its image of {} x {} pixels, first {} with {}; take image and annotations that belong "
            "together".format(name, reach, *size, where, what)
        )


class _Part(NamedTuple):
    """The pixels of a region, without what is empty around them."""

    where: str
    rows: slice
    columns: slice
    inside: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, where: str) -> _Part:
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        return cls(where, *box, mask[box])

    def holds(self, other: _Part) -> bool:
        """Tell whether the other one lies within this one, and is smaller."""
        starts = [(own.start, its.start) for own, its in ((self.rows, other.rows), (self.columns, other.columns))]
        ends = [(own.stop, its.stop) for own, its in ((self.rows, other.rows), (self.columns, other.columns))]
        if any(own > its for own, its in starts) or any(own < its for own, its in ends):
            return False
        shift = [its - own for own, its in starts]
        place = tuple(slice(at, at + side) for at, side in zip(shift, other.inside.shape, strict=True))
        return self.inside.sum() > other.inside.sum() and bool((self.inside[place] | ~other.inside).all())


def _refuse_nested(parts: list[_Part], name: str) -> None:
    for inner in parts:
        for outer in parts:
            if outer.holds(inner):
                raise InputError(
                    f"{name}: {inner.where} lies within {outer.where} and has its class, which may mean a hole; call "
                    "holes background in the tool, and delete what is none"
                )
