"""Volumes and labels in single files, NIfTI or NRRD."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np

from common.datasets.readers.affines import MAX_DISTANCE, corner_distance, turn_to_lps, turn_towards
from common.datasets.readers.nifti_header import affine_of, open_nifti
from common.datasets.readers.nrrd_header import nrrd_affine
from common.datasets.readers.optional import optional_import
from common.errors import InputError

SUFFIXES = (".nii", ".nii.gz")
_CHUNK = 2**22  # bytes


class Volume(NamedTuple):
    """A volume as its file has it.

    Attributes:
        path: the file.
        values: float32 ``(W, H, D)``; of a picture's label, ``(W, H)`` or ``(W, H, 1)``.
        affine: from indices to millimetres in RAS, ``(4, 4)``; None where the file does not say where it lies.
        problem: why it does not, in that case.
    """

    path: Path
    values: np.ndarray
    affine: np.ndarray | None
    problem: str | None

    def in_lps(self) -> Volume:
        """Return the volume with its axes turned to LPS, as DICOM stores axial slices and as the student sees volumes.

        Raises:
            InputError: if it has not three axes, or does not say where it lies.
        """
        values, affine = turn_to_lps(self.values, self.placed_affine())
        return self._replace(values=values, affine=affine)

    def on_image(self, image: str | os.PathLike, affine: np.ndarray, shape: Sequence[int]) -> Volume:
        """Return the volume, a label, with its axes turned as those of its image.

        Args:
            image: what the image is called.
            affine: of the image.
            shape: of the image, ``(W, H, D)``.

        Raises:
            InputError: if the label has not the image's size, or lies elsewhere.
        """
        values, turned = turn_towards(self.values, self.placed_affine(), affine)
        if values.shape != tuple(shape):
            sizes = (" x ".join(map(str, each)) for each in (values.shape, shape))
            raise InputError("{}: is {} voxels, but its image {} is {}".format(self.path, next(sizes), image, *sizes))
        apart = corner_distance(affine, turned, values.shape)
        if apart > MAX_DISTANCE:
            raise InputError(
                f"{self.path}: does not lie on its image {image}: they are up to {apart:.3g} voxels apart; resample "
                "the label onto the image, or save it with the image's affine if it has been drawn on these voxels"
            )
        return self._replace(values=values, affine=turned)

    def placed_affine(self) -> np.ndarray:
        """Return the affine.

        Raises:
            InputError: if the volume has not three axes, or does not say where it lies.
        """
        if self.values.ndim != 3:
            raise InputError(f"{self.path}: expected a volume of three axes, got shape {self.values.shape}")
        if self.problem is not None:
            raise InputError(self.problem)
        assert self.affine is not None  # or there would be a problem
        return self.affine


def is_nifti(path: str | os.PathLike) -> bool:
    """Tell whether this is the path of a NIfTI file, by its name."""
    return os.fspath(path).lower().endswith(SUFFIXES)


def is_volume_file(path: object) -> bool:
    """Tell whether this is the path of a NIfTI or NRRD file, by its name."""
    return isinstance(path, (str, os.PathLike)) and os.fspath(path).lower().endswith((*SUFFIXES, ".nrrd"))


def read_volume(path: str | os.PathLike) -> Volume:
    """Return the volume in a NIfTI or NRRD file, without further axes of length 1 at its end, or in a folder of DICOM.

    The file is not to be believed about where the volume lies before :meth:`Volume.in_lps` or :meth:`Volume.on_image`
    have looked at it: the label of a picture needs no place.

    Raises:
        InputError: if the file cannot be read or has values that are not numbers, or pynrrd is missing for NRRD.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    return _read_cached(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read_cached(path: Path, modified: int) -> Volume:
    """Read a volume and its label once for all their slices, and again after a file has changed."""
    if path.is_dir():
        from common.datasets.readers.dicom_series import read_series_values  # here because NIfTI needs no pydicom

        values, affine = read_series_values(path)
        values, locate = _as_numbers(path, values), lambda: affine
    elif path.suffix.lower() == ".nrrd":
        values, header = _open_nrrd(path)
        values, locate = _as_numbers(path, values), partial(nrrd_affine, path, header)
    else:
        image = open_nifti(path)
        values, locate = nifti_values(path, image), partial(affine_of, path, image)
    values.flags.writeable = False  # several callers get it
    try:
        return Volume(path, values, locate(), None)
    except InputError as error:
        return Volume(path, values, None, str(error))


def nifti_values(path: str | os.PathLike, image: nibabel.Nifti1Image) -> np.ndarray:
    """Return the values of an opened NIfTI file, float32, without further axes of length 1 at its end.

    Raises:
        InputError: if they cannot be read, or are not numbers.
    """
    try:
        values = np.asanyarray(image.dataobj)
        if os.fspath(path).lower().endswith(".gz"):
            _read_to_the_end(path)
    except Exception as error:  # on damaged bytes nibabel raises whatever they make it stumble over
        raise InputError(f"{path}: cannot be read as a NIfTI file, copy it again ({error})") from error
    return _as_numbers(path, values)


def _read_to_the_end(path: str | os.PathLike) -> None:
    """Read a compressed file to its checksum: nibabel stops after the last voxel, and would not notice altered ones.

    Raises:
        OSError, EOFError, zlib.error: if it is altered or cut off.
    """
    with gzip.open(path) as file:
        while file.read(_CHUNK):
            pass


def _open_nrrd(path: Path) -> tuple[np.ndarray, Mapping[str, Any]]:
    nrrd, installed = optional_import("nrrd")
    if not installed:
        raise InputError(f"{path}: reading NRRD takes the package pynrrd, install it")
    try:
        return nrrd.read(str(path))
    except Exception as error:  # on damaged bytes pynrrd raises far more than its NRRDError
        raise InputError(f"{path}: cannot be read as NRRD, copy it again ({error})") from error


def _as_numbers(path: str | os.PathLike, values: np.ndarray) -> np.ndarray:
    """Return values as float32, for all of which a network gives numbers.

    Raises:
        InputError: if there are none, several for each voxel, or some that are not finite.
    """
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.dtype.kind not in "buif":
        raise InputError(f"{path}: has values of type {values.dtype}; expected one number a voxel")
    if values.size == 0:
        raise InputError(f"{path}: has no voxels, its shape is {values.shape}")
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite in it
        values = values.astype(np.float32)
    count = values.size - np.count_nonzero(np.isfinite(values))
    if count:
        raise InputError(f"{path}: {count} voxels are NaN or infinite; expected numbers, such as 0 outside of the body")
    return values
