"""Volumes without labels: a user's own DICOM folders and NIfTI files."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import CacheDataset, ImageReader, MetaTensor, NibabelReader
from monai.transforms import LoadImage, LoadImaged, MapTransform
from monai.utils import ImageMetaKey, ensure_tuple

from common.datasets.readers.dicom import SeriesReader, list_slices, natural_key, read_pixels, read_series
from common.datasets.readers.nifti import SUFFIXES, check_finite, is_nifti, is_volume_file, read_volume
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
                _check_volume(volume)
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


class VolumeReader(ImageReader):
    """Reads a folder of DICOM slices, or a NIfTI file, as one volume, for MONAI's ``LoadImage``."""

    def __init__(self) -> None:
        self._series = SeriesReader()
        self._nifti = NibabelReader()

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Tell whether this is a folder or a NIfTI file."""
        return self._series.verify_suffix(filename) or self._nifti.verify_suffix(filename)

    def read(self, data: Sequence[str] | str, **kwargs) -> Any:
        """Return what :meth:`get_data` takes."""
        (path,) = ensure_tuple(data)
        return self._series.read(path) if Path(path).is_dir() else self._nifti.read(path, **kwargs)

    def get_data(self, img: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the values and the geometry.

        Raises:
            InputError: as ``SeriesReader.get_data`` does.
        """
        return (self._series if isinstance(img, Path) else self._nifti).get_data(img)


def root_of(path: str | os.PathLike) -> Path:
    """Return what the folders of results are relative to; the path need not exist, as it does not at a server."""
    path = Path(os.path.abspath(Path(path).expanduser()))
    return path.parent if _find_volumes(path) == [path] else path


class LoadVolumed(LoadImaged):
    """Reads a volume ``(1, W, H, D)`` with :class:`VolumeReader` alone, and says what is wrong with one that it cannot.

    Args:
        keys: where the path is, and where the volume goes.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys, reader=VolumeReader(), ensure_channel_first=True)

    def __call__(self, data: Mapping[Any, Any], reader: Any = None) -> dict[Any, Any]:
        """Return the data with the volume read.

        Raises:
            InputError: if the file is missing, damaged or no volume, or the folder has no slices of one volume.
        """
        for key in self.key_iterator(data):
            _check_volume(Path(data[key]))
        return super().__call__(data, reader)


class LoadSliced(MapTransform):
    """Reads a DICOM slice, or the slice of a NIfTI volume that the entry's ``"slice"`` says: ``(1, W, H)``.

    Args:
        keys: where the path is, and where the slice goes.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)
        self._dicom = LoadImage(reader="PydicomReader", image_only=True, ensure_channel_first=True)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the data with the slice read.

        Raises:
            InputError: if a NIfTI file cannot be read.
        """
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            if "slice" in loaded:
                values = np.ascontiguousarray(read_volume(loaded[key])[..., loaded["slice"]])
                loaded[key] = MetaTensor(torch.from_numpy(values[None]))
            else:
                loaded[key] = self._dicom(loaded[key])
        return loaded


class SliceDataset(CacheDataset):
    """A ``CacheDataset`` for :class:`LoadSliced`, in which a NIfTI volume stands for all its slices.

    Args:
        data: a MONAI datalist of slices, of volumes, or of both.
        options: what ``CacheDataset`` takes.

    Raises:
        InputError: if a volume cannot be read, or has not three axes.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], **options: Any) -> None:
        super().__init__([each for entry in data for each in split_volume(entry)], **options)


def split_volume(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return an entry for each slice if its image is a NIfTI volume, else the entry.

    Raises:
        InputError: if the volume cannot be read, or has not three axes.
    """
    if not is_volume_file(entry["image"]):
        return [dict(entry)]
    volume = read_volume(entry["image"])
    if volume.ndim != 3:
        raise InputError(f"{entry['image']}: expected a volume of three axes, got shape {volume.shape}")
    return [{**entry, "slice": index} for index in range(volume.shape[-1])]


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


def _check_volume(volume: Path) -> None:
    """Read a volume to its last voxel.

    Raises:
        InputError: if that fails, it has not three axes, or not numbers alone.
    """
    if volume.is_dir():
        for each in read_series(volume):
            read_pixels(each.path)
        return
    if not volume.is_file():
        raise InputError(f"{volume}: no such file")
    if volume.stat().st_size == 0:
        raise InputError(f"{volume}: the file is empty, copy it again")
    if not is_nifti(volume):
        raise InputError(f"{volume}: expected a volume, a NIfTI file or a folder of DICOM slices")
    try:
        values = np.asarray(nibabel.load(volume).dataobj)
    except Exception as error:  # on damaged bytes nibabel raises far more than its ImageFileError
        raise InputError(f"{volume}: cannot be read as a NIfTI file, copy it again ({error})") from error
    if values.ndim != 3:
        raise InputError(f"{volume}: expected a volume of three axes, got shape {values.shape}")
    check_finite(volume, values)
