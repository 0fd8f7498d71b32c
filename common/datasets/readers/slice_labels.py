"""Labels of a DICOM series that only it gives a place to: DICOM SEG, and a folder with a picture for each slice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
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


def is_of_series(label: object) -> bool:
    """Tell whether a label is DICOM SEG, by its name, or a folder, which has a picture for each slice."""
    return isinstance(label, (str, os.PathLike)) and (os.fspath(label).lower().endswith(".dcm") or os.path.isdir(label))


def read_slice_labels(label: str | os.PathLike, series: str | os.PathLike | None) -> Volume:
    """Return the segments of DICOM SEG, or the pictures of a folder, as one volume that lies on its DICOM series.

    Segments count by their numbers. Pictures and slices pair by their naturally sorted names, as in CHAOS; the slices
    then go where they lie in the patient.

    Args:
        label: the file or folder.
        series: the folder of the slices; None if it is not known.

    Raises:
        InputError: if there is no series, it is none, or has another number of slices; or names contradict the order
            of the slices; or a picture is no label, or has another size than its slice; or as :func:`read_on_series`
            does.
    """
    if series is None or not os.path.isdir(series):
        of_what = "an unknown image" if series is None else series
        raise InputError(
            f"{label}: is a label of DICOM slices for {of_what}, which is no folder of DICOM slices; expected a label "
            "in NIfTI or NRRD"
        )
    if not os.path.isdir(label):
        from common.datasets.readers.dicom_segmentation import read_on_series

        return read_on_series(Path(label), Path(series))
    pictures = list_label_pictures(Path(label))
    changed = max(path.stat().st_mtime_ns for path in (Path(series), *pictures))
    return _read_cached(Path(label), Path(series), tuple(pictures), changed)


def check_segment_names(path: str | os.PathLike, classes: Mapping[str, int]) -> None:
    """Refuse DICOM SEG whose segments are called like classes of other ids.

    Args:
        path: the file.
        classes: ids by name.

    Raises:
        InputError: if one is, saying what to give.
    """
    from common.datasets.readers.dicom_segmentation import read_segmentation

    names = read_segmentation(Path(path)).names
    ids = {name.casefold(): index for name, index in classes.items()}
    meant = {number: ids.get(name.strip().casefold(), number) for number, name in names.items()}
    wrong = next((number for number, index in meant.items() if index != number), None)
    if wrong is not None:
        pairs = ",".join(f"{number}={index}" for number, index in meant.items())
        raise InputError(
            f"{path}: its segment {wrong} is called {names[wrong]}, which is the class {meant[wrong]}; give --values "
            f"{pairs} (source::values)"
        )


def check_only_segment(path: str | os.PathLike, name: str, classes: Iterable[str]) -> None:
    """Refuse DICOM SEG of one class that has several segments, or one that is called like another class.

    Segments that have no pixel do not matter.

    Args:
        path: the file.
        name: of the class.
        classes: names of all classes.

    Raises:
        InputError: saying which they are.
    """
    from common.datasets.readers.dicom_segmentation import drawn_segments

    drawn = drawn_segments(Path(path))
    others = {other.casefold(): other for other in classes if other != name}
    for number, called in drawn.items():
        other = others.get(called.strip().casefold())
        if other is not None:
            raise InputError(
                f"{path}: its segment {number} is called {called}, but it is a label of {name}; see whether labels of "
                f"{name} and {other} are swapped"
            )
    if len(drawn) > 1:
        listed = ", ".join(f"{number} {called}" for number, called in drawn.items())
        raise InputError(
            f"{path}: has {len(drawn)} segments ({listed}), but is a label of {name} alone; export each segment to a "
            "file of its own, or give label_format ids and values, the class of each segment"
        )


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
    _check_order(label, picture_of, [each.path for each in slices])
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


def _check_order(label: Path, picture_of: Mapping[Path, Path], in_place: Sequence[Path]) -> None:
    """Refuse pairs that are a guess: a picture is called as another slice, or names do not follow the patient.

    Args:
        label: the folder of the pictures.
        picture_of: the picture of each slice, sorted by name.
        in_place: the slices as they lie in the patient.

    Raises:
        InputError: naming an example.
    """
    slice_called = {called: path for path in picture_of for called in (path.stem, path.name)}
    called_alike = {path: slice_called.get(picture.stem) for path, picture in picture_of.items()}
    advice = "name each picture as its slice"
    for path, alike in called_alike.items():
        if alike is not None and alike != path:
            raise InputError(
                f"{label}: {picture_of[path].name} would be the label of {path.name}, the next by sorted name, but is "
                f"called as {alike.name}; {advice}"
            )
    by_name = list(picture_of)
    if None in called_alike.values() and by_name not in (list(in_place), list(in_place)[::-1]):
        places = [in_place.index(path) for path in by_name]
        first = next(index for index in range(2, len(places)) if not _lies_between(places[index - 2 : index + 1]))
        raise InputError(
            f"{label}: pictures and slices pair by sorted name, but those of the slices do not follow the patient, "
            f"first {by_name[first - 1].name} and {by_name[first].name}: {advice}"
        )


def _lies_between(places: Sequence[int]) -> bool:
    """Tell whether the second of three places lies between the others."""
    first, second, third = places
    return (second - first) * (third - second) > 0
