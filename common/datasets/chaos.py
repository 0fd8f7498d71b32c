"""CHAOS: abdominal organs in CT and MR volumes (Kavur et al., 2021, doi 10.1016/j.media.2020.101950).

::

    Train_Sets/CT/1/DICOM_anon/i0000,0000b.dcm                  or IMG-0004-00001.dcm
    Train_Sets/CT/1/Ground/liver_GT_000.png                     liver 255
    Train_Sets/MR/1/T1DUAL/DICOM_anon/InPhase/IMG-0004-00002.dcm
    Train_Sets/MR/1/T1DUAL/DICOM_anon/OutPhase/IMG-0004-00001.dcm
    Train_Sets/MR/1/T1DUAL/Ground/IMG-0004-00002.png            for both phases
    Train_Sets/MR/1/T2SPIR/DICOM_anon/IMG-0002-00001.dcm
    Train_Sets/MR/1/T2SPIR/Ground/IMG-0002-00001.png            liver 63, kidneys 126 and 189, spleen 252
    Test_Sets                                                   the same without Ground: not used

Slices and labels pair by naturally sorted file name. The ids of CT and MR patients are independent of each other; T1
and T2 of one id are one patient.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.config import KeysCollection
from monai.data import ImageReader
from monai.transforms import LoadImage, ScaleIntensityRange, ScaleIntensityRangePercentiles
from monai.utils import MetaKeys, ensure_tuple

from common.datasets.issues import Faults
from common.datasets.readers.dicom import (
    Slice,
    find_faults,
    list_slices,
    natural_key,
    read_pixels,
    read_slice,
    volume_meta,
)
from common.datasets.readers.images import read_image
from common.datasets.readers.labels import LoadLabeld as LoadFileOfIdsd
from common.datasets.readers.nifti import turn_to_lps
from common.datasets.splits import SECTIONS, check_section, split_groups
from common.errors import InputError

IN_CHANNELS = 1
_MR_CLASSES = {0: "background", 1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
CLASSES = {"ct": {0: "background", 1: "liver"}, "t1_in": _MR_CLASSES, "t1_out": _MR_CLASSES, "t2": _MR_CLASSES}
GROUP = "patient"

_TEST_FRACTION = 0.25  # of the patients with labels, because Test_Sets has none


class _Place(NamedTuple):
    """Where a modality is: the folder of its patients, and in a patient's folder the sequence with DICOM and Ground."""

    group: str
    sequence: str
    images: str  # relative to the folder that has Ground


_PLACES = {
    "ct": _Place("CT", "", "DICOM_anon"),
    "t1_in": _Place("MR", "T1DUAL", "DICOM_anon/InPhase"),
    "t1_out": _Place("MR", "T1DUAL", "DICOM_anon/OutPhase"),
    "t2": _Place("MR", "T2SPIR", "DICOM_anon"),
}
# Inclusive ranges of grey values by class.
_MR_GREYS = {0: (0, 0), 1: (55, 70), 2: (110, 135), 3: (175, 200), 4: (240, 255)}
_GREYS = {"ct": {0: (0, 0), 1: (255, 255)}, "t1_in": _MR_GREYS, "t1_out": _MR_GREYS, "t2": _MR_GREYS}
_SOFT_TISSUE = (-160, 240)  # Hounsfield units from black to white, for the eye


class _Volume(NamedTuple):
    """One patient's scan: the folder that has Ground, and slices and labels in the order of their names."""

    folder: Path
    images: list[Path]
    labels: list[Path]


def find_root(dataset_dir: str | Path) -> Path:
    """Return the folder that holds ``Train_Sets``, given it, its parent, ``Train_Sets``, or CT or MR in there.

    Raises:
        InputError: if there is no such folder, or more than one.
    """
    folder = Path(os.path.abspath(Path(dataset_dir).expanduser()))
    if not folder.is_dir():
        raise InputError(f"dataset_dir {folder}: no such folder; expected CHAOS, the folder with Train_Sets in it")
    if (folder / "Train_Sets").is_dir():
        return folder
    if folder.name == "Train_Sets":
        return folder.parent
    if folder.parent.name == "Train_Sets" and folder.name in ("CT", "MR"):
        return folder.parent.parent
    children = sorted(child for child in folder.iterdir() if (child / "Train_Sets").is_dir())
    if len(children) == 1:
        return children[0]
    if children:
        names = ", ".join(child.name for child in children)
        raise InputError(f"dataset_dir {folder}: holds several copies of CHAOS ({names}); name one of them")
    raise InputError(
        f"dataset_dir {folder}: no Train_Sets here or one level down; expected CHAOS as it is unpacked, with "
        "Train_Sets/CT/1/DICOM_anon and Train_Sets/CT/1/Ground, or Train_Sets/MR/1/T1DUAL and Train_Sets/MR/1/T2SPIR"
    )


