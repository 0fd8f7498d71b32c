"""What a file of an annotation tool says, whichever the tool."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from common.datasets.readers.polygons.shapes import Shape

VIA, COCO, LABELME = "VGG Image Annotator", "COCO", "labelme"


class Region(NamedTuple):
    """A shape that somebody has drawn.

    Attributes:
        shape: what it covers.
        where: it is in the file, such as "line 3" or "annotation 17".
        named: what the file says of it, by the name of the attribute; "" where the tool has but one.
    """

    shape: Shape
    where: str
    named: Mapping[str, str]


@dataclass(eq=False)
class Annotations:
    """All that one file says.

    Attributes:
        tool: that has written it.
        path: of the file.
        regions: by the name of the image as the file has it; none for an image without the structure.
        sizes: width and height of images, where the file says so.
        repeats: regions that are there before, as "line 9 = line 2"; they count once.
        faults: what cannot be understood, with the path and the place in the file.
    """

    tool: str
    path: Path
    regions: dict[str, list[Region]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    repeats: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, image: str, region: Region) -> None:
        """Keep a region of an image, unless the same one of the same class is there before."""
        others = self.regions.setdefault(image, [])
        same = (other for other in others if other.shape == region.shape and other.named == region.named)
        first = next(same, None)
        if first is None:
            others.append(region)
        else:
            self.repeats.append(f"{region.where} = {first.where}")

    def listed_name(self, image: str | os.PathLike) -> str | None:
        """Return what the file calls an image, with or without folders; None where it does not list it.

        Args:
            image: its path.
        """
        path = Path(image)
        named = self._by_base.get(_parts(path.name)[-1], [])
        if not named and self.tool == LABELME and path.stem == self.path.stem:
            return next(iter(self.regions))  # the image was renamed, and this file with it
        shared = [common_parts(name, path) for name in named]
        best = [name for name, length in zip(named, shared, strict=True) if length == max(shared)]
        return best[0] if len(best) == 1 else None

    def attribute_of(self, known: Collection[str] = ()) -> str | None:
        """Return the attribute that says the class: the only one, or the only one that has known names.

        Args:
            known: names of classes.

        Returns:
            None if there is no attribute, or if several might be meant.
        """
        seen: dict[str, set[str]] = {}
        for region in self._all():
            for attribute, name in region.named.items():
                seen.setdefault(attribute, set()).add(name)
        candidates = [each for each, names in seen.items() if names & set(known)] if len(seen) > 1 else list(seen)
        return candidates[0] if len(candidates) == 1 else None

    def names(self) -> dict[str, Counter[str]]:
        """Return how many regions have each name, by the attribute that says it."""
        counts: dict[str, Counter[str]] = {}
        for region in self._all():
            for attribute, name in region.named.items():
                counts.setdefault(attribute, Counter())[name] += 1
        return counts

    @property
    def num_unnamed(self) -> int:
        """Number of regions of which the file says nothing."""
        return sum(not region.named for region in self._all())

    @cached_property
    def _by_base(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for name in self.regions:
            names.setdefault(_parts(name)[-1], []).append(name)
        return names

    def _all(self) -> list[Region]:
        return [region for regions in self.regions.values() for region in regions]


def common_parts(name: str | os.PathLike, other: str | os.PathLike) -> int:
    """Return how many of the last folders and the name two paths have in common."""
    pairs = list(zip(reversed(_parts(os.fspath(name))), reversed(_parts(os.fspath(other))), strict=False))
    return next((length for length, (one, two) in enumerate(pairs) if one != two), len(pairs))


def _parts(path: str) -> tuple[str, ...]:
    """Return the folders and the name of a path in one form of Unicode, of which file systems and tools have two."""
    parts = [part for part in normalize("NFC", path).replace("\\", "/").split("/") if part not in ("", ".")]
    return tuple(parts) or (path,)
