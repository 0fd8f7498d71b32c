"""KidneyUS, the Open Kidney Ultrasound Data Set (Singla et al., 2022, arXiv 2206.06657).

::

    kidneyUS_images_14_june_2022/100_IM-0246-0030_anon.png           sizes vary, grey or RGB; 100 is the exam
    labels/reviewed_masks_1/capsule/100_IM-0246-0030_anon.png        0 and 1, by sonographer 1; reviewed_masks_2 by 2
    labels/reviewed_masks_1/regions/100_IM-0246-0030_anon.png        1 central echo complex, 2 medulla, 3 cortex
    labels/reviewed_labels_1.csv                                     the polygons they were drawn from

The masks are read where there are any, else the polygons. The number before the first ``_`` is the exam, and no exam is
split. There is no official split.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from common.datasets.annotators import inter_annotator_dice
from common.datasets.base import Entry, SegmentationDataset
from common.datasets.contents import check_contents
from common.datasets.findings import count, name_some
from common.datasets.issues import DatasetIssues
from common.datasets.masks import class_id_issue
from common.datasets.readers.images import read_image, to_grey
from common.datasets.readers.kidneyus import (
    KINDS,
    STRUCTURES,
    TASKS,
    VALUES,
    is_table,
    read_label,
    refuse_outside,
)
from common.datasets.readers.via import read_polygons
from common.datasets.roots import list_images
from common.errors import InputError

ANNOTATORS = (1, 2, "intersection")

_SUFFIXES = (".png",)


def class_names(task: str) -> list[str]:
    """Return the names of a task's classes by id, background first.

    Raises:
        InputError: if ``task`` is unknown.
    """
    _check_choice("task", task, TASKS)
    return list(TASKS[task].values())


class KidneyUSDataset(SegmentationDataset):
    """KidneyUS, whose labels are lists of files, which :class:`LoadKidneyLabeld` turns into one.

    The list has, for each annotator, the path of each mask or of the polygons by kind, and the image that they belong
    to. The splits are the same for every task and annotator.

    Args:
        task: "regions", "capsule" or "all"; ``TASKS`` has their classes.
        annotator: 1, 2, or "intersection", which keeps a class where both agree.
        common: as for the base class.

    Raises:
        InputError: if ``task`` or ``annotator`` is unknown, and as the base class does.
    """

    name = "kidneyus"
    title = "KidneyUS"
    in_channels = 1
    group = "exam"
    landmarks = ("kidneyUS_images*", "labels/reviewed_masks_1", "labels/reviewed_masks_2")
    layout = (
        "KidneyUS with its images, as in kidneyUS_images_14_june_2022/100_IM-0246-0030_anon.png, and beside them its "
        "labels, as in labels/reviewed_masks_1/regions/100_IM-0246-0030_anon.png or labels/reviewed_labels_1.csv"
    )
    own_settings = ("task", "annotator")

    def __init__(self, *, task: str = "regions", annotator: int | str = 1, **common: Any) -> None:
        _check_choice("task", task, TASKS)
        _check_choice("annotator", annotator, ANNOTATORS)
        super().__init__(**common)
        self.task = task
        self.annotator = annotator

    @property
    def classes(self) -> Mapping[int, str]:
        """Names of the task's classes by id."""
        return TASKS[self.task]

    @property
    def unused(self) -> tuple[str, ...]:
        """Masks of other tasks and of the other annotator."""
        others = [f"labels/reviewed_masks_{each}/*" for each in (1, 2) if self.annotator not in (each, "intersection")]
        kinds = [kind for kind in VALUES if kind not in KINDS[self.task]]
        return (*others, *(f"labels/reviewed_masks_*/{kind}/*" for kind in kinds))

    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        """Return image and label by file name."""
        images = _find_images(self.folder)
        if not images:
            issues.add("kidneyUS_images*: no images in it; expected files such as 100_IM-0246-0030_anon.png")
        entries: dict[str, Entry] = {path.name: {"image": path, "label": []} for path in images}
        for number in (1, 2) if self.annotator == "intersection" else (self.annotator,):
            labels = self._find_labels(images, number, issues)
            for path in images:
                entries[path.name]["label"].append({**labels.get(path.name, {}), "image": path})
        return entries

    def check_files(self, files: Mapping[str, Entry], issues: DatasetIssues) -> None:
        """Read every image, and its masks or the corners of its polygons."""
        for entry in files.values():
            masks = {
                label[kind]: partial(class_id_issue, highest=max(VALUES[kind].values()))
                for label in entry["label"]
                for kind in KINDS[self.task]
                if kind in label and not is_table(label[kind])
            }
            check_contents(entry["image"], masks, self.folder, issues, self.findings, ("L", "RGB", "RGBA"))
        self._check_corners(files, issues)

    def group_of(self, entry: Mapping[str, Any]) -> str:
        """Return the exam that an entry belongs to."""
        return Path(entry["image"]).name.split("_")[0]

    def load(self, entry: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return the image ``(H, W, 1)`` of an entry and its class ids ``(H, W)``, both uint8.

        Raises:
            InputError: if a file cannot be read, or the polygons of the image are faulty.
        """
        image = to_grey(read_image(entry["image"]))
        return np.asarray(image)[..., None], read_label(entry["label"]).astype(np.uint8)

    def agreement(self, split: str) -> dict[str, float] | None:
        """Return :func:`inter_annotator_dice` of a split, or None where only one annotator has drawn; the log says so.

        Args:
            split: "training", "validation" or "test", whose label budget does not count.
        """
        try:
            entries = self.with_settings(annotator="intersection", num_labels=None).entries(split)
            scores = inter_annotator_dice(entries)
        except InputError as error:
            self.note(f"the agreement between annotators is unknown, since labels by two are not complete: {error}")
            return None
        shown = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
        self.note(f"Dice between the annotators on {len(entries)} {split} images: {shown}")
        return scores

    @classmethod
    def write_phantoms(cls, folder: str | os.PathLike, **options: Any) -> Path:
        """Write procedural ultrasound images: see :func:`common.datasets.phantoms.kidneyus.write_phantoms`."""
        from common.datasets.phantoms.kidneyus import write_phantoms  # here because a release goes without phantoms

        return write_phantoms(folder, **options)

    def _find_labels(self, images: list[Path], number: int | str, issues: DatasetIssues) -> dict[str, dict[str, Path]]:
        """Return one annotator's files by image and kind: the masks where there are any, else the polygons."""
        masks = f"labels/reviewed_masks_{number}"
        if not (self.folder / masks).is_dir():
            return self._find_polygons(images, number, issues)
        found: dict[str, dict[str, Path]] = {}
        for kind in KINDS[self.task]:
            present = {path.name: path for path in list_images(self.folder / masks / kind, _SUFFIXES)}
            if not present:
                issues.add(f"{masks}/{kind}: no masks in it; expected one for each image, of its name")
                continue
            for image in images:
                if image.name in present:
                    found.setdefault(image.name, {})[kind] = present[image.name]
                else:
                    shown = image.relative_to(self.folder).as_posix()
                    issues.add(f"{shown}: no label, expected {masks}/{kind}/{image.name}")
        return found

    def _find_polygons(
        self, images: list[Path], number: int | str, issues: DatasetIssues
    ) -> dict[str, dict[str, Path]]:
        """Return the table of one annotator's polygons for every image that it has."""
        name = f"reviewed_labels_{number}.csv"
        places = [folder / name for folder in (self.folder / "labels", *{image.parent for image in images[:1]})]
        table = next((place for place in places if place.is_file()), None)
        if table is None:
            masks = f"labels/reviewed_masks_{number}"
            issues.add(f"{masks}: no such folder, and no labels/{name} to draw the masks from; one is needed")
            return {}
        self.note(f"KidneyUS in {self.folder}: there are no masks by annotator {number}, they are drawn from {table}")
        num_issues = len(issues.messages)
        repeats: list[str] = []
        polygons = read_polygons(table, STRUCTURES, issues, repeats)
        if repeats:
            left_out = f"polygons that repeat another count once: {count(repeats, 'row')} of {table}"
            shown = f"({name_some(repeats)}); take a table that was exported once"
            self.note(f"KidneyUS in {self.folder}: {left_out} {shown}", logging.WARNING)
        if not polygons and len(issues.messages) == num_issues:
            issues.add(f"{table}: has no rows; take the file as it was published")
        for image in images:
            if polygons and image.name not in polygons:  # a table that cannot be read is one issue, not one an image
                shown = image.relative_to(self.folder).as_posix()
                issues.add(f"{shown}: no label, expected rows of this name in {table}")
        kinds = KINDS[self.task]
        return {image.name: dict.fromkeys(kinds, table) for image in images if image.name in polygons}

    def _check_corners(self, files: Mapping[str, Entry], issues: DatasetIssues) -> None:
        """Note polygons that reach beyond their image."""
        structures = [structure for kind in KINDS[self.task] for structure in VALUES[kind]]
        labels = [label for entry in files.values() for label in entry["label"]]
        for table in sorted({path for label in labels for path in label.values() if is_table(path)}):
            ignored = DatasetIssues(self.title, self.folder)  # find_files has noted the rows that are wrong
            polygons = read_polygons(table, STRUCTURES, ignored)
            for name in sorted(polygons.keys() & files.keys()):
                try:
                    size = read_image(files[name]["image"]).size
                except InputError:  # check_contents has noted it
                    continue
                with issues.collect():
                    refuse_outside(polygons[name], structures, size, f"{table}: {name}")


def _check_choice(name: str, value: int | str, known: Collection[int | str]) -> None:
    # Not by `in`: of lists it may raise a TypeError, and True would pass for the annotator 1.
    if not any(type(value) is type(each) and value == each for each in known):
        raise InputError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")


def _find_images(root: Path) -> list[Path]:
    """Return the images; archives unpack into a folder of the same name once more."""
    for pattern in ("kidneyUS_images*", "kidneyUS_images*/kidneyUS_images*"):
        images = [path for folder in sorted(root.glob(pattern)) for path in list_images(folder, _SUFFIXES)]
        if images:
            return images
    return []
