"""PH2: skin lesions in dermoscopic images (Mendonca et al., 2013, doi 10.1109/EMBC.2013.6610779).

::

    PH2 Dataset images/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp   about 766 x 575, RGB, sizes vary
    PH2 Dataset images/IMD002/IMD002_lesion/IMD002_lesion.bmp       1-bit, one of them 24-bit, foreground > 0
    PH2_dataset.xlsx                                                the diagnosis of each image, an X in its column
    PH2_dataset.txt                                                 the same, as a code; copies with one of the two

PH2 has no official split. Splits are stratified by diagnosis where one of the two tables can be read.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from common.datasets.base import Entry, SegmentationDataset
from common.datasets.issues import DatasetIssues
from common.datasets.masks import mask_issue
from common.datasets.splits import cut_splits, stratified_order
from common.datasets.workbooks import NoReaderError, read_workbook
from common.errors import InputError

_DIAGNOSES = ("Common Nevus", "Atypical Nevus", "Melanoma")  # in the order of the codes in PH2_dataset.txt
_IMAGES = "PH2 Dataset images"
_IMAGE = "{0}_Dermoscopic_Image/{0}.bmp"
_LABEL = "{0}_lesion/{0}_lesion.bmp"


class PH2Dataset(SegmentationDataset):
    """PH2, split so that each split, and each label budget, has about the same share of every diagnosis."""

    name = "ph2"
    title = "PH2"
    in_channels = 3
    class_names = ("background", "lesion")
    landmarks = (_IMAGES,)
    unused = (f"{_IMAGES}/*/*_roi/*",)
    layout = f"PH2 as it is unpacked, with '{_IMAGES}/IMD002/{_IMAGE.format('IMD002')}' and PH2_dataset.xlsx"

    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        """Return image and label by the name of their folder.

        Labels without an image do no harm: a user may have taken the image out on purpose. The log names them.
        """
        found: dict[str, Entry] = {}
        without_image = []
        for folder in sorted((self.folder / _IMAGES).iterdir()):
            if not os.path.isdir(folder) or folder.name.startswith((".", "__")):
                continue
            image, label = folder / _IMAGE.format(folder.name), folder / _LABEL.format(folder.name)
            if not os.path.isfile(image):
                without_image.append(folder.name)
                continue
            found[folder.name] = {"image": image}
            if os.path.isfile(label):
                found[folder.name]["label"] = label
            else:
                shown, expected = (path.relative_to(self.folder).as_posix() for path in (image, label))
                issues.add(f"{shown}: no label, expected {expected}")
        if found and without_image:
            self.note(
                f"PH2 in {self.folder}: {len(without_image)} folders without an image of their name are left out; "
                f"expected {without_image[0]}/{_IMAGE.format(without_image[0])} in {_name_some(without_image)}",
                logging.WARNING,
            )
        if not found:
            issues.add(f"{_IMAGES}: no images in it; expected files such as IMD002/{_IMAGE.format('IMD002')}")
        return found

    def split(self, files: Mapping[str, Entry], issues: DatasetIssues) -> dict[str, list[str]]:
        """Cut an order in which every stretch has about the same share of every diagnosis."""
        diagnoses = self._read_diagnoses(issues)
        unknown = [name for name in files if name not in diagnoses]
        where = f"PH2 in {self.folder}"
        if len(unknown) == len(files):
            self.note(f"{where}: the split is not stratified, because no diagnosis could be read", logging.WARNING)
        else:
            if unknown:
                named = f"{len(unknown)} of {len(files)} images have no diagnosis ({_name_some(unknown)})"
                self.note(f"{where}: {named}", logging.WARNING)
            self.note(f"{where}: the split is stratified by diagnosis")
        order = stratified_order({name: diagnoses.get(name, "unknown") for name in files}, self.seed)
        return cut_splits([[name] for name in order], self.quarter(files), self.num_validation, issues)

    @staticmethod
    def mask_issue(mask: Image.Image) -> str | None:
        """Some melanomas fill nearly the whole image, and the label of IMD002 is stored in colour."""
        return mask_issue(mask, colour=True, fill=True)

    def _read_diagnoses(self, issues: DatasetIssues) -> dict[str, str]:
        """Return the diagnosis by name from the tables that can be read; the workbook counts where they differ."""
        diagnoses: dict[str, str] = {}
        for file, read in (("PH2_dataset.txt", _read_text), ("PH2_dataset.xlsx", _read_workbook)):
            path = self.folder / file
            if not path.is_file():
                continue
            try:
                diagnoses |= read(path)
            except NoReaderError as error:  # here alone the split would be another one than elsewhere
                issues.add(str(error))
            except InputError as error:
                self.note(f"PH2: no diagnoses from {error}", logging.WARNING)
        return diagnoses

    @classmethod
    def write_phantoms(cls, folder: str | os.PathLike, **options: Any) -> Path:
        """Write procedural dermoscopic images: see :func:`common.datasets.phantoms.ph2.write_phantoms`."""
        from common.datasets.phantoms.ph2 import write_phantoms  # here because a release goes without phantoms

        return write_phantoms(folder, **options)


def _name_some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _read_workbook(path: Path) -> dict[str, str]:
    """Return the diagnosis of each row that has exactly one."""
    diagnoses = {}
    for row in read_workbook(path, ["Image Name", *_DIAGNOSES]):
        marked = [diagnosis for diagnosis in _DIAGNOSES if row[diagnosis]]
        if len(marked) == 1:
            diagnoses[row["Image Name"]] = marked[0]
    return diagnoses


def _read_text(path: Path) -> dict[str, str]:
    """Return the diagnosis of each row whose fourth field is a code."""
    diagnoses = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    for line in lines:
        fields = [field.strip() for field in line.split("||")]
        if len(fields) > 3 and fields[3] in ("0", "1", "2"):
            diagnoses[fields[1]] = _DIAGNOSES[int(fields[3])]
    if not diagnoses:
        raise InputError(f"{path}: no row such as '|| IMD003 || || 0 ||'; take the file as it was published")
    return diagnoses
