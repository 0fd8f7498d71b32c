"""Volumes without labels: a user's own DICOM folders and NIfTI files."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.utils import ImageMetaKey

from common.datasets.readers.dicom import list_slices, natural_key, read_pixels
from common.datasets.readers.nifti import SUFFIXES
from common.datasets.readers.volumes import check_volume
from common.errors import InputError

logger = logging.getLogger(__name__)


class VolumeFiles:
    """The readable volumes below a folder, or one volume: folders with DICOM slices in them, and NIfTI files.

    Args:
        path: a folder, searched with all its subfolders, or a NIfTI file.

    Attributes:
        root: what the results' folders are relative to, for SaveImage's ``data_root_dir``: every DICOM folder of CHAOS
            is named ``DICOM_anon``.

    Raises:
        InputError: if the path does not exist, holds no readable volume, or holds two volumes whose results would
            overwrite each other.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(os.path.abspath(Path(path).expanduser()))
        if not self.path.exists():
            raise InputError(
                f"dataset_dir: {self.path} does not exist; expected a folder of DICOM slices or of volumes, or a "
                "NIfTI file"
            )
        found = _find_volumes(self.path)
        self.root = root_of(self.path)
        self.readable: list[Path] = []
        self.unreadable: dict[Path, str] = {}
        for volume in found:
            try:
                check_volume(volume)
            except InputError as error:
                self.unreadable[volume] = str(error)
            else:
                self.readable.append(volume)
        if not self.readable:
            self.report()
            raise InputError(
                f"dataset_dir: {self.path} holds no readable volume; expected DICOM slices or NIfTI files "
                f"({', '.join(SUFFIXES)})"
            )
        names = [_without_suffix(volume) for volume in self.readable]
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"dataset_dir: several volumes are named {', '.join(twice[:5])}; rename them")

    @property
    def entries(self) -> list[dict[str, str]]:
        """The readable volumes as a MONAI datalist."""
        return [{"image": str(volume)} for volume in self.readable]

    def report(self) -> None:
        """Name the volumes that could not be read, and say why."""
        if self.unreadable:
            reasons = "\n".join(f"  {reason}" for reason in self.unreadable.values())
            logger.error(f"{len(self.unreadable)} of the volumes could not be read and were left out:\n{reasons}")


def root_of(path: str | os.PathLike) -> Path:
    """Return what the folders of results are relative to; the path need not exist, as it does not at a server."""
    path = Path(os.path.abspath(Path(path).expanduser()))
    return path.parent if _find_volumes(path) == [path] else path


def name_result(meta: Mapping[str, Any], saver: Any) -> dict[str, Any]:
    """Return what a volume's result is named after, for SaveImage's ``output_name_formatter``.

    SaveImage drops what follows the last dot of a name. That is right for a file, but folders of DICOM slices are often
    named after a UID, and those of one study differ in nothing else.
    """
    path = Path(meta[ImageMetaKey.FILENAME_OR_OBJ])
    return {"subject": f"{path}.dcm" if path.is_dir() else str(path)}


def find_slices(path: str | os.PathLike) -> list[dict[str, str]]:
    """Return the DICOM slices in a folder and all its subfolders as a MONAI datalist.

    Raises:
        InputError: if there are none, or one of them cannot be read.
    """
    root = Path(path).expanduser()
    folders = [root, *sorted(folder for folder in root.rglob("*") if folder.is_dir())]
    slices = [file for folder in folders for file in list_slices(folder)]
    if not slices:
        raise InputError(f"{root}: no DICOM slices here or in a subfolder")
    for file in slices:
        read_pixels(file)
    return [{"image": str(file)} for file in slices]


def _find_volumes(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = []
    for name, folders, files in os.walk(path):
        folder = Path(name)
        folders[:] = sorted(
            (each for each in folders if not each.startswith(".")), key=lambda each: natural_key(Path(each))
        )
        if list_slices(folder):
            found.append(folder)
        nifti = [each for each in files if each.lower().endswith(SUFFIXES) and not each.startswith(".")]
        found += sorted((folder / each for each in nifti), key=natural_key)
    return found


def _without_suffix(volume: Path) -> Path:
    name = volume.name if volume.is_dir() else volume.name.removesuffix(".gz").removesuffix(".nii")
    return volume.with_name(name)
