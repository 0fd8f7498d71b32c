"""A dataset of one's own: images and labels in plain folders, or in a datalist.

::

    photos/a.jpg             masks/a.png              the same names
    a.jpg                    a_mask.png               beside each other, with a suffix
    wounds.csv                                        columns image, label, and what else is known: patient, split, ...
    imagesTr/a.nii.gz        labelsTr/a.nii.gz        volumes

The ``source`` of a config says where the files are and how labels are drawn: :class:`common.datasets.source.Source`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cached_property
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
from common.datasets.folder_files.slices import count_slices, read_slice_for_the_eye
from common.datasets.folder_files.volume_contents import check_volumes, files_of_volume
from common.datasets.issues import DatasetIssues
from common.datasets.readers.folder_labels import read_folder_label
from common.datasets.readers.pictures import read_picture, to_grey, to_rgb
from common.datasets.source import Source
from common.datasets.splits import check_split, spread_slices
from common.errors import InputError


class FolderDataset(SegmentationDataset):
    """Images and labels of one's own, whose entries have the "patient" if it is known, and the field of view as "fov".

    Splits that the source states are as stated; another one is drawn by the seed, patient by patient, with about the
    same share of every stratum. Volumes are seen slice by slice: ``num_validation`` counts volumes, ``num_labels``
    slices, which are spread over the volumes; whole volumes come from :meth:`volumes`.

    Args:
        source: where the files are, see :class:`common.datasets.source.Source`.
        common: as for the base class.

    Raises:
        InputError: if a key of ``source`` is wrong, and as the base class does.
    """

    name = "folder"
    title = "images"
    layout = "images and labels, as the keys of source say"
    own_settings = ("source",)

    def __init__(self, *, source: Mapping[str, Any] | Source, **common: Any) -> None:
        super().__init__(**common)
        self._source = Source.from_config(source)
        self.source = self._source.to_config()
        self._found = Found()
        self._volume_of: dict[str, str] = {}  # by name of a slice

    # What the source says

    @property
    def in_channels(self) -> int:
        """Number of channels that images are read with."""
        return self._source.channels

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by id."""
        return self._source.classes

    @property
    def has_volumes(self) -> bool:
        """Whether images are slices of volumes."""
        return self._source.kind == "volumes"

    @property
    def group(self) -> str:
        """What is never split: "patient" where patients are known, else "volume" or "image"."""
        return "patient" if self._source.patient is not None else "volume" if self.has_volumes else "image"

    @property
    def units(self) -> str:
        """What a label budget counts."""
        return "slices" if self.has_volumes else "images"

    @property
    def keys(self) -> tuple[str, ...]:
        """Files that a complete image has."""
        return ("image", "label") if self._source.field_of_view is None else ("image", "label", "fov")

    @property
    def unused(self) -> tuple[str, ...]:
        """Labels without an image and images that are yet to be annotated, which have remarks of their own."""
        known = [*self._found.orphans, *self._found.unlabelled]
        return tuple(Path(os.path.relpath(path, self.folder)).as_posix().replace("[", "[[]") for path in known)

    @cached_property
    def folder(self) -> Path:
        """The folder that the paths of the source start from.

        Raises:
            InputError: if there is none at ``root``, or the images of the source are not in it.
        """
        folder = Path(os.path.abspath(Path(self.root).expanduser()))
        if not folder.is_dir():
            raise InputError(f"dataset_dir {folder}: no such folder; expected the one with {self._source.images} in it")
        if not (folder / self._source.images).exists():
            raise InputError(
                f"dataset_dir {folder}: no {self._source.images} in it; expected the images of source::images, whose "
                "path starts from dataset_dir"
            )
        return folder

    # What the dataset does

    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        """Return image, label, field of view and patient by name, such as ``a``, or ``benign/a`` of a folder in images.

        The slices of a volume are named ``<volume>/0000`` and so on, and have the number of the "slice".
        """
        self._found = find_items(self.folder, self._source, issues)
        labelled = {name: item for name, item in self._found.items.items() if item.image not in self._unlabelled}
        if not self.has_volumes:
            return {name: _entry(item) for name, item in labelled.items()}
        entries, self._volume_of = {}, {}
        for name, item in labelled.items():
            with issues.collect():
                for index in range(count_slices(item.image)):
                    entries[f"{name}/{index:04d}"] = {**_entry(item), "slice": index}
                    self._volume_of[f"{name}/{index:04d}"] = name
        return entries

    @property
    def _unlabelled(self) -> set[Path]:
        return set(self._found.unlabelled)

    def split(self, files: Mapping[str, Entry], issues: DatasetIssues) -> dict[str, list[str]]:
        """Divide the patients, volumes or images, and spread the training slices for the label budget."""
        names: dict[str, list[str]] = {}  # of images or slices, by group
        items: dict[str, dict[str, Item]] = {}  # images or volumes by group
        for name in files:
            whole = self._volume_of.get(name, name)
            item = self._found.items[whole]
            group = item.patient or whole
            names.setdefault(group, []).append(name)
            items.setdefault(group, {})[whole] = item
        groups = {group: list(each.values()) for group, each in items.items()}
        num_test = self.quarter(set().union(*items.values()) if items else {})
        parts = divide(groups, self.seed, num_test, self.num_validation, issues, f"{self.group}s")
        splits = {split: [name for group in part for name in names[group]] for split, part in parts.items()}
        if self.has_volumes and parts["training"]:
            splits["training"] = spread_slices({group: names[group] for group in parts["training"]})
        return splits

    def check(self) -> dict[str, int]:
        """Read every image and label, see the base class; and note what a user should know of how files were found."""
        counts = super().check()
        for note in (
            *self._found.notes,
            *describe_orphans(self._found, self.folder),
            *describe_unlabelled(self._found),
            *self.remarks_on_patients(),
        ):
            self.note(f"{self.title} in {self.folder}: {note}", logging.WARNING)
        return counts

    def remarks_on_patients(self) -> list[str]:
        """Return a line on images whose patients are not known."""
        return describe_patients(self._source, self._found, self.folder)

    def check_files(self, files: Mapping[str, Entry], issues: DatasetIssues) -> None:
        """Read every image, label and field of view, and note what is wrong with their contents."""
        check = check_volumes if self.has_volumes else check_pictures
        check(files, self._source, self.folder, issues, self.findings)

    def files_read(self, files: Mapping[str, Entry]) -> set[Path]:
        """Return every file that is read, those of a folder of slices too."""
        paths = super().files_read(files)
        return {file for path in paths for file in files_of_volume(path)} if self.has_volumes else paths

    def group_of(self, entry: Mapping[str, Any]) -> str | None:
        """Return the patient that an entry belongs to, None where it is unknown; else its volume, or its image."""
        if self._source.patient is not None:
            return entry.get("patient")
        return entry.get("patient") or Path(os.path.relpath(entry["image"], self.folder)).as_posix()

    def load(self, entry: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return an image ``(H, W, C)`` to look at and its class ids ``(H, W)``, both uint8.

        Raises:
            InputError: if a file cannot be read, or the label is faulty.
        """
        if self.has_volumes:
            return read_slice_for_the_eye(entry, self._source)
        picture = (to_rgb if self.in_channels == 3 else to_grey)(read_picture(entry["image"]))
        pixels = np.asarray(picture)
        return np.atleast_3d(pixels), read_folder_label(entry["label"], self._source, picture.size)

    def volumes(self, split: str) -> list[dict[str, str]]:
        """Return the whole volumes of one split: NIfTI files, or folders of DICOM slices, with labels and patients.

        Args:
            split: "training", "validation" or "test"; a label budget does not count.

        Raises:
            InputError: as :meth:`entries` does.
            ValueError: if ``split`` is none of the three.
        """
        check_split(split)
        found = {entry["image"]: entry for entry in self.all_entries()[split]}
        return [{key: value for key, value in entry.items() if key != "slice"} for entry in found.values()]

    def _digests(self, files: Mapping[str, Entry]) -> dict[str, str]:
        """Return what was found of the pixels of images, by name; a volume is known by its first slice."""
        return super()._digests({name: entry for name, entry in files.items() if entry.get("slice", 0) == 0})

    @classmethod
    def write_phantoms(
        cls, folder: str | os.PathLike, source: Mapping[str, Any] | Source | None = None, **options: Any
    ) -> Path:
        """Write procedural shapes in the layout of a source: see :mod:`common.datasets.phantoms.own_images`."""
        from common.datasets.phantoms.own_images import write_phantoms  # here because a release goes without phantoms

        return write_phantoms(folder, source, **options)

    def write_own_phantoms(self, folder: str | os.PathLike, **options: Any) -> Path:
        """Write phantoms in the layout of the dataset's own source."""
        return self.write_phantoms(folder, source=self._source, **options)


def _entry(item: Item) -> Entry:
    entry: Entry = {"image": item.image}
    for key in ("label", "fov", "patient"):
        value = getattr(item, key)
        if value is not None:
            entry[key] = value
    return entry
