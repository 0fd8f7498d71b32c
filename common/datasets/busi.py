"""BUSI: lesions in breast ultrasound (Al-Dhabyani et al., 2020, doi 10.1016/j.dib.2019.104863).

::

    Dataset_BUSI_with_GT/benign/benign (1).png           RGB, nearly all of them grey, sizes vary
    Dataset_BUSI_with_GT/benign/benign (1)_mask.png      1-bit, a few RGB or RGBA, white inside
    Dataset_BUSI_with_GT/benign/benign (1)_mask_1.png    a second lesion of the same image
    Dataset_BUSI_with_GT/malignant/...                   by the same pattern
    Dataset_BUSI_with_GT/normal/...                      no lesion: every mask is empty

BUSI has no official split and names no patients. Splits have about the same share of the three folders.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from common.datasets.base import Entry
from common.datasets.findings import count, name_some
from common.datasets.folder import FolderDataset
from common.datasets.issues import DatasetIssues
from common.datasets.readers.folder_labels import read_folder_label
from common.datasets.roots import describe_folder, find_root
from common.errors import InputError
from common.files.phantom_mark import are_phantoms

_KINDS = ("benign", "malignant", "normal")
_SOURCE = {
    "images": ".",
    "label_suffix": "_mask",
    "label_format": "black_white",
    "channels": 1,
    "classes": ["background", "lesion"],
    "stratum": "folder",
}


class BusiDataset(FolderDataset):
    """BUSI, whose several masks of one image are united.

    Args:
        normal: whether to take the images of normal breasts, which have no lesion.
        common: as for :class:`SegmentationDataset`.

    Raises:
        InputError: if ``normal`` is neither true nor false, and as the base class does.
    """

    name = "busi"
    title = "BUSI"
    in_channels = 1
    class_names = ("background", "lesion")
    landmarks = _KINDS
    layout = "BUSI as it is unpacked, with Dataset_BUSI_with_GT/benign/benign (1).png and benign (1)_mask.png beside it"
    own_settings = ("normal",)

    def __init__(self, *, normal: bool = True, **common: Any) -> None:
        if not isinstance(normal, bool):
            raise InputError(f"normal must be true or false, got {normal!r}")
        super().__init__(source=_SOURCE, **common)
        self.normal = normal

    @cached_property
    def folder(self) -> Path:
        """The folder with ``benign`` and ``malignant`` in it, such as ``Dataset_BUSI_with_GT``.

        Raises:
            InputError: if there is none at ``root``, or more than one.
        """
        return find_root(self.root, self.title, self.landmarks, self.layout)

    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        """Return image and label, or labels, by folder and stem, such as ``benign/benign (1)``."""
        files = super().find_files(issues)
        for entry in files.values():
            image, labels = entry["image"], entry.get("label", [])
            labels = labels if isinstance(labels, list) else [labels]
            if labels and not any(path.stem.lower() == f"{image.stem}_mask".lower() for path in labels):
                shown = image.relative_to(self.folder).with_suffix("").as_posix()
                issues.add(f"{shown}{image.suffix}: its first label is missing, expected {shown}_mask.png")
        for kind in _KINDS if self.normal else _KINDS[:-1]:
            if not any(name.startswith(f"{kind}/") for name in files):
                advice = ", or set normal to false" if kind == "normal" else ""
                state = describe_folder(self.folder / kind)
                issues.add(f"{kind}: {state}; expected files such as {kind} (1).png{advice}")
        return files

    def split(self, files: Mapping[str, Entry], issues: DatasetIssues) -> dict[str, list[str]]:
        """Divide all images, and then leave out normal breasts: nothing else changes its split with ``normal``."""
        splits = super().split(files, issues)
        if self.normal:
            return splits
        kept = {split: [name for name in names if not _is_normal(name)] for split, names in splits.items()}
        for split, names in splits.items():
            if names and not kept[split]:
                issues.add(f"normal: without normal breasts no image is left for {split}; take them, or add images")
        return kept

    def check_files(self, files: Mapping[str, Entry], issues: DatasetIssues) -> None:
        """Read every image and label, and note those of benign and malignant lesions that are empty."""
        super().check_files(files, issues)
        if issues.messages:
            return
        with_lesion = {name: bool(read_folder_label(files[name]["label"], self._source).any()) for name in files}
        empty = [name for name, found in with_lesion.items() if not found and not _is_normal(name)]
        drawn = [name for name, found in with_lesion.items() if found and _is_normal(name)]
        for names, what in ((empty, "with a lesion whose label is empty"), (drawn, "of normal breasts with a lesion")):
            if names:
                self.findings.others.append(f"{count(names, 'image')} {what} ({name_some(names)}): look at check.png")

    def remarks_on_patients(self) -> list[str]:
        """Return that nobody knows the patients, and how many there may be."""
        if are_phantoms(self.folder):
            return []
        what = "images of one may be in training and test, which makes results too good"
        return [f"the patients are not named, about 600 on the 780 images, so that {what}"]

    @classmethod
    def write_phantoms(cls, folder: str | os.PathLike, **options: Any) -> Path:
        """Write procedural ultrasound images of breasts: see :func:`common.datasets.phantoms.busi.write_phantoms`."""
        from common.datasets.phantoms.busi import write_phantoms  # here because a release goes without phantoms

        return write_phantoms(folder, **options)

    def write_own_phantoms(self, folder: str | os.PathLike, **options: Any) -> Path:
        """Write the phantoms above: the source of BUSI is always the same."""
        return self.write_phantoms(folder, **options)


def _is_normal(name: str) -> bool:
    return name.startswith("normal/")
