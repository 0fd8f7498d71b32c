"""Autooral: oral ulcers in photographs (Jiang et al., 2024, doi 10.1038/s41598-024-69125-9).

::

    Train/data_train/0001.png, Train/mask_train/0001.png   RGB of varying size, ulcer with foreground > 0
    Val/data_val/..., Test/data_test/...                   by the same pattern
    Training Set disease classification.xlsx               columns Patient ID and Image Number

The official folders are the splits. Where the workbook names the patients, none of them is split.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from common.datasets.base import Entry, SegmentationDataset
from common.datasets.issues import DatasetIssues
from common.datasets.masks import mask_issue
from common.datasets.readers.picture_formats import SUFFIXES
from common.datasets.roots import describe_folder, list_images
from common.datasets.splits import cut_splits, seeded_order
from common.datasets.workbooks import read_workbook

_PARTS = ("Train", "Val", "Test")
_WORKBOOK = "Training Set disease classification.xlsx"
_COLUMNS = ("Patient ID", "Image Number")


class AutooralDataset(SegmentationDataset):
    """Autooral.

    The test split is ``Test``, validation images come from ``Val``. Where one of these folders is missing, its split is
    drawn from ``Train``: patient by patient where the workbook names them, else image by image. Images in ``Train`` or
    ``Val`` of patients who are held out before them are left out. The log says all this.
    """

    name = "autooral"
    title = "Autooral"
    in_channels = 3
    class_names = ("background", "ulcer")
    group = "patient"
    landmarks = tuple(f"{part}/{kind}_{part.lower()}" for part in _PARTS for kind in ("data", "mask"))
    layout = (
        "Autooral as it is unpacked, with Train/data_train/0001.png and Train/mask_train/0001.png, the same in Val and "
        f"Test, and '{_WORKBOOK}'"
    )

    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        """Return image and label by part and stem, such as ``Train/0001``.

        Labels without an image do no harm: a user may have taken the image out on purpose.
        """
        found: dict[str, Entry] = {}
        for part in _PARTS:
            folders = {key: f"{part}/{kind}_{part.lower()}" for key, kind in (("image", "data"), ("label", "mask"))}
            paths = {key: list_images(self.folder / folder, SUFFIXES) for key, folder in folders.items()}
            if not paths["image"] and part != "Train":
                continue
            for key, folder in folders.items():
                if not paths[key]:
                    issues.add(f"{folder}: {describe_folder(self.folder / folder)}; expected files such as 0001.png")
            labels = {path.stem: path for path in paths["label"]}
            for image in paths["image"]:
                name, shown = f"{part}/{image.stem}", image.relative_to(self.folder).as_posix()
                if name in found:
                    issues.add(f"{shown}: number {image.stem} is taken by {found[name]['image'].name}; keep one")
                    continue
                found[name] = {"image": image}
                if image.stem in labels:
                    found[name]["label"] = labels[image.stem]
                elif labels:  # an empty folder is one issue, not one for every image
                    issues.add(f"{shown}: no label, expected {folders['label']}/{image.stem}.png")
        self._patients = self._read_patients(found, issues)
        return found

    def split(self, files: Mapping[str, Entry], issues: DatasetIssues) -> dict[str, list[str]]:
        """Take the official folders, and draw from ``Train`` what is missing."""
        names = {part: [name for name in files if name.startswith(part)] for part in _PARTS}
        self._keep_patients_whole(names)
        groups: dict[str, list[str]] = {}
        for name in names["Train"]:
            groups.setdefault(self._patients.get(name, name), []).append(name)
        unit = "patients" if self._patients else "images"
        missing = [part for part in ("Val", "Test") if not names[part]]
        if missing:
            drawn = f"no images in {' and '.join(missing)}, drawn from the {unit} of Train instead"
            self.note(f"Autooral in {self.folder}: {drawn}")
        ordered = [groups[patient] for patient in seeded_order(list(groups), self.seed)]
        num_test = 0 if names["Test"] else self.quarter(names["Train"])
        num_validation = 0 if names["Val"] else self.num_validation
        splits = cut_splits(ordered, num_test, num_validation, issues, unit)
        if names["Val"]:
            count = len(names["Val"])
            if self.num_validation > count:
                issues.add(f"num_validation must be at most the {count} images of Val, got {self.num_validation}")
            splits["validation"] = sorted(seeded_order(names["Val"], self.seed)[: self.num_validation])
        if names["Test"]:
            splits["test"] = sorted(names["Test"])
        return splits

    @staticmethod
    def mask_issue(mask: Image.Image) -> str | None:
        """Some masks are stored in colour."""
        return mask_issue(mask, colour=True)

    def group_of(self, entry: Mapping[str, Any]) -> str | None:
        """Return the patient of an entry, None where the workbook does not name one."""
        image = Path(entry["image"])
        name = f"{image.parents[1].name}/{image.stem}"
        return self._patients.get(name) if name in self._contents.files else None

    @classmethod
    def write_phantoms(cls, folder: str | os.PathLike, **options: Any) -> Path:
        """Write procedural photographs of mouths: see :func:`common.datasets.phantoms.autooral.write_phantoms`."""
        from common.datasets.phantoms.autooral import write_phantoms  # here because a release goes without phantoms

        return write_phantoms(folder, **options)

    def _keep_patients_whole(self, names: dict[str, list[str]]) -> None:
        """Leave images out of ``Train`` and ``Val`` whose patient is held out before."""
        held_out: set[str] = set()
        for part in ("Test", "Val", "Train"):
            shared = [name for name in names[part] if self._patients.get(name) in held_out]
            if shared:
                self.note(
                    f"Autooral: {len(shared)} images of {part} are left out, because their patients are held out for "
                    f"validation or test ({', '.join(shared[:5])}{', ...' if len(shared) > 5 else ''})",
                    logging.WARNING,
                )
            names[part] = [name for name in names[part] if name not in set(shared)]
            held_out |= {self._patients[name] for name in names[part] if name in self._patients}

    def _read_patients(self, files: Mapping[str, Entry], issues: DatasetIssues) -> dict[str, str]:
        """Return the patient of each image that the workbook has; numbers that are not in Train may be elsewhere."""
        if not (self.folder / _WORKBOOK).is_file():
            self.note(
                f"Autooral in {self.folder}: there is no '{_WORKBOOK}', so patients are unknown: the folders are taken "
                "as they are, and images of one patient may lie in several splits",
                logging.WARNING,
            )
            return {}
        with issues.collect():
            return self._join_patients(files, read_workbook(self.folder / _WORKBOOK, _COLUMNS), issues)
        return {}

    def _join_patients(
        self, files: Mapping[str, Entry], rows: list[dict[str, str]], issues: DatasetIssues
    ) -> dict[str, str]:
        by_number: dict[str, str] = {}
        for name in reversed(list(files)):  # Train comes last and wins where numbers repeat
            by_number[_number(name.split("/")[1])] = name
        patients: dict[str, str] = {}
        for row in rows:
            patient, number = row["Patient ID"], _number(row["Image Number"])
            if not patient or not number:
                issues.add(f"{_WORKBOOK}: a row has patient '{patient}' and image '{number}'; expected both")
            elif number in by_number and patients.setdefault(by_number[number], patient) != patient:
                known = patients[by_number[number]]
                issues.add(f"{_WORKBOOK}: image {number} has patients {known} and {patient}; keep one")
        unknown = [name for name in files if name.startswith("Train") and name not in patients]
        if unknown:
            without = f"{len(unknown)} images of Train have no patient, first {unknown[0]}"
            self.note(f"Autooral in {self.folder}: {without}", logging.WARNING)
        return patients


def _number(text: str) -> str:
    """Return an image number without suffix, leading zeros or the ``.0`` of a spreadsheet."""
    stem = text.split(".")[0]
    return str(int(stem)) if stem.isdecimal() else stem
