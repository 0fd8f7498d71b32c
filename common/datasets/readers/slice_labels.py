"""Labels of a DICOM series that are not volumes themselves: a folder with a picture for each slice."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.datasets.readers.label_pictures import label_values, read_label_picture
from common.datasets.readers.nifti import Volume
from common.datasets.readers.picture_formats import SUFFIXES
from common.errors import InputError


def list_label_pictures(folder: Path) -> list[Path]:
    """Return the pictures in a folder, sorted naturally by name; none if it is no folder."""
    if not folder.is_dir():
        return []
    from common.datasets.readers.dicom import natural_key  # here because pictures need no pydicom

    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(files, key=natural_key)


def is_label_folder(label: object) -> bool:
    """Tell whether a label is a folder, which has a picture for each slice."""
    return isinstance(label, (str, os.PathLike)) and os.path.isdir(label)


def read_slice_labels(label: str | os.PathLike, series: str | os.PathLike | None) -> Volume:
    """Return the pictures of a folder as one volume that lies on its DICOM series.

    Pictures and slices pair by their naturally sorted names, whatever these are, as in CHAOS; the slices then go where
    they lie in the patient.

    Args:
        label: the folder.
        series: the folder of the slices; None if it is not known.

    Raises:
        InputError: if there is no series, it is none, or has another number of slices; or a picture is no label, or has
            another size than its slice.
    """
    if series is None or not os.path.isdir(series):
        of_what = "an unknown image" if series is None else series
        raise InputError(
            f"{label}: is a folder of pictures for {of_what}, which is no folder of DICOM slices; expected a label in "
            "NIfTI or NRRD"
        )
    pictures = list_label_pictures(Path(label))
    changed = max((path.stat().st_mtime_ns for path in pictures), default=0)
    return _read_cached(Path(label), Path(series), tuple(pictures), changed)


@lru_cache(maxsize=4)
def _read_cached(label: Path, series: Path, pictures: tuple[Path, ...], changed: int) -> Volume:
    """Read the pictures once for all slices, and again after one has changed."""
    from common.datasets.readers.dicom import list_slices
    from common.datasets.readers.dicom_series import affine_of, read_series

    files = list_slices(series)
    if len(files) != len(pictures):
        raise InputError(
            f"{label}: has {len(pictures)} pictures for the {len(files)} slices of {series}; expected one for each, "
            "since they pair by sorted name"
        )
    picture_of, slices = dict(zip(files, pictures, strict=True)), read_series(series)
    layers = []
    for each in slices:
        path = picture_of[each.path]
        values = label_values(read_label_picture(path).image, path).T
        if values.shape != (each.columns, each.rows):
            sizes = (" x ".join(map(str, size)) for size in (values.shape, (each.columns, each.rows)))
            raise InputError("{}: is {} pixels, but its slice {} is {}".format(path, next(sizes), each.path, *sizes))
        layers.append(values.astype(np.float32))
    values = np.stack(layers, axis=-1)
    values.flags.writeable = False  # several callers get it
    return Volume(label, values, affine_of(slices), None)
