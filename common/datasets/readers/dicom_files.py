"""DICOM files: what is in them, and what of them is no slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom

from common.datasets.readers.dicom_signature import is_dicom
from common.errors import InputError

_CT_CLASSES = ("CT Image Storage", "Enhanced CT Image Storage", "Legacy Converted Enhanced CT Image Storage")


def open_dicom(path: Path, **options: Any) -> pydicom.Dataset:
    """Read a DICOM file, with or without its preamble.

    Args:
        path: the file.
        options: what ``pydicom.dcmread`` takes.

    Raises:
        InputError: if it is missing, empty, or no DICOM file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty, copy it again")
    try:
        dataset = pydicom.dcmread(path, force=True, **options) if is_dicom(path) else None  # force: without preamble
    except Exception as error:  # on damaged bytes pydicom raises far more than its InvalidDicomError
        raise InputError(f"{path}: cannot be read as DICOM, copy it again ({error})") from error
    if dataset is None:
        raise InputError(f"{path}: cannot be read as DICOM, copy it again (it does not begin as DICOM files do)")
    return dataset


def value_of(dataset: pydicom.Dataset, name: str, path: Path) -> Any:
    """Return the value of an element, None where it is missing or empty.

    Raises:
        InputError: if the value is none of its type, such as a text for a number.
    """
    try:
        value = dataset.get(name)
        return None if value is None or (hasattr(value, "__len__") and not len(value)) else value
    except Exception as error:  # values are decoded when they are looked at, and may be anything
        raise InputError(f"{path}: its {name} is damaged, copy it again ({error})") from error


def numbers_of(dataset: pydicom.Dataset, name: str, count: int, path: Path) -> tuple[float, ...]:
    """Return the numbers of an element.

    Raises:
        InputError: if they are missing, not finite, or not as many.
    """
    value = value_of(dataset, name, path)
    try:
        numbers = (float(value),) if count == 1 else tuple(float(each) for each in value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: its {name} is damaged; expected {_amount(count)}, got {value!r}") from error
    if len(numbers) != count or not all(abs(each) < float("inf") for each in numbers):
        raise InputError(f"{path}: its {name} is damaged; expected {_amount(count)}, got {value!r}")
    return numbers


def _amount(count: int) -> str:
    return "a number" if count == 1 else f"{count} numbers"


def storage_class(dataset: pydicom.Dataset, path: Path) -> str:
    """Return what kind of object a file holds, such as "CT Image Storage"; empty where that is not known."""
    uid = pydicom.uid.UID(str(value_of(dataset, "SOPClassUID", path) or ""))
    return uid.name if uid.name != uid else ""


def is_ct(dataset: pydicom.Dataset, path: Path) -> bool:
    """Tell whether values are those of computed tomography."""
    return value_of(dataset, "Modality", path) == "CT" or storage_class(dataset, path) in _CT_CLASSES


def check_is_slice(dataset: pydicom.Dataset, path: Path) -> None:
    """Refuse what holds several slices, and what is no image.

    Raises:
        InputError: saying what it is, and what to do with it.
    """
    kind = storage_class(dataset, path)
    if kind and "Image" not in kind:
        raise InputError(f"{path}: is no image but {kind.removesuffix(' Storage')}; move it out of the folder")
    given = value_of(dataset, "NumberOfFrames", path) is not None
    frames = numbers_of(dataset, "NumberOfFrames", 1, path)[0] if given else 1
    if frames != 1 or "Enhanced" in kind or "PerFrameFunctionalGroupsSequence" in dataset:
        name = kind.removesuffix(" Storage").removesuffix(" Image").replace("Enhanced", "enhanced") or "multi-frame"
        raise InputError(
            f"{path}: {name}, {frames:g} {'frame' if frames == 1 else 'frames'}: split it into slices or convert it to "
            "NIfTI (for example dcm2niix)"
        )
