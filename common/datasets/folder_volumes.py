"""Volumes of one's own, in plain folders or in a datalist, slice by slice.

::

    scans/a.nii.gz           segmentations/a.nii.gz   the same names
    imagesTr/a_0000.nii.gz   labelsTr/a.nii.gz        as nnU-Net has them
    scans/a/*.dcm            segmentations/a.nii.gz   a folder of DICOM slices
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.datasets.base import Entry
from common.datasets.folder import FolderDataset, entry_of
from common.datasets.folder_files.slices import count_slices, read_slice_for_the_eye
from common.datasets.folder_files.volume_contents import check_volumes, files_of_volume
from common.datasets.issues import DatasetIssues
from common.datasets.splits import check_split, spread_slices


class FolderVolumeDataset(FolderDataset):
    """Volumes of one's own, whose entries are slices; whole volumes come from :meth:`volumes`.

    ``num_validation`` counts volumes, ``num_labels`` slices: a label budget is spread evenly over the patients and, in
    each, over the volume, without a look at the labels.

    Args:
        source: where the files are, see :class:`common.datasets.source.Source`; its kind is "volumes".
        common: as for the base class.

    Raises:
        InputError: as the base class does.
    """

    name = "folder_volumes"
    kind = "volumes"
    whole = "volume"
    units = "slices"

    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        """Return volume, number of the "slice", label and patient by the names of volumes and slices: ``a/0000``."""
        entries: dict[str, Entry] = {}
        for name, item in self.find_labelled(issues).items():
            with issues.collect():
                entries |= {f"{name}/{i:04d}": {**entry_of(item), "slice": i} for i in range(count_slices(item.image))}
        return entries

    def split(self, files: Mapping[str, Entry], issues: DatasetIssues) -> dict[str, list[str]]:
        """Divide the patients, or the volumes, and spread the training slices for the label budget."""
        slices: dict[str, list[str]] = {}
        groups: dict[str, list[str]] = {}
        for name in files:
            slices.setdefault(name.rsplit("/", 1)[0], []).append(name)
        for volume in slices:
            groups.setdefault(self._found.items[volume].patient or volume, []).append(volume)
        parts = self.divide(groups, issues)
        by_patient = {group: [name for volume in groups[group] for name in slices[volume]] for group in groups}
        splits = {split: [name for group in part for name in by_patient[group]] for split, part in parts.items()}
        if parts["training"]:
            splits["training"] = spread_slices({group: by_patient[group] for group in parts["training"]})
        return splits

    def check_files(self, files: Mapping[str, Entry], issues: DatasetIssues) -> None:
        """Read every volume and label, and note what is wrong with their contents."""
        check_volumes(files, self._source, self.folder, issues, self.findings)

    def files_read(self, files: Mapping[str, Entry]) -> set[Path]:
        """Return every file that is read, each slice of a folder."""
        return {file for path in super().files_read(files) for file in files_of_volume(path)}

    def load(self, entry: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return a slice ``(H, W, 1)`` to look at, from its 1st to its 99th percentile, and its class ids ``(H, W)``.

        Raises:
            InputError: if a file cannot be read, or the label is faulty.
        """
        return read_slice_for_the_eye(entry, self._source)

    def volumes(self, split: str) -> list[dict[str, Any]]:
        """Return the whole volumes of one split: NIfTI files, or folders of DICOM slices, with labels and patients.

        Args:
            split: "training", "validation" or "test"; a label budget does not count.

        Raises:
            InputError: as :meth:`entries` does.
            ValueError: if ``split`` is none of the three.
        """
        check_split(split)
        found = {entry["image"]: entry for entry in self.all_entries()[split]}
        return [{key: found[image][key] for key in found[image] if key != "slice"} for image in sorted(found)]

    def _digests(self, files: Mapping[str, Entry]) -> dict[str, str]:
        """Return what was found of the pixels of volumes, by the names of their first slices."""
        return super()._digests({name: entry for name, entry in files.items() if entry["slice"] == 0})