def class_names(modality: str) -> list[str]:
    """Return the names of a modality's classes by id, background first.

    Raises:
        InputError: if ``modality`` is unknown.
    """
    _check_modality(modality)
    return list(CLASSES[modality].values())


def datalist(
    dataset_dir: str | Path,
    section: str,
    modality: str,
    seed: int = 0,
    num_validation: int = 2,
    num_labels: int | None = None,
) -> list[dict[str, str]]:
    """Return the slices of one section with their labels.

    The test section is a quarter of the patients in ``Train_Sets``; of those that remain, ``num_validation`` are for
    validation. Sections share no patient and depend on the ids and the seed alone, so that ``t1_in``, ``t1_out`` and
    ``t2`` are split alike.

    Args:
        dataset_dir: see :func:`find_root`.
        section: "training", "validation" or "test".
        modality: "ct", "t1_in", "t1_out" or "t2".
        seed: draws the sections, and the order of the training section.
        num_validation: number of validation patients.
        num_labels: label budget: the first so many training slices, so that small budgets are part of larger ones.
            They are spread evenly over the patients and, in each, over the volume, without a look at the labels.

    Returns:
        One ``{"image": a DICOM file, "label": its PNG, "patient": id}`` per slice.

    Raises:
        InputError: if files are missing or too few, ``modality`` is unknown or ``num_labels`` is out of range; all
            faults at once.
        ValueError: if ``section`` is none of the three.
    """
    parts = _read_layout(dataset_dir, section, modality, seed, num_validation, num_labels)
    return [
        {"image": str(image), "label": str(label), "patient": patient}
        for patient, image, label in parts.slices[section]
    ]


def volumes(
    dataset_dir: str | Path, section: str, modality: str, seed: int = 0, num_validation: int = 2
) -> list[dict[str, str]]:
    """Return the whole volumes of one section, for :class:`SeriesReader` and :class:`GroundReader`.

    Args and raises as in :func:`datalist`.

    Returns:
        One ``{"image": folder of DICOM files, "label": Ground, "patient": id}`` per patient.
    """
    parts = _read_layout(dataset_dir, section, modality, seed, num_validation, None)
    return [
        {
            "image": str(parts.volumes[patient].folder / _PLACES[modality].images),
            "label": str(parts.volumes[patient].folder / "Ground"),
            "patient": patient,
        }
        for patient in parts.patients[section]
    ]


def check(
    dataset_dir: str | Path, modality: str, num_validation: int = 2, num_labels: int | None = None, seed: int = 0
) -> dict[str, int]:
    """Read every slice and label of a modality and return the number of slices in each section.

    Raises:
        InputError: listing every fault at once: folders and files missing, unreadable, compressed beyond decoding, of
            the wrong size or grey values, missing, extra or mixed slices, too few patients for a split,
            ``num_labels`` out of range.
    """
    root, faults = _start(dataset_dir, modality)
    found = _find_volumes(root, modality, faults)
    for volume in found.values():
        _check_volume(volume, modality, root, faults)
    sections = _split(found, modality, seed, num_validation, num_labels, faults)
    faults.raise_if_any()
    return {section: len(entries) for section, entries in sections.slices.items()}


# Layout


class _Parts(NamedTuple):
    volumes: dict[str, _Volume]
    patients: dict[str, list[str]]
    slices: dict[str, list[tuple[str, Path, Path]]]


def _check_modality(modality: str) -> None:
    if not isinstance(modality, str) or modality not in _PLACES:  # a list of several cannot even be looked up
        raise InputError(f"modality: expected {', '.join(_PLACES)}, got {modality!r}")


def _start(dataset_dir: str | Path, modality: str) -> tuple[Path, Faults]:
    _check_modality(modality)
    root = find_root(dataset_dir)
    return root, Faults(f"CHAOS ({modality})", root)


def _read_layout(
    dataset_dir: str | Path, section: str, modality: str, seed: int, num_validation: int, num_labels: int | None
) -> _Parts:
    check_section(section)
    root, faults = _start(dataset_dir, modality)
    parts = _split(_find_volumes(root, modality, faults), modality, seed, num_validation, num_labels, faults)
    faults.raise_if_any()
    return parts


