"""Volumes without labels: a user's own DICOM folders and NIfTI files."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.datasets.readers.dicom import list_slices, modality_of, read_pixels
from common.datasets.readers.dicom_signature import is_dicom
from common.datasets.readers.file_kinds import NIFTI, kind_of
from common.datasets.readers.folder_walk import FolderWalk
from common.datasets.readers.input_files import InputFiles, without_suffix
from common.datasets.readers.nifti_header import geometry_remark
from common.datasets.readers.volume_values import check_volume
from common.errors import InputError

logger = logging.getLogger(__name__)


class VolumeFiles(InputFiles):
    """The volumes in a folder and below it, or one of them: folders of DICOM slices, and NIfTI files.

    Results keep the folders, as every DICOM folder of CHAOS is named ``DICOM_anon``; see :class:`InputFiles`.

    Args:
        path: a folder, or one volume.
        key: what the user knows the path by.
        dicom_modality: what DICOM slices should say that they were taken with, such as "CT"; None takes any.
    """

    noun = "volume"
    expected = "a folder of DICOM slices, a NIfTI file (.nii, .nii.gz), or a folder of such volumes"
    formats = "DICOM slices or NIfTI (.nii, .nii.gz)"
    input_kind = NIFTI
    mask_suffix = "_mask.nii.gz"
    label_folders = frozenset({"Ground"})  # of CHAOS

    def __init__(self, path: str | os.PathLike, key: str = "dataset_dir", dicom_modality: str | None = None) -> None:
        self.dicom_modality = dicom_modality
        super().__init__(path, key)

    @classmethod
    def parts_of(cls, folder: Path) -> list[Path]:
        """Return the DICOM slices of a folder, which make it one volume."""
        return list_slices(folder)

    def check(self, path: Path) -> None:
        """Read a volume to its last voxel.

        Raises:
            InputError: as :func:`check_volume` does.
        """
        check_volume(path)

    def remarks(self, paths: Sequence[Path]) -> list[str]:
        """Return what NIfTI files say of their geometry that does not agree, and series of another modality."""
        found = [_geometry_remark(path) if path.is_file() else self._modality_remark(path) for path in paths]
        return [remark for remark in found if remark]

    def _modality_remark(self, folder: Path) -> str | None:
        try:
            stated = modality_of(list_slices(folder)[0])
        except (InputError, IndexError, OSError) as error:  # it has been segmented, and was changed since
            return f"{folder}: cannot be read again ({error})"
        if self.dicom_modality in (None, stated) or not stated:
            return None
        return (
            f"{folder}: is of modality {stated} by its DICOM headers, but the student has learned "
            f"{self.dicom_modality}: its mask means nothing unless the headers are wrong"
        )


def stated_modality(entries: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what DICOM slices say that they were taken with, such as "CT"; None where they are none, or disagree.

    Args:
        entries: a MONAI datalist, of slices or of volumes; one slice of each folder is looked at.

    Raises:
        InputError: if a slice cannot be read.
    """
    images = [Path(entry["image"]) for entry in entries if isinstance(entry.get("image"), (str, os.PathLike))]
    firsts = [next(iter(list_slices(path)), path) if path.is_dir() else path for path in dict.fromkeys(images)]
    one_of_each = {path.parent: path for path in firsts if path.is_file() and is_dicom(path)}
    stated = {modality_of(path) for path in one_of_each.values()}
    return (stated.pop() or None) if len(stated) == 1 else None


def _geometry_remark(path: Path) -> str | None:
    try:
        return geometry_remark(path)
    except InputError as error:  # it has been segmented, and was changed since
        return str(error)


def name_result(meta: Mapping[str, Any], saver: Any) -> dict[str, Any]:
    """Return what a volume's result is named after, for SaveImage's ``output_name_formatter``.

    SaveImage drops what follows the last dot of a name. That is right for a file, but folders of DICOM slices are often
    named after a UID, and those of one study differ in nothing else.
    """
    path = Path(meta["filename_or_obj"])
    if path.is_dir():
        return {"subject": f"{path}.dcm"}
    return {"subject": f"{without_suffix(path)}.nii"}  # it knows .gz in small letters alone


def find_slices(path: str | os.PathLike) -> list[dict[str, str]]:
    """Return the DICOM slices in a folder and all its subfolders as a MONAI datalist; other images there are named.

    Raises:
        InputError: if there are none, or one of them or a folder cannot be read.
    """
    root = Path(path).expanduser()
    walk = FolderWalk(root)
    try:
        slices = [file for folder in walk.folders for file in list_slices(folder)]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be opened ({error.strerror})") from error
    if not slices:
        raise InputError(f"{root}: no DICOM slices here or in a subfolder")
    for reason in walk.closed.values():
        raise InputError(reason)
    for file in slices:
        read_pixels(file)
    known = set(slices)
    unused = [file for files in walk.folders.values() for file in files if file not in known and kind_of(file)]
    if unused:
        logger.warning(f"{root}: {len(unused)} images are no DICOM slices and are not used, first {unused[0]}")
    return [{"image": str(file)} for file in slices]
