"""What all datasets of labelled images have in common."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Sized
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from PIL import Image

from common.datasets.contents import check_contents
from common.datasets.copies import describe_copies, groups_of_copies
from common.datasets.findings import Findings
from common.datasets.issues import DatasetIssues
from common.datasets.manifest import make_manifest, read_findings, write_manifest
from common.datasets.masks import mask_issue
from common.datasets.readers.folder_walk import FolderWalk
from common.datasets.readers.images import read_image
from common.datasets.readers.label_pictures import label_values, read_label_picture
from common.datasets.roots import find_root
from common.datasets.splits import SPLITS, check_split, cut_splits, seeded_order
from common.datasets.unread import describe_unread, unread_images
from common.errors import InputError

Entry = dict[str, Any]  # "image", "label", ...: a path, or lists and dictionaries of paths

_MANIFEST = "dataset_manifest.json"  # as the bundles' configs name it
_TEST_FRACTION = 0.25  # held out where there is no official test split


class _Contents(NamedTuple):
    """What lies in the folder, by the names of the files alone."""

    files: dict[str, Entry]
    splits: dict[str, list[str]]  # names of images; training without a label budget
    issues: tuple[str, ...]


class SegmentationDataset(ABC):
    """A dataset of labelled images in its official layout, divided into training, validation and test.

    The split is fixed by the seed and made on groups (patients, exams): it depends on names and the seed alone. Files
    are looked for when they are first needed and then known to this object, so that constructing one touches no disk.

    A dataset of its own says where its root is, which files belong together (:meth:`find_files`), and how to draw
    phantoms (:meth:`write_phantoms`). By default labels are masks of background and one structure, and a quarter of the
    images is held out for the test; what is different overrides :meth:`split`, :meth:`check_files` or :meth:`load`.

    Args:
        root: folder of the dataset, its parent, or one of ``landmarks`` in it.
        num_validation: number of images held out for validation; whole groups are, so that it may be a few more.
        num_labels: label budget: the first so many training images, so that small budgets are part of larger ones; None
            takes all.
        seed: draws the splits, and the order of the training split.
        manifest: file to keep what :meth:`check` has read, so that it need not read what has not changed.

    Raises:
        InputError: if a number is not a whole number.
    """

    name: ClassVar[str]  # in the registry
    title: ClassVar[str]  # as the user knows it
    in_channels: ClassVar[int]
    class_names: ClassVar[tuple[str, ...]]  # by id, background first; where they depend on settings, see ``classes``
    group: ClassVar[str] = "image"  # what is never split, in the singular: "patient", "exam", or "image"
    landmarks: ClassVar[tuple[str, ...]]  # folders relative to the root, patterns allowed; it is known by the first
    layout: ClassVar[str]  # what the folder is expected to hold, for messages
    keys: ClassVar[tuple[str, ...]] = ("image", "label")  # files that a complete image has
    own_settings: ClassVar[tuple[str, ...]] = ()  # arguments, and attributes, beyond those above
    units: ClassVar[str] = "images"  # what a label budget counts

    def __init__(
        self,
        *,
        root: str | os.PathLike,
        num_validation: int = 2,
        num_labels: int | None = None,
        seed: int = 0,
        manifest: str | os.PathLike | None = None,
    ) -> None:
        for name, value in (("num_validation", num_validation), ("num_labels", num_labels), ("seed", seed)):
            if type(value) is not int and not (name == "num_labels" and value is None):
                raise InputError(f"{name} must be a whole number, got {value!r}")
        self.root = root
        self.num_validation = num_validation
        self.num_labels = num_labels
        self.seed = seed
        self.manifest = manifest
        self.notes: list[str] = []  # remarks for the report of a check
        self.untold: list[str] = []  # those of them that were not worth saying again
        self.is_read_anew = True  # by the latest check, rather than known from an earlier one
        self.findings = Findings()  # of the latest check

    # What a dataset says of itself

    @property
    def unused(self) -> Sequence[str]:
        """Patterns of files that the layout has and that are not read, relative to the root."""
        return ()

    @abstractmethod
    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        """Return the files of every image by a name that is unique and independent of where the dataset lies.

        An incomplete image lacks some of ``keys``; it is in no split.

        Args:
            issues: gets what is missing or ambiguous.
        """

    @classmethod
    @abstractmethod
    def write_phantoms(cls, folder: str | os.PathLike) -> Path:
        """Write procedural images in the official layout and file formats, with every class, into a new folder.

        Their default number and size suit the default settings of the dataset's bundle.

        Raises:
            InputError: if the folder exists and is not empty.
        """

    def split(self, files: Mapping[str, Entry], issues: DatasetIssues) -> dict[str, list[str]]:
        """Return the names of the images in every split; all are empty where there is too little to split.

        Args:
            files: complete images by name.
            issues: gets what keeps them from being split.
        """
        groups: dict[str, list[str]] = {}
        for name, entry in files.items():
            groups.setdefault(self.group_of(entry) or name, []).append(name)
        ordered = [groups[group] for group in seeded_order(list(groups), self.seed)]
        return cut_splits(ordered, self.quarter(files), self.num_validation, issues, f"{self.group}s")

    def check_files(self, files: Mapping[str, Entry], issues: DatasetIssues) -> None:
        """Read every image and label, and note what is wrong with their contents.

        What is not wrong but worth knowing, and what images look like, goes into ``self.findings``.

        Args:
            files: images by name, incomplete ones too.
            issues: gets what is wrong.
        """
        for entry in files.values():
            masks = {entry[key]: self.mask_issue for key in self.keys[1:] if key in entry}
            check_contents(entry["image"], masks, self.folder, issues, self.findings)

    def files_read(self, files: Mapping[str, Entry]) -> set[Path]:
        """Return every file that :meth:`check_files` reads."""
        return {path for entry in files.values() for path in _paths_in(entry)}

    def may_hold_images(self, place: Path) -> bool:
        """Tell whether a folder is one where a check looks for images that are not read."""
        return True

    def write_own_phantoms(self, folder: str | os.PathLike, **options: Any) -> Path:
        """Write phantoms as :meth:`write_phantoms` does, for a dataset of these settings."""
        return self.write_phantoms(folder, **options)

    @staticmethod
    def mask_issue(mask: Image.Image) -> str | None:
        """Return what is wrong with a mask, if anything is."""
        return mask_issue(mask)

    def group_of(self, entry: Mapping[str, Any]) -> str | None:
        """Return the patient, exam or image that an entry belongs to, None where it is unknown."""
        return Path(entry["image"]).stem

    def load(self, entry: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return an image ``(H, W, C)`` to look at and its class ids ``(H, W)``, both uint8.

        Raises:
            InputError: if a file cannot be read.
        """
        mask = label_values(read_label_picture(entry["label"]).image, entry["label"]) > 0
        return np.asarray(read_image(entry["image"])), mask.astype(np.uint8)

    def agreement(self, split: str) -> dict[str, float] | None:
        """Return the Dice coefficient between two annotators of a split by class, None where there are none."""
        return None

    # What follows from that

    @property
    def classes(self) -> Mapping[int, str]:
        """Names of the classes by id, background 0 first."""
        return dict(enumerate(self.class_names))

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.classes)

    @property
    def settings(self) -> dict[str, Any]:
        """What the entries depend on, beside the folder."""
        names = ("num_validation", "num_labels", "seed", *self.own_settings)
        return {name: getattr(self, name) for name in names}

    def with_settings(self, **changes: Any) -> Self:
        """Return the same dataset with some of its settings changed."""
        return type(self)(root=self.root, manifest=self.manifest, **{**self.settings, **changes})

    @cached_property
    def folder(self) -> Path:
        """The folder that the official layout starts from.

        Raises:
            InputError: if there is none at ``root``, or more than one.
        """
        return find_root(self.root, self.title, self.landmarks, self.layout)

    def entries(self, split: str, checked: bool = False) -> list[Entry]:
        """Return the images of one split as a MONAI datalist: dictionaries of paths, as strings.

        Args:
            split: "training", "validation" or "test".
            checked: whether to :meth:`check` the dataset first.

        Raises:
            InputError: if files are missing or too few, or ``num_labels`` is out of range; all issues at once. With
                ``checked`` also as :meth:`check` does.
            ValueError: if ``split`` is none of the three.
        """
        check_split(split)
        if checked:
            self.check()
        return self.all_entries()[split][: self.num_labels if split == "training" else None]

    def beyond_budget(self) -> list[Entry]:
        """Return the training images that the label budget leaves out as a MONAI datalist, without their labels.

        Raises:
            InputError: if it leaves out none, and as :meth:`entries` does.
        """
        training = self.all_entries()["training"]
        left_out = training[self.num_labels :] if self.num_labels is not None else []
        if not left_out:
            given = "null" if self.num_labels is None else self.num_labels
            raise InputError(
                f"num_labels: {given} takes all {len(training)} training {self.units}, which leaves none for "
                f"beyond_budget; give fewer than {len(training)}"
            )
        return [{key: value for key, value in entry.items() if key != "label"} for entry in left_out]

    def all_entries(self) -> dict[str, list[Entry]]:
        """Return the images of every split, those beyond the label budget too.

        Raises:
            InputError: as :meth:`entries` does.
        """
        contents = self._contents
        DatasetIssues(self.title, self.folder, contents.issues).raise_if_any()
        return {split: [_as_text(contents.files[name]) for name in names] for split, names in contents.splits.items()}

    def check(self) -> dict[str, int]:
        """Read every image and label and return the number of images in each split.

        Where ``manifest`` records that these very files have passed before, they are not read again.

        Raises:
            InputError: listing every issue at once: files missing, unreadable, of the wrong kind, size or grey values,
                too few images for a split, ``num_labels`` out of range.
        """
        contents = self._contents
        issues = DatasetIssues(self.title, self.folder, contents.issues)
        walk = FolderWalk(self.folder)
        for place, reason in walk.closed.items():
            if self.may_hold_images(place):
                issues.add(reason)
        own = {name: getattr(self, name) for name in self.own_settings}
        read = self.files_read(contents.files)
        manifest = make_manifest(self.name, own, self.folder, read)  # before they are read, lest they change meanwhile
        findings = None if self.manifest is None else read_findings(manifest, self.manifest)
        self.findings = findings or Findings()
        self.is_read_anew = findings is None
        if findings is None:
            self.check_files(contents.files, issues)
            issues.raise_if_any()
            self.findings.disputed = self._find_disputed(contents.files)
            if self.manifest is not None:
                write_manifest(manifest, self.findings, self.manifest)
        issues.raise_if_any()
        unread = unread_images(walk, self.folder, read, self.unused, Path(self.manifest or _MANIFEST).name)
        unread = [name for name in unread if self.may_hold_images((self.folder / name).parent)]
        for remark in (*self.findings.remarks(), *describe_unread(unread), *self._describe_copies(contents)):
            self.note(f"{self.title} in {self.folder}: {remark}", logging.WARNING)
        return {split: len(self.entries(split)) for split in SPLITS}

    def _find_disputed(self, files: Mapping[str, Entry]) -> list[str]:
        """Return the digests of images that are there more than once, with different labels."""
        complete = {name: entry for name, entry in files.items() if entry.keys() >= set(self.keys)}
        disputed = []
        for digest, (first, *others) in groups_of_copies(self._digests(complete)).items():
            label = self.load(_as_text(complete[first]))[1]
            if not all(np.array_equal(label, self.load(_as_text(complete[name]))[1]) for name in others):
                disputed.append(digest)
        return disputed

    def _describe_copies(self, contents: _Contents) -> list[str]:
        return describe_copies(self._digests(contents.files), contents.splits, self.findings.disputed)

    def _digests(self, files: Mapping[str, Entry]) -> dict[str, str]:
        """Return what was found of the pixels of images, by name."""
        places = {name: Path(os.path.relpath(entry["image"], self.folder)).as_posix() for name, entry in files.items()}
        return {name: self.findings.digests[place] for name, place in places.items() if place in self.findings.digests}

    @cached_property
    def _contents(self) -> _Contents:
        issues, files = DatasetIssues(self.title, self.folder), {}
        try:
            files = self.find_files(issues)
        except OSError as error:
            issues.add(f"{error.filename}: cannot be opened ({error.strerror}); all of the dataset must be readable")
        splits: dict[str, list[str]] = {split: [] for split in SPLITS}
        if self.num_validation < 1:
            issues.add(f"num_validation must be at least 1, got {self.num_validation}")
        else:
            complete = {name: entry for name, entry in files.items() if entry.keys() >= set(self.keys)}
            splits = self.split(complete, issues)
        available = len(splits["training"])
        if available and self.num_labels is not None and not 1 <= self.num_labels <= available:
            issues.add(
                f"num_labels must be between 1 and the {available} training {self.units} available, got "
                f"{self.num_labels}"
            )
        return _Contents(files, splits, tuple(issues.messages))

    # For the methods above

    @staticmethod
    def quarter(files: Sized) -> int:
        """Return how many images, or patients, to hold out for the test where there is no official split."""
        return max(1, round(_TEST_FRACTION * len(files)))

    def note(self, message: str, level: int = logging.INFO) -> None:
        """Log a remark about the dataset, once, and keep it for the report of a check."""
        if message not in self.notes:
            self.notes.append(message)
            if level < logging.INFO:
                self.untold.append(message)
            logging.getLogger(type(self).__module__).log(level, message)


def _as_text(value: Any) -> Any:
    """Return an entry with every path as a string."""
    if isinstance(value, Mapping):
        return {key: _as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_text(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _paths_in(value: Any) -> Iterator[Path]:
    """Return every path of an entry."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, (Mapping, list)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _paths_in(each)