def _find_volumes(root: Path, modality: str, faults: Faults) -> dict[str, _Volume]:
    """Return the scans by patient, the incomplete ones too, and note what is missing."""
    place = _PLACES[modality]
    group = root / "Train_Sets" / place.group
    patients = [each for each in group.iterdir() if each.is_dir()] if group.is_dir() else []
    patients = sorted((each for each in patients if not each.name.startswith((".", "__"))), key=natural_key)
    if not patients:
        state = "no patients in it" if group.is_dir() else "no such folder"
        sequence = Path("1", place.sequence).as_posix()
        faults.add(f"Train_Sets/{place.group}: {state}; expected {sequence}/{place.images} and {sequence}/Ground")
    found = {}
    for patient in patients:
        folder = patient / place.sequence
        found[patient.name] = _Volume(folder, list_slices(folder / place.images), _list_labels(folder / "Ground"))
        _check_pairs(found[patient.name], place.images, folder.relative_to(root).as_posix(), faults)
    return found


def _list_labels(folder: Path) -> list[Path]:
    """Return the PNG files of a folder, sorted naturally by name."""
    paths = folder.iterdir() if folder.is_dir() else []
    return sorted(
        (path for path in paths if path.suffix.lower() == ".png" and not path.name.startswith(".")), key=natural_key
    )


def _check_pairs(volume: _Volume, images: str, name: str, faults: Faults) -> None:
    """Note a scan whose slices and labels cannot be paired."""
    for paths, folder, what in ((volume.images, images, "DICOM slices"), (volume.labels, "Ground", "PNG labels")):
        if not paths:
            state = f"no {what} in it" if (volume.folder / folder).is_dir() else "no such folder"
            faults.add(f"{name}/{folder}: {state}")
    if not volume.images or not volume.labels:
        return
    holes = {images: _hole_in_numbers(volume.images), "Ground": _hole_in_numbers(volume.labels)}
    if len(volume.images) != len(volume.labels):
        hints = [f"{folder} has none between {hole}" for folder, hole in holes.items() if hole]
        faults.add(
            f"{name}: {len(volume.images)} slices in {images}, but {len(volume.labels)} labels in Ground; they pair by "
            f"sorted name, one label for each slice{''.join(f'; {hint}' for hint in hints)}"
        )
    elif bool(holes[images]) != bool(holes["Ground"]):
        folder, other = (images, "Ground") if holes[images] else ("Ground", images)
        faults.add(
            f"{name}/{folder}: has no file between {holes[folder]}, while the numbers in {other} have no such hole, so "
            "slices and labels do not pair; restore the missing file"
        )


def _hole_in_numbers(paths: Sequence[Path]) -> str | None:
    """Return the names around the first hole in the numbering of files, whose step may be more than one."""
    numbers = [[int(number) for number in re.findall(r"\d+", path.stem)] for path in paths]
    if len({len(each) for each in numbers}) != 1:
        return None
    varying = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    if len(varying) != 1:
        return None
    steps = [after - before for before, after in pairwise(varying[0])]
    usual = Counter(steps).most_common(1)[0][0]
    return next((f"{paths[i].name} and {paths[i + 1].name}" for i, step in enumerate(steps) if step > usual), None)


# Split


def _split(
    found: dict[str, _Volume], modality: str, seed: int, num_validation: int, num_labels: int | None, faults: Faults
) -> _Parts:
    """Return patients and slices of every section; the sections are empty where there is too little to split."""
    nothing = _Parts(found, {section: [] for section in SECTIONS}, {section: [] for section in SECTIONS})
    if num_validation < 1:
        faults.add(f"num_validation must be at least 1, got {num_validation}")
        return nothing
    num_test = max(1, round(_TEST_FRACTION * len(found)))
    needed = num_test + num_validation + 1
    if len(found) < needed:
        purposes = f"{num_test} for the test, {num_validation} for validation and 1 for training"
        faults.add(f"Train_Sets/{_PLACES[modality].group}: {needed} patients needed ({purposes}), found {len(found)}")
        return nothing
    test, validation, training = split_groups(list(found), [num_test, num_validation], seed)
    patients = {
        "training": training,
        "validation": sorted(validation, key=lambda name: natural_key(Path(name))),
        "test": sorted(test, key=lambda name: natural_key(Path(name))),
    }
    drawn = _spread({patient: found[patient] for patient in training})
    if num_labels is not None:
        if not 1 <= num_labels <= len(drawn):
            faults.add(f"num_labels must be between 1 and the {len(drawn)} training slices available, got {num_labels}")
        drawn = drawn[: max(num_labels, 0)]
    slices = {
        section: [
            (patient, image, label)
            for patient in patients[section]
            for image, label in zip(found[patient].images, found[patient].labels, strict=False)
        ]
        for section in ("validation", "test")
    }
    return _Parts(found, patients, {"training": drawn, **slices})


