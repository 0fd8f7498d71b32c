"""DICOM SEG: labels of a series, each frame of which says of which slice and of which segment it is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom

from common.datasets.readers.dicom import Slice
from common.datasets.readers.dicom_files import open_dicom, storage_class, value_of
from common.datasets.readers.dicom_series import affine_of, read_series
from common.datasets.readers.nifti import Volume
from common.errors import InputError

_SEGMENTATION = "Segmentation Storage"
_APART = 0.01  # millimetres by which a frame may lie beside its slice
_OTHERWISE = "convert it to NIfTI on the series, for example with dcmqi or 3D Slicer"


class Segmentation(NamedTuple):
    """What a file has.

    Attributes:
        names: of the segments by number.
        frames: bool ``(N, H, W)``.
        segments: number of the segment of each frame.
        slices: SOPInstanceUID of the slice of each frame.
        places: where each frame says that it lies, its position and its orientation; None where it does not.
    """

    names: dict[int, str]
    frames: np.ndarray
    segments: list[int]
    slices: list[str]
    places: list[tuple[list[float] | None, list[float] | None]]


def is_segmentation(path: Path) -> bool:
    """Tell whether a file is DICOM SEG; one that cannot be read is not."""
    try:
        return (
            storage_class(open_dicom(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]), path)
            == _SEGMENTATION
        )
    except InputError:  # which is told when it is read as what it should be
        return False


def read_segmentation(path: Path) -> Segmentation:
    """Return what a file has.

    Raises:
        InputError: if it is damaged, is no binary segmentation, or does not say what its frames are of.
    """
    return _read_cached(path, _modified(path))


@lru_cache(maxsize=4)
def _read_cached(path: Path, modified: int) -> Segmentation:
    dataset = open_dicom(path)
    if storage_class(dataset, path) != _SEGMENTATION:
        kind = storage_class(dataset, path) or "no segmentation"
        raise InputError(f"{path}: is {kind}; expected DICOM SEG, NIfTI or NRRD as the label of a volume")
    if value_of(dataset, "SegmentationType", path) != "BINARY":
        kind = value_of(dataset, "SegmentationType", path)
        raise InputError(f"{path}: its SegmentationType is {kind}; expected BINARY, which says yes or no")
    try:
        frames = np.asarray(dataset.pixel_array) > 0
        frames = frames.reshape(-1, *frames.shape[-2:])
        names = {int(each.SegmentNumber): str(each.get("SegmentLabel", "")) for each in dataset.SegmentSequence}
        groups = list(dataset.PerFrameFunctionalGroupsSequence)
        segments = [int(each.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for each in groups]
        shared = _orientation(dataset.SharedFunctionalGroupsSequence[0]) if _has_shared(dataset) else None
        places = [(_position(each), _orientation(each) or shared) for each in groups]
    except Exception as error:  # on damaged bytes pydicom raises whatever they make it stumble over
        raise InputError(f"{path}: cannot be read as DICOM SEG, export it again ({error})") from error
    try:
        slices = [
            str(each.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID) for each in groups
        ]
    except (AttributeError, IndexError) as error:
        raise InputError(
            f"{path}: does not say which slices its frames are of (DerivationImageSequence); {_OTHERWISE}"
        ) from error
    if len(groups) != len(frames) or not set(segments) <= set(names):
        raise InputError(f"{path}: its {len(frames)} frames and {len(groups)} descriptions differ, export it again")
    frames.flags.writeable = False  # several callers get it
    return Segmentation(names, frames, segments, slices, places)


def _has_shared(dataset: pydicom.Dataset) -> bool:
    return bool(dataset.get("SharedFunctionalGroupsSequence"))


def _position(group: pydicom.Dataset) -> list[float] | None:
    found = group.get("PlanePositionSequence")
    return [float(each) for each in found[0].ImagePositionPatient] if found else None


def _orientation(group: pydicom.Dataset) -> list[float] | None:
    found = group.get("PlaneOrientationSequence")
    return [float(each) for each in found[0].ImageOrientationPatient] if found else None


def drawn_segments(path: Path) -> dict[int, str]:
    """Return the names, by number, of the segments that have a pixel.

    Raises:
        InputError: as :func:`read_segmentation` does.
    """
    return _drawn_cached(path, _modified(path))


@lru_cache(maxsize=256)
def _drawn_cached(path: Path, modified: int) -> dict[int, str]:
    segmentation = read_segmentation(path)
    has_pixels = np.any(segmentation.frames, axis=(1, 2))
    drawn = {number for number, has_any in zip(segmentation.segments, has_pixels, strict=True) if has_any}
    return {number: name for number, name in segmentation.names.items() if number in drawn}


def segment_values(path: Path) -> np.ndarray:
    """Return the numbers of the segments in all frames ``(N, H, W)``, 0 outside of them."""
    segmentation = read_segmentation(path)
    return segmentation.frames * np.array(segmentation.segments, np.float32)[:, None, None]


def read_on_series(path: Path, series: Path) -> Volume:
    """Return the numbers of the segments as a volume that lies on its series.

    Raises:
        InputError: as :func:`read_segmentation` does; if slices are not those of the series, frames have another size
            or lie elsewhere, or segments overlap.
    """
    return _place_cached(path, series, (_modified(path), series.stat().st_mtime_ns))


def _modified(path: Path) -> int:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return path.stat().st_mtime_ns


@lru_cache(maxsize=4)
def _place_cached(path: Path, series: Path, modified: tuple[int, int]) -> Volume:
    """Put the frames in place once for all slices, and again after the file has changed."""
    segmentation, slices = read_segmentation(path), read_series(series)
    index_of = {_uid_of(each): index for index, each in enumerate(slices)}
    if len(index_of) < len(slices):
        raise InputError(f"{series}: slices share a SOPInstanceUID, so that {path} cannot name them; {_OTHERWISE}")
    strangers = [uid for uid in segmentation.slices if uid not in index_of]
    if strangers:
        raise InputError(
            f"{path}: {len(strangers)} of its {len(segmentation.slices)} frames are of slices that {series} does not "
            f"have, first {strangers[0]}; see whether it belongs to this series"
        )
    first = slices[0]
    if segmentation.frames.shape[1:] != (first.rows, first.columns):
        sizes = (" x ".join(map(str, each)) for each in (segmentation.frames.shape[:0:-1], (first.columns, first.rows)))
        raise InputError(
            "{}: its frames are {} pixels, but the slices of {} are {}".format(path, next(sizes), series, *sizes)
        )
    values = np.zeros((first.columns, first.rows, len(slices)), np.float32)
    for frame, number, uid, place in zip(*segmentation[1:], strict=True):
        index = index_of[uid]
        _check_place(path, place, slices[index])
        inside, layer = frame.T, values[..., index]
        overlap = int(np.count_nonzero(inside & (layer > 0) & (layer != number)))
        if overlap:
            raise InputError(
                f"{path}: segments overlap in {overlap:,} pixels of {slices[index].path.name}; a pixel has one class, "
                "correct one of them"
            )
        layer[inside] = number
    values.flags.writeable = False
    return Volume(path, values, affine_of(slices), None)


def _uid_of(each: Slice) -> str:
    return str(value_of(open_dicom(each.path, stop_before_pixels=True), "SOPInstanceUID", each.path) or each.path)


def _check_place(path: Path, place: tuple[Any, Any], where: Slice) -> None:
    position, orientation = place
    lies = position is None or np.allclose(position, where.position, atol=_APART)
    if not lies or not (
        orientation is None or np.allclose(orientation, [*where.along_row, *where.along_column], atol=1e-3)
    ):
        raise InputError(f"{path}: a frame of {where.path.name} does not lie on it; {_OTHERWISE}")
