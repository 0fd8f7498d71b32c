"""A dataset of one's own: images and labels in plain folders, or in a datalist.

::

    photos/a.jpg             masks/a.png              the same names
    a.jpg                    a_mask.png               beside each other, with a suffix
    wounds.csv                                        columns image, label, and what else is known: patient, split, ...

The ``source`` of a config says where the files are and how labels are drawn: :class:`common.datasets.source.Source`.
Volumes are in ``folder_volumes``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from common.datasets.base import Entry, SegmentationDataset
from common.datasets.folder_files.contents import check_pictures
from common.datasets.folder_files.datalists import describe_unlabelled
from common.datasets.folder_files.dividing import divide
from common.datasets.folder_files.finding import find_items
from common.datasets.folder_files.items import Found, Item
from common.datasets.folder_files.remarks import describe_orphans, describe_patients
from common.datasets.issues import DatasetIssues
from common.datasets.readers.folder_labels import read_folder_label
from common.datasets.readers.pictures import read_picture, to_grey, to_rgb
from common.datasets.source import Source
from common.errors import InputError


class FolderDataset(SegmentationDataset):
    """Images and labels of one's own, whose entries have the "patient" if it is known, and the field of view as "fov".

    Splits that the source states are as stated; another one is drawn by the seed, patient by patient, with about the
    same share of every stratum.

    Args:
        source: where the files are, see :class:`common.datasets.source.Source`.
        common: as for the base class.

    Raises:
        InputError: if a key of ``source`` is wrong, or its kind is not that of the class, and as the base class does.
    """

    name = "folder"
    kind = "pictures"
    whole = "image"  # what is split where no patient is known
    title = "images"
    layout = "images and labels, as the keys of source say"
    own_settings = ("source",)

    def __init__(self, *, source: Mapping[str, Any] | Source, **common: Any) -> None:
        super().__init__(**common)
        self._source = Source.from_config(source)
        self.source = self._source.to_config()
        if self._source.kind != self.kind:
            raise InputError(
                f"source::kind: {type(self).__name__} reads {self.kind}, got {self._source.kind}; let data::_target_ "
                f"be {self._source.dataset_class}"
            )
        self._found = Found()

    # What the source says

    @property
    def in_channels(self) -> int:  # type: ignore[override]  # as the source says
        """Number of channels that images are read with."""
        return self._source.channels

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # as the source says
        """Names of the classes by id."""
        return self._source.classes

    @property
    def has_volumes(self) -> bool:
        """Whether images are slices of volumes."""
        return self.kind == "volumes"

    @property
    def group(self) -> str:  # type: ignore[override]  # as the source says
        """What is never split: "patient" where patients are known, else the image."""
        return "patient" if self._source.patient is not None else self.whole

    @property
    def keys(self) -> tuple[str, ...]:  # type: ignore[override]  # as the source says
        """Files that a complete image has."""
        return ("image", "label") if self._source.field_of_view is None else ("image", "label", "fov")

    @property
    def unused(self) -> tuple[str, ...]:
        """Labels without an image and images that are yet to be annotated, which have remarks of their own."""
        known = [*self._found.orphans, *self._found.unlabelled]
        return tuple(escape(Path(os.path.relpath(path, self.folder)).as_posix()) for path in known)

    @cached_property
    def folder(self) -> Path:
        """The folder that the paths of the source start from.

        Raises:
            InputError: if there is none at ``root``, or the images of the source are not in it.
        """
        folder = Path(os.path.abspath(Path(self.root).expanduser()))
        if not folder.is_dir():
            raise InputError(f"dataset_dir {folder}: no such folder; expected {self._source.root_is}")
        if not (folder / self._source.images).exists():
            raise InputError(
                f"dataset_dir {folder}: no {self._source.images} in it; if the data were moved, give --dataset_dir, "
                f"{self._source.root_is}"
            )
        return folder

    # What the dataset does

    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        """Return image, label, field of view and patient by name, such as ``a``, or ``benign/a`` in a folder."""
        return {name: entry_of(item) for name, item in self.find_labelled(issues).items()}

    def find_labelled(self, issues: DatasetIssues) -> dict[str, Item]:
        """Return what is there by name, but for images that have no label on purpose.

        Args:
            issues: gets what is missing, ambiguous, or does not pair.
        """
        self._found = find_items(self.folder, self._source, issues)
        unlabelled = set(self._found.unlabelled)
        return {name: item for name, item in self._found.items.items() if item.image not in unlabelled}

    def split(self, files: Mapping[str, Entry], issues: DatasetIssues) -> dict[str, list[str]]:
        """Divide the patients, or the images."""
        groups: dict[str, list[str]] = {}
        for name in files:
            groups.setdefault(self._found.items[name].patient or name, []).append(name)
        parts = self.divide(groups, issues)
        return {split: [name for group in part for name in groups[group]] for split, part in parts.items()}

    def divide(self, groups: Mapping[str, Sequence[str]], issues: DatasetIssues) -> dict[str, list[str]]:
        """Return the groups in every split.

        Args:
            groups: names of images, or of volumes, of each patient.
            issues: gets what keeps them from being split.
        """
        items = {group: [self._found.items[name] for name in names] for group, names in groups.items()}
        num_test = self.quarter({name: {} for names in groups.values() for name in names})
        return divide(items, self.seed, num_test, self.num_validation, issues, f"{self.group}s")

    def check(self) -> dict[str, int]:
        """Read every image and label, see the base class; and note what a user should know of how files were found."""
        counts = super().check()
        for note in (
            *self._found.notes,
            *describe_orphans(self._found, self.folder),
            *describe_unlabelled(self._found),
            *self.remarks_on_patients(),
        ):
            level = logging.INFO if self.is_read_anew else logging.DEBUG  # not again in every stage of a pipeline
            self.note(f"{self.title} in {self.folder}: {note}", level)
        return counts

    def remarks_on_patients(self) -> list[str]:
        """Return a line on images whose patients are not known."""
        return describe_patients(self._source, self._found, self.folder)

    def check_files(self, files: Mapping[str, Entry], issues: DatasetIssues) -> None:
        """Read every image, label and field of view, and note what is wrong with their contents."""
        check_pictures(files, self._source, self.folder, issues, self.findings)

    def may_hold_images(self, place: Path) -> bool:
        """Tell whether a folder is one of the source, or lies in one: beside them, bundles and runs may lie."""
        if self._source.is_datalist:
            return place.is_relative_to((self.folder / self._source.images).parent)
        places = [self._source.images, self._source.labels, self._source.field_of_view]
        folders = [self.folder / text for text in places if text is not None]
        return any(place.is_relative_to(folder) for folder in folders)

    def group_of(self, entry: Mapping[str, Any]) -> str | None:
        """Return the patient of an entry, None where it is unknown; its image where no patients are."""
        if self._source.patient is not None:
            return entry.get("patient")
        return Path(os.path.relpath(entry["image"], self.folder)).as_posix()

    def load(self, entry: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return an image ``(H, W, C)`` to look at and its class ids ``(H, W)``, both uint8.

        Raises:
            InputError: if a file cannot be read, or the label is faulty.
        """
        picture = (to_rgb if self.in_channels == 3 else to_grey)(read_picture(entry["image"]))
        pixels = np.asarray(picture)
        return np.atleast_3d(pixels), read_folder_label(entry["label"], self._source, picture.size)

    @classmethod
    def write_phantoms(
        cls, folder: str | os.PathLike, *, source: Mapping[str, Any] | Source | None = None, **options: Any
    ) -> Path:
        """Write procedural shapes in the layout of a source: see :mod:`common.datasets.phantoms.own_images`."""
        from common.datasets.phantoms.own_images import write_phantoms  # here because a release goes without phantoms

        plain: dict[str, Any] = {"images": "images", "labels": "labels", "classes": ["background", "shape"]}
        plain |= {"kind": cls.kind, "label_format": "black_white", "channels": 1 if cls.kind == "volumes" else 3}
        return write_phantoms(folder, source or plain, **options)

    def write_own_phantoms(self, folder: str | os.PathLike, **options: Any) -> Path:
        """Write phantoms in the layout of the dataset's own source."""
        return self.write_phantoms(folder, source=self._source, **options)


def entry_of(item: Item) -> Entry:
    """Return the files and the patient of an image as an entry has them."""
    entry: Entry = {"image": item.image}
    for key in ("label", "fov", "patient"):
        value = getattr(item, key)
        if value is not None:
            entry[key] = value
    return entry