def _spread(chosen: dict[str, _Volume]) -> list[tuple[str, Path, Path]]:
    """Return all slices in the order in which a label budget takes them: one of each patient in turn.

    A patient's slices follow each other in bit-reversed order (the middle, the quarters, the eighths), from a start
    that differs between patients by the golden ratio: any number of them is spread over the volumes.
    """
    turns = []
    for place, (patient, volume) in enumerate(chosen.items()):
        pairs = list(zip(volume.images, volume.labels, strict=False))
        start = int((0.5 + 0.618034 * place) % 1 * len(pairs))
        order = sorted(range(len(pairs)), key=lambda index: f"{index:032b}"[::-1])
        for turn, index in enumerate(order):
            turns.append((turn, place, (patient, *pairs[(start + index) % len(pairs)])))
    return [drawn for _, _, drawn in sorted(turns, key=lambda each: each[:2])]


# Contents


def _check_volume(volume: _Volume, modality: str, root: Path, faults: Faults) -> None:
    """Note what is wrong with the contents of one scan."""
    images = f"{volume.folder.relative_to(root).as_posix()}/{_PLACES[modality].images}"
    ground = f"{volume.folder.relative_to(root).as_posix()}/Ground"
    slices = _check_slices(volume.images, images, faults)
    masks, reasons = {}, {}
    for path in volume.labels:
        try:
            masks[path] = _read_mask(path)
        except InputError as error:
            reasons[path] = error
    _add_by_reason(faults, ground, reasons)
    if len(volume.images) == len(volume.labels):
        for image, label in zip(volume.images, volume.labels, strict=True):
            if image in slices and label in masks:
                (rows, columns), where = masks[label].shape, slices[image]
                if (rows, columns) != (where.rows, where.columns):
                    reasons[label] = f"is {columns} x {rows}, but its slice is {where.columns} x {where.rows} pixels"
        _add_by_reason(faults, ground, {path: reasons[path] for path in masks if path in reasons})
    _check_greys(masks, modality, ground, faults)


def _check_slices(paths: Sequence[Path], name: str, faults: Faults) -> dict[Path, Slice]:
    """Read the slices of one scan and note what is wrong with them."""
    slices, reasons = {}, {}
    for path in paths:
        try:
            slices[path] = read_pixels(path)[0]
        except InputError as error:
            reasons[path] = error
    _add_by_reason(faults, name, reasons)
    if not slices or reasons:  # what cannot be read would be reported again, as a gap
        return slices
    geometry = find_faults(list(slices.values()))
    for fault in geometry:
        faults.add(f"{name}: {fault}")
    depths = [each.depth for each in slices.values()]
    if not geometry and depths not in (sorted(depths), sorted(depths, reverse=True)):
        faults.add(
            f"{name}: sorted by name, the slices are not in the order in which they lie in the patient, so that labels "
            "cannot be paired by name; restore the original names"
        )
    return slices


def _check_greys(masks: dict[Path, np.ndarray], modality: str, name: str, faults: Faults) -> None:
    """Note grey values that belong to no class, once for a scan, and a scan without any structure."""
    classes = _class_table(modality)
    strange = {path: values[classes[values] < 0] for path, mask in masks.items() if (values := np.unique(mask)).size}
    strange = {path: values for path, values in strange.items() if values.size}
    if strange:
        first, *more = strange
        values = sorted({int(value) for each in strange.values() for value in each})
        shown = ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")
        known = ", ".join(
            f"{CLASSES[modality][index]} {low}" + (f"-{high}" if high > low else "")
            for index, (low, high) in _GREYS[modality].items()
        )
        others = f" and {len(more)} more" if more else ""
        faults.add(f"{name}/{first.name}{others}: grey values {shown} are outside the known ones ({known})")
    elif masks and not any(mask.any() for mask in masks.values()):
        faults.add(f"{name}: every label is empty; expected {', '.join(list(CLASSES[modality].values())[1:])}")


def _add_by_reason(faults: Faults, folder: str, reasons: dict[Path, InputError | str]) -> None:
    """Note files that cannot be used, those of one folder and one reason together."""
    names: dict[str, list[str]] = {}
    for path, reason in reasons.items():
        names.setdefault(str(reason).removeprefix(f"{path}: "), []).append(path.name)
    for reason, (first, *more) in names.items():
        faults.add(f"{folder}/{first}{f' and {len(more)} more' if more else ''}: {reason}")


