"""Labels of CHAOS as class ids: what its modalities are, where their files lie, and what their grey values mean."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, ensure_tuple

from common.datasets.readers.affines import turn_to_lps
from common.datasets.readers.dicom import list_slices, natural_key, read_slice
from common.datasets.readers.dicom_series import find_issues
from common.datasets.readers.label_pictures import read_label_picture
from common.datasets.readers.labels import LoadLabeld
from common.datasets.readers.series import volume_meta
from common.errors import InputError


class Place(NamedTuple):
    """Where a modality is: the folder of its patients, and in a patient's folder the sequence with DICOM and Ground."""

    group: str
    sequence: str
    images: str  # relative to the folder that has Ground


PLACES = {
    "ct": Place("CT", "", "DICOM_anon"),
    "t1_in": Place("MR", "T1DUAL", "DICOM_anon/InPhase"),
    "t1_out": Place("MR", "T1DUAL", "DICOM_anon/OutPhase"),
    "t2": Place("MR", "T2SPIR", "DICOM_anon"),
}
_MR_CLASSES = {0: "background", 1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
CLASSES = {"ct": {0: "background", 1: "liver"}, "t1_in": _MR_CLASSES, "t1_out": _MR_CLASSES, "t2": _MR_CLASSES}
# Inclusive ranges of grey values by class.
_MR_GREYS = {0: (0, 0), 1: (55, 70), 2: (110, 135), 3: (175, 200), 4: (240, 255)}
GREYS = {"ct": {0: (0, 0), 1: (255, 255)}, "t1_in": _MR_GREYS, "t1_out": _MR_GREYS, "t2": _MR_GREYS}


def check_modality(modality: str) -> None:
    """Refuse a modality that CHAOS does not have.

    Raises:
        InputError: naming those that it has.
    """
    if not isinstance(modality, str) or modality not in PLACES:  # a list of several cannot even be looked up
        raise InputError(f"modality: expected {', '.join(PLACES)}, got {modality!r}")


def list_labels(folder: Path) -> list[Path]:
    """Return the PNG files of a folder, sorted naturally by name."""
    paths = folder.iterdir() if folder.is_dir() else []
    return sorted(
        (path for path in paths if path.suffix.lower() == ".png" and not path.name.startswith(".")), key=natural_key
    )


def class_table(modality: str) -> np.ndarray:
    """Return the class of every grey value from 0 to 255, -1 where it has none."""
    table = np.full(256, -1)
    for index, (low, high) in GREYS[modality].items():
        table[low : high + 1] = index
    return table


def read_greys(path: Path) -> np.ndarray:
    """Return the grey values of a label, uint8 of shape ``(rows, columns)``.

    Raises:
        InputError: if the file cannot be read or is not an image of one grey channel.
    """
    mask = read_label_picture(path).image
    if mask.mode not in ("1", "L"):
        raise InputError(f"{path}: expected one 8-bit grey channel, got Pillow mode {mask.mode}")
    return np.asarray(mask.convert("L"))


class GroundReader(ImageReader):
    """Reads labels as class ids, for MONAI's ``LoadImage``.

    A PNG is read as ``(columns, rows)``, as PILReader reads it and PydicomReader its slice. A folder ``Ground`` is read
    as the volume ``(columns, rows, slices)`` with the affine that :class:`SeriesReader` gives to its images.

    Args:
        modality: says which grey values mean what, and which of the folders beside Ground has the images.

    Raises:
        InputError: if ``modality`` is unknown.
    """

    def __init__(self, modality: str) -> None:
        check_modality(modality)
        self.modality = modality

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Tell whether this is a PNG or a folder."""
        return all(Path(name).suffix.lower() == ".png" or Path(name).is_dir() for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Path:
        """Return the file or folder.

        Raises:
            InputError: if there are several.
        """
        path, *more = ensure_tuple(data)
        if more:
            raise InputError(f"{path}: expected one label, got {1 + len(more)}")
        return Path(path)

    def get_data(self, img: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the class ids, uint8, and the geometry; grey values that belong to no class become background.

        Raises:
            InputError: if files cannot be read, or labels and slices do not pair.
        """
        if img.is_dir():
            return self._read_volume(img)
        ids = self._read_ids(img)
        return ids, {MetaKeys.SPATIAL_SHAPE: np.array(ids.shape), MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan")}

    def _read_ids(self, path: Path) -> np.ndarray:
        return np.ascontiguousarray(np.maximum(class_table(self.modality), 0).astype(np.uint8)[read_greys(path)].T)

    def _read_volume(self, ground: Path) -> tuple[np.ndarray, dict[str, Any]]:
        images = list_slices(ground.parent / PLACES[self.modality].images)
        labels = list_labels(ground)
        if len(images) != len(labels):
            raise InputError(f"{ground}: {len(labels)} labels for {len(images)} slices; they pair by sorted name")
        slices = [read_slice(path) for path in images]
        issues = find_issues(slices)
        if issues:
            raise InputError(f"{images[0].parent}: {'; '.join(issues)}")
        pairs = sorted(zip(slices, labels, strict=True), key=lambda pair: pair[0].depth)
        ids = np.stack([self._read_ids(label) for _, label in pairs], axis=-1)
        return ids, volume_meta([each for each, _ in pairs])


class LoadGroundd(LoadLabeld):
    """Reads a label as its base class does where it is NIfTI or NRRD, else as :class:`GroundReader` does.

    Args:
        keys: where the path is, and where the label goes.
        modality: as for :class:`GroundReader`.
        allow_missing_keys: whether to leave alone what has no label.

    Raises:
        InputError: if ``modality`` is unknown.
    """

    def __init__(self, keys: KeysCollection, modality: str, allow_missing_keys: bool = False) -> None:
        self._ground = GroundReader(modality)
        super().__init__(keys, len(CLASSES[modality]), allow_missing_keys=allow_missing_keys)

    def read_own(self, label: str | os.PathLike) -> np.ndarray:
        """Return the class ids ``(W, H[, D])``, of a volume in LPS.

        Raises:
            InputError: as :meth:`GroundReader.get_data` does.
        """
        ids, meta = self._ground.get_data(Path(label))
        return turn_to_lps(ids, meta[MetaKeys.AFFINE])[0] if ids.ndim == 3 else ids
