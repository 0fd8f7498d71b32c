"""CHAOS: abdominal organs in CT and MR volumes (Kavur et al., 2021, doi 10.1016/j.media.2020.101950).

::

    Train_Sets/CT/1/DICOM_anon/i0000,0000b.dcm                  or IMG-0004-00001.dcm
    Train_Sets/CT/1/Ground/liver_GT_000.png                     liver 255
    Train_Sets/MR/1/T1DUAL/DICOM_anon/InPhase/IMG-0004-00002.dcm
    Train_Sets/MR/1/T1DUAL/DICOM_anon/OutPhase/IMG-0004-00001.dcm
    Train_Sets/MR/1/T1DUAL/Ground/IMG-0004-00002.png            for both phases
    Train_Sets/MR/1/T2SPIR/DICOM_anon/IMG-0002-00001.dcm
    Train_Sets/MR/1/T2SPIR/Ground/IMG-0002-00001.png            liver 63, kidneys 126 and 189, spleen 252
    Test_Sets                                                   the same without Ground: not used

Slices and labels pair by naturally sorted file name. The ids of CT and MR patients are independent of each other; T1
and T2 of one id are one patient.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import ScaleIntensityRange, ScaleIntensityRangePercentiles

from common.datasets.base import Entry, SegmentationDataset
from common.datasets.chaos_contents import check_scan
from common.datasets.chaos_scans import Scan, find_scans
from common.datasets.issues import DatasetIssues
from common.datasets.readers.chaos import CLASSES, PLACES, GroundReader, Place, check_modality
from common.datasets.readers.dicom import natural_key, read_pixels
from common.datasets.splits import SPLITS, check_split, split_groups, spread_slices

_SOFT_TISSUE = (-160, 240)  # Hounsfield units from black to white, for the eye


def class_names(modality: str) -> list[str]:
    """Return the names of a modality's classes by id, background first.

    Raises:
        InputError: if ``modality`` is unknown.
    """
    check_modality(modality)
    return list(CLASSES[modality].values())


def dicom_modality(modality: str) -> str:
    """Return what DICOM calls a modality: "CT" or "MR".

    Raises:
        InputError: if ``modality`` is unknown.
    """
    check_modality(modality)
    return PLACES[modality].group


class ChaosDataset(SegmentationDataset):
    """CHAOS by slices, whose entries have the "patient"; whole volumes come from :meth:`volumes`.

    The test split is a quarter of the patients in ``Train_Sets``; ``num_validation`` counts patients, ``num_labels``
    slices. A label budget is spread evenly over the patients and, in each, over the volume, without a look at the
    labels. ``t1_in``, ``t1_out`` and ``t2`` are split alike.

    Args:
        modality: "ct", "t1_in", "t1_out" or "t2".
        common: as for the base class.

    Raises:
        InputError: if ``modality`` is unknown, and as the base class does.
    """

    name = "chaos"
    in_channels = 1
    group = "patient"
    landmarks = ("Train_Sets", "Train_Sets/CT", "Train_Sets/MR")
    layout = (
        "CHAOS as it is unpacked, with Train_Sets/CT/1/DICOM_anon and Train_Sets/CT/1/Ground, or "
        "Train_Sets/MR/1/T1DUAL and Train_Sets/MR/1/T2SPIR"
    )
    own_settings = ("modality",)
    units = "slices"
    title = "CHAOS"

    def __init__(self, *, modality: str, **common: Any) -> None:
        check_modality(modality)
        super().__init__(**common)
        self.modality = modality
        self._scans: dict[str, Scan] = {}

    @property
    def classes(self) -> Mapping[int, str]:
        """Names of the modality's classes by id."""
        return CLASSES[self.modality]

    @property
    def unused(self) -> tuple[str, ...]:
        """The scans of other modalities, and those of the test, which have no labels."""

        def folders_of(place: Place) -> set[str]:
            scan = Path("Train_Sets", place.group, "*", place.sequence)
            return {(scan / folder / "*").as_posix() for folder in (place.images, "Ground")}

        everything = set().union(*map(folders_of, PLACES.values()))
        return ("Test_Sets/*", *sorted(everything - folders_of(PLACES[self.modality])))

    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        """Return slice, label and patient by patient and file name, such as ``1/i0000,0000b.dcm``."""
        self._scans = find_scans(self.folder, self.modality, issues)
        return {
            f"{patient}/{image.name}": {"image": image, "label": label, "patient": patient}
            for patient, scan in self._scans.items()
            for image, label in zip(scan.images, scan.labels, strict=False)  # which check_files cares about
        }

    def split(self, files: Mapping[str, Entry], issues: DatasetIssues) -> dict[str, list[str]]:
        """Divide the patients by the seed, and spread the training slices for the label budget."""
        num_test = self.quarter(self._scans)
        needed = num_test + self.num_validation + 1
        if len(self._scans) < needed:
            group = PLACES[self.modality].group
            purposes = f"{num_test} for the test, {self.num_validation} for validation and 1 for training"
            issues.add(f"Train_Sets/{group}: {needed} patients needed ({purposes}), found {len(self._scans)}")
            return {split: [] for split in SPLITS}
        slices: dict[str, list[str]] = {patient: [] for patient in self._scans}
        for name, entry in files.items():
            slices[entry["patient"]].append(name)
        test, validation, training = split_groups(list(self._scans), [num_test, self.num_validation], self.seed)
        in_order = {"validation": sorted(validation, key=_patient_key), "test": sorted(test, key=_patient_key)}
        held_out = {split: [name for each in patients for name in slices[each]] for split, patients in in_order.items()}
        return {"training": spread_slices({patient: slices[patient] for patient in training}), **held_out}

    def check_files(self, files: Mapping[str, Entry], issues: DatasetIssues) -> None:
        """Read every scan, slices and labels that do not pair too."""
        for scan in self._scans.values():
            check_scan(scan, self.modality, self.folder, issues, self.findings)

    def volumes(self, split: str) -> list[dict[str, str]]:
        """Return the whole volumes of one split, for :class:`SeriesReader` and :class:`GroundReader`.

        Args:
            split: "training", "validation" or "test"; a label budget does not count.

        Returns:
            One ``{"image": folder of DICOM files, "label": Ground, "patient": id}`` per patient.

        Raises:
            InputError: as :meth:`entries` does.
            ValueError: if ``split`` is none of the three.
        """
        check_split(split)
        patients = dict.fromkeys(entry["patient"] for entry in self.all_entries()[split])
        folders = {patient: self._scans[patient].folder for patient in patients}
        images = PLACES[self.modality].images
        return [
            {"image": str(folder / images), "label": str(folder / "Ground"), "patient": patient}
            for patient, folder in folders.items()
        ]

    def group_of(self, entry: Mapping[str, Any]) -> str:
        """Return the patient that an entry belongs to."""
        return entry["patient"]

    def load(self, entry: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return the slice ``(rows, columns, 1)`` of an entry and its class ids ``(rows, columns)``, both uint8.

        The slice is made for the eye, CT in a window for soft tissue, MR from its 1st to its 99th percentile.

        Raises:
            InputError: if a file cannot be read.
        """
        scale: Callable[..., Any]
        if self.modality == "ct":
            scale = ScaleIntensityRange(*_SOFT_TISSUE, 0, 255, clip=True, dtype=np.uint8)
        else:
            scale = ScaleIntensityRangePercentiles(1, 99, 0, 255, clip=True, dtype=np.uint8)
        values = read_pixels(Path(entry["image"]))[1]
        ids, _ = GroundReader(self.modality).get_data(Path(entry["label"]))
        return np.asarray(scale(values)).T[..., None], ids.T

    @classmethod
    def write_phantoms(cls, folder: str | os.PathLike, **options: Any) -> Path:
        """Write procedural abdomens: see :func:`common.datasets.phantoms.chaos.write_phantoms`."""
        from common.datasets.phantoms.chaos import write_phantoms  # here because a release goes without phantoms

        return write_phantoms(folder, **options)


def _patient_key(patient: str) -> list[tuple[int, int | str]]:
    return natural_key(Path(patient))