# Single slices


def load(entry: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the slice ``(rows, columns, 1)`` of an entry of :func:`datalist` and its class ids ``(rows, columns)``.

    Both are uint8: the slice is made for the eye, CT in a window for soft tissue, MR from its 1st to its 99th
    percentile.

    Raises:
        InputError: if a file cannot be read.
    """
    modality = _modality_of(entry)
    if modality == "ct":
        scale = ScaleIntensityRange(*_SOFT_TISSUE, 0, 255, clip=True, dtype=np.uint8)
    else:
        scale = ScaleIntensityRangePercentiles(1, 99, 0, 255, clip=True, dtype=np.uint8)
    values = read_pixels(Path(entry["image"]))[1]
    ids, _ = GroundReader(modality).get_data(Path(entry["label"]))
    return np.asarray(scale(values)).T[..., None], ids.T


def classes_of(entry: Mapping[str, str]) -> dict[int, str]:
    """Return the names of the classes that the label of an entry may have, by id."""
    return CLASSES[_modality_of(entry)]


def group_of(entry: Mapping[str, str]) -> str:
    """Return the patient that an entry belongs to."""
    return entry["patient"]


def _modality_of(entry: Mapping[str, str]) -> str:
    """Return the modality that the folder of a slice is for."""
    folder = Path(entry["image"]).parent
    return next(
        modality
        for modality, place in _PLACES.items()
        if folder.match(Path(place.group, "*", place.sequence, place.images).as_posix())
    )


# Labels


def _class_table(modality: str) -> np.ndarray:
    """Return the class of every grey value from 0 to 255, -1 where it has none."""
    table = np.full(256, -1)
    for index, (low, high) in _GREYS[modality].items():
        table[low : high + 1] = index
    return table


def _read_mask(path: Path) -> np.ndarray:
    """Return the grey values, uint8 of shape ``(rows, columns)``.

    Raises:
        InputError: if the file cannot be read or is not an image of one grey channel.
    """
    mask = read_image(path)
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
        _check_modality(modality)
        self.modality = modality

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Tell whether this is a PNG or a folder."""
        return all(Path(name).suffix.lower() == ".png" or Path(name).is_dir() for name in ensure_tuple(filename))

    def read(self, data: Sequence[str] | str, **kwargs) -> Path:
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
        return np.ascontiguousarray(np.maximum(_class_table(self.modality), 0).astype(np.uint8)[_read_mask(path)].T)

    def _read_volume(self, ground: Path) -> tuple[np.ndarray, dict[str, Any]]:
        images = list_slices(ground.parent / _PLACES[self.modality].images)
        labels = _list_labels(ground)
        if len(images) != len(labels):
            raise InputError(f"{ground}: {len(labels)} labels for {len(images)} slices; they pair by sorted name")
        slices = [read_slice(path) for path in images]
        faults = find_faults(slices)
        if faults:
            raise InputError(f"{images[0].parent}: {'; '.join(faults)}")
        pairs = sorted(zip(slices, labels, strict=True), key=lambda pair: pair[0].depth)
        ids = np.stack([self._read_ids(label) for _, label in pairs], axis=-1)
        return ids, volume_meta([each for each, _ in pairs])


class LoadLabeld(LoadFileOfIdsd):
    """Reads a label as its base class does where it is NIfTI or NRRD, else as :class:`GroundReader` does.

    Args:
        keys: where the path is, and where the label goes.
        modality: as for :class:`GroundReader`.

    Raises:
        InputError: if ``modality`` is unknown.
    """

    def __init__(self, keys: KeysCollection, modality: str) -> None:
        super().__init__(keys, len(class_names(modality)))
        self._ground = GroundReader(modality)

    def read_own(self, label: str | os.PathLike) -> np.ndarray:
        """Return the class ids ``(W, H[, D])``, of a volume in LPS.

        Raises:
            InputError: as :meth:`GroundReader.get_data` does.
        """
        if not Path(label).is_dir():
            return self._ground.get_data(Path(label))[0]
        return turn_to_lps(LoadImage(reader=self._ground, image_only=True)(label))


def write_phantoms(
    folder: str | Path,
    num_patients: int = 6,
    image_size: tuple[int, int] = (80, 96),
    num_slices: int = 12,
    seed: int = 0,
) -> Path:
    """Write procedural abdomens: see :func:`common.datasets.phantoms.chaos.write_phantoms`."""
    from common.datasets.phantoms.chaos import write_phantoms as write  # here because a release goes without phantoms

    return write(folder, num_patients, image_size, num_slices, seed)
