"""Masks as DICOM Segmentation objects (PS3.3, A.51), by highdicom."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from common.datasets.readers.dicom_files import open_dicom
from common.datasets.readers.dicom_series import read_series
from common.datasets.readers.optional import optional_import
from common.errors import InputError

_NAMED_BY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_SERIES_NUMBER = 900  # of the masks, beyond those that scanners count
_PROJECT = "task-specific-distillation"


def check_highdicom() -> None:
    """Refuse to begin where DICOM Segmentation objects cannot be written.

    Raises:
        InputError: if highdicom is not installed.
    """
    if not optional_import("highdicom")[1]:
        raise InputError(f'--format dicom-seg takes the package highdicom: pip install "{_PROJECT}[seg]"')


def write_segmentation(ids: np.ndarray, folder: Path, class_names: Sequence[str], path: Path) -> None:
    """Write the mask of a DICOM series, each structure a segment of its own.

    A segment lies in the frame of reference of the series, and each of its frames names the slice that it was made
    from. Structures are told by their names, under a coding scheme of ones own, as nothing says which of the standard
    codes is meant.

    Args:
        ids: uint8 ``(columns, rows, slices)``, in the order of :func:`read_series`.
        folder: of the series.
        class_names: by id, background first.
        path: to write to.

    Raises:
        InputError: if the slices do not say what patient, study and series they belong to.
    """
    import highdicom
    from pydicom.sr.codedict import codes

    slices = [_header(each.path) for each in read_series(folder)]
    series = {each.SeriesInstanceUID for each in slices}
    if len(series) > 1:
        raise InputError(
            f"{folder}: its slices have {len(series)} different SeriesInstanceUIDs, so that a DICOM Segmentation "
            "cannot name its series; restore them, or take --format nifti"
        )
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=_PROJECT, version=_version(), family=codes.cid7162.ArtificialIntelligence
    )
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=highdicom.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
            segmented_property_type=highdicom.sr.CodedConcept(str(number), "99TSD", name[:64]),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(class_names[1:], start=1)
    ]
    logging.getLogger("highdicom").setLevel(logging.ERROR)  # it warns of an empty mask, and writes it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values of the slices that break rules of DICOM
        try:
            segmentation = _segmentation_class()(
                source_images=slices,
                pixel_array=np.ascontiguousarray(ids.transpose(2, 1, 0)),
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=segments,
                series_instance_uid=highdicom.UID(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer=_PROJECT,
                manufacturer_model_name=_PROJECT,
                software_versions=_version(),
                device_serial_number="0",
                content_label="MASK",
                series_description="Masks by a student of " + _PROJECT,
            )
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{folder}: no DICOM Segmentation can be made ({reason}); take --format nifti") from error
        segmentation.save_as(path)


def _segmentation_class() -> type:
    """Return highdicom's ``Segmentation``, as it works with NumPy 2.

    The last version that takes pydicom 2 looks for ``numpy.float_``, which is gone, to see whether a mask is one.
    """
    import highdicom

    class Segmentation(highdicom.seg.Segmentation):
        @staticmethod
        def _get_segment_pixel_array(pixel_array: np.ndarray, segment_number: int, *_: Any, **__: Any) -> np.ndarray:
            return (pixel_array == segment_number).astype(np.uint8)

    return Segmentation


def _header(path: Path) -> pydicom.Dataset:
    """Return what a slice says beside its pixels; what may be empty in DICOM, and is missing, is empty."""
    header = open_dicom(path, stop_before_pixels=True)
    missing = [name for name in _NAMED_BY if not header.get(name)]
    if missing:
        raise InputError(
            f"{path}: has no {', '.join(missing)}, which a DICOM Segmentation refers to; restore it, or take --format "
            "nifti"
        )
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, None)
    return header


def _version() -> str:
    try:
        return version(_PROJECT)
    except PackageNotFoundError:
        return "unknown"
