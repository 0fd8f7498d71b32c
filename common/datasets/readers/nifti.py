"""Volumes and labels in single files, NIfTI or NRRD."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import LoadImage, Orientation
from monai.utils import optional_import

from common.errors import InputError

SUFFIXES = (".nii", ".nii.gz")


def is_nifti(path: str | os.PathLike) -> bool:
    """Tell whether this is the path of a NIfTI file, by its name."""
    return os.fspath(path).lower().endswith(SUFFIXES)


def is_volume_file(path: Any) -> bool:
    """Tell whether this is the path of a NIfTI or NRRD file, by its name."""
    return isinstance(path, (str, os.PathLike)) and os.fspath(path).lower().endswith((*SUFFIXES, ".nrrd"))


def read_volume(path: str | os.PathLike, turn: bool = True) -> np.ndarray:
    """Return the values ``(W, H[, D])`` of a NIfTI or NRRD file.

    Args:
        path: the file.
        turn: whether to turn it to LPS, as DICOM stores axial slices and as the student sees volumes.

    Raises:
        InputError: if the file cannot be read or has values that are not numbers, or pynrrd is missing for NRRD.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return _read_cached(path, path.stat().st_mtime_ns, turn)


@lru_cache(maxsize=4)
def _read_cached(path: Path, modified: int, turn: bool) -> np.ndarray:
    """Read a volume and its label once for all their slices, and again after a file has changed."""
    kind = "NRRD" if path.suffix.lower() == ".nrrd" else "NIfTI"
    if kind == "NRRD" and not optional_import("nrrd")[1]:
        raise InputError(f"{path}: reading NRRD takes the package pynrrd, install it")
    try:
        volume = LoadImage(reader="NrrdReader" if kind == "NRRD" else "NibabelReader", image_only=True)(path)
    except Exception as error:  # on damaged bytes the readers raise far more than an OSError
        raise InputError(f"{path}: cannot be read as {kind}, copy it again ({error})") from error
    while volume.ndim > 3 and volume.shape[-1] == 1:
        volume = volume[..., 0]
    check_finite(path, volume.numpy())
    return turn_to_lps(volume) if turn and volume.ndim == 3 else volume.numpy()


def turn_to_lps(volume: MetaTensor) -> np.ndarray:
    """Return the values of a volume ``(W, H, D)`` with its axes turned to LPS."""
    return Orientation("LPS", labels=None)(volume[None])[0].numpy()


def check_finite(path: str | os.PathLike, values: np.ndarray) -> None:
    """Refuse values that are not finite numbers, for which a network would give none either.

    Raises:
        InputError: saying how many there are.
    """
    if values.dtype.kind not in "buif":
        raise InputError(f"{path}: has values of type {values.dtype}; expected one number a voxel")
    count = values.size - np.count_nonzero(np.isfinite(values))
    if count:
        raise InputError(f"{path}: {count} voxels are NaN or infinite; expected numbers, such as 0 outside of the body")
