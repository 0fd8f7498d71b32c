"""What is known of an image of a folder dataset by the names of its files alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Item(NamedTuple):
    """An image, or a volume, and what belongs to it.

    Attributes:
        image: a file, or a folder of DICOM slices.
        label: as :func:`common.datasets.readers.folder_labels.read_folder_label` takes it; None where there is none.
        fov: mask of its field of view.
        patient: None where it is unknown.
        split: "training", "validation" or "test"; None where the seed decides.
        stratum: such as a diagnosis.
    """

    image: Path
    label: Any = None
    fov: Path | None = None
    patient: str | None = None
    split: str | None = None
    stratum: str | None = None


@dataclass
class Found:
    """What was found.

    Attributes:
        items: by a name that is unique and independent of where the dataset lies; those without a label too.
        orphans: labels without an image.
        unlabelled: images that have no label on purpose: an empty cell of a datalist, or not annotated yet.
        notes: remarks that are worth a line in the report of a check.
    """

    items: dict[str, Item] = field(default_factory=dict)
    orphans: list[Path] = field(default_factory=list)
    unlabelled: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: Found, prefix: str = "") -> None:
        """Take over what was found elsewhere, its names after ``prefix``."""
        self.items |= {f"{prefix}{name}": item for name, item in other.items.items()}
        self.orphans += other.orphans
        self.unlabelled += other.unlabelled
        self.notes += [note for note in other.notes if note not in self.notes]
