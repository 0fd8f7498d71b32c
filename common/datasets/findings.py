"""What the files of a dataset show that is no fault, but that a user should know."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from common.datasets.copies import digest_of
from common.datasets.readers.images import StoredPicture, is_opaque, to_rgb

_MAX_NAMED = 3


@dataclass
class Findings:
    """Found while files are read for a check, and kept with what the check has read.

    Attributes:
        digests: of the pixels of each image; images of one shade have none.
        turned: images and labels with an EXIF orientation.
        transparent: images with pixels that are not opaque.
        with_pages: files that hold more than one image.
        disputed: digests of images that are there more than once, with different labels.
        others: whatever else is worth a line.
    """

    digests: dict[str, str] = field(default_factory=dict)
    turned: list[str] = field(default_factory=list)
    transparent: list[str] = field(default_factory=list)
    with_pages: list[str] = field(default_factory=list)
    disputed: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @classmethod
    def from_record(cls, record: Any) -> Self | None:
        """Return what :meth:`to_record` has recorded, or None if this is something else."""
        if not isinstance(record, dict) or record.keys() != asdict(cls()).keys():
            return None
        lists = [value for key, value in record.items() if key != "digests"]
        digests = record["digests"]
        if not isinstance(digests, dict) or not all(isinstance(each, list) for each in lists):
            return None
        texts = [*digests.values(), *(each for value in lists for each in value)]
        return cls(**record) if all(isinstance(text, str) for text in texts) else None

    def to_record(self) -> dict[str, Any]:
        """Return what :meth:`from_record` takes, as JSON can hold it."""
        return asdict(self)

    def add_image(self, name: str, stored: StoredPicture) -> None:
        """Note what an image shows."""
        self.add_label(name, stored)
        self.add_pixels(name, np.asarray(to_rgb(stored.image)))
        if not is_opaque(stored.image):
            self.transparent.append(name)
        if stored.num_pages > 1:
            self.with_pages.append(name)

    def add_label(self, name: str, stored: StoredPicture) -> None:
        """Note what a label shows; the other things that an image may show are refused in a label."""
        if stored.orientation != 1:
            self.turned.append(name)

    def add_pixels(self, name: str, pixels: np.ndarray) -> None:
        """Note what an image looks like, so that another file with the same pixels is found."""
        digest = digest_of(pixels)
        if digest is not None:
            self.digests[name] = digest

    def remarks(self) -> list[str]:
        """Return a line for each thing that was found, copies aside."""
        texts = {
            "with an EXIF orientation": (
                self.turned,
                "viewers turn them, but images and labels are taken as their pixels are stored; where check.png shows "
                "labels beside their structures, turn the pixels themselves and remove the tag",
            ),
            "with pixels that are not opaque": (self.transparent, "their hidden colours are seen; flatten them"),
            "with further images": (self.with_pages, "only the first is read; save each as a file of its own"),
        }
        lines = [f"{count(names)} {what} ({name_some(names)}): {why}" for what, (names, why) in texts.items() if names]
        return lines + self.others


def count(names: Sized, noun: str = "file") -> str:
    """Return a number with its noun."""
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}"


def name_some(names: Sequence[str], most: int = _MAX_NAMED) -> str:
    """Return the first names, and how many there are beside them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
