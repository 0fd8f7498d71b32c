"""Phantoms of CHAOS: procedural abdomens as DICOM slices and PNG labels, in the official layout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from common.datasets.phantoms.abdomen import Abdomen, paint
from common.datasets.phantoms.folder import phantom_folder


class _Grid(NamedTuple):
    """How a scan samples the body; lengths in millimetres, in DICOM's axes."""

    rows: int
    columns: int
    slices: int
    spacing: tuple[float, float, float]  # between rows, columns and slices
    axes: np.ndarray  # (3, 3): unit vectors along a row, along a column, and from slice to slice
    origin: np.ndarray  # of the first pixel of the first slice

    def position(self, index: int) -> np.ndarray:
        return self.origin + index * self.spacing[2] * self.axes[2]

    def points(self, index: int) -> np.ndarray:
        """Return where the pixels of a slice lie, ``(rows, columns, 3)``."""
        down, across = np.mgrid[: self.rows, : self.columns]
        steps = across[..., None] * self.spacing[1] * self.axes[0] + down[..., None] * self.spacing[0] * self.axes[1]
        return self.position(index) + steps


_FIELD = (290.0, 370.0, 190.0)  # what a scan covers: height, width and length
_PATIENTS = {"CT": (1, 2, 5, 6, 8, 10, 14, 16, 18, 19), "MR": (1, 2, 3, 5, 8, 10, 13, 15, 19, 20)}  # as in CHAOS
_TEST_PATIENTS = {"CT": 3, "MR": 4}
_MR_GREYS = {1: 63, 2: 126, 3: 189, 4: 252}


def write_phantoms(
    folder: str | os.PathLike,
    num_patients: int = 6,
    image_size: tuple[int, int] = (80, 96),
    num_slices: int = 12,
    seed: int = 0,
) -> Path:
    """Write procedural abdomens with exact labels, in the layout and formats of CHAOS.

    As in CHAOS, the sequences of one patient differ in matrix and slices, no two slices share a SeriesInstanceUID, some
    volumes are stored from the feet up and some from the head down, and MR slices are tilted.

    Args:
        folder: new folder to write, which appears only when it is complete.
        num_patients: with labels, in each of CT and MR, at most ten; there is one more of each in ``Test_Sets``.
        image_size: rows and columns of CT and T1; T2 has 7/8 of them.
        num_slices: in CT; T1 has two more, T2 two less.
        seed: the same seed writes the same bytes.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty.
        ValueError: if there are more than ten patients, or so few slices that an organ may be missed.
    """
    if not 1 <= num_patients <= 10:
        raise ValueError(f"num_patients must be between 1 and 10, got {num_patients}")
    if num_slices < 8:
        raise ValueError(f"num_slices must be at least 8, got {num_slices}")
    with phantom_folder(folder) as partial:
        for group, ids in _PATIENTS.items():
            for number, patient in enumerate(ids[:num_patients]):
                rng = np.random.default_rng((seed, group == "MR", patient))
                _write_patient(partial / "Train_Sets" / group / str(patient), rng, number, image_size, num_slices)
            patient = _TEST_PATIENTS[group]
            rng = np.random.default_rng((seed, group == "MR", patient))
            _write_patient(partial / "Test_Sets" / group / str(patient), rng, 1, image_size, num_slices, labelled=False)
    return Path(folder)


def _write_patient(
    folder: Path,
    rng: np.random.Generator,
    number: int,
    image_size: tuple[int, int],
    num_slices: int,
    labelled: bool = True,
) -> None:
    """Write all sequences of one patient; ``number`` sets the numbers in file names and the order of the slices."""
    body = Abdomen(rng)
    upwards = number % 2 == 0
    if folder.parent.name == "CT":
        grid = _make_grid(rng, image_size, num_slices, upwards, tilted=False)
        tissues = [body.tissues(grid.points(index)) for index in range(grid.slices)]
        names = [f"i{i:04d},0000b" if upwards else f"IMG-{number + 1:04d}-{i + 1:05d}" for i in range(grid.slices)]
        _write_images(folder / "DICOM_anon", rng, tissues, grid, "ct", names)
        if labelled:
            _write_labels(folder / "Ground", tissues, {1: 255}, [f"liver_GT_{i:03d}" for i in range(grid.slices)])
        return
    grid = _make_grid(rng, image_size, num_slices + 2, upwards, tilted=True)
    tissues = [body.tissues(grid.points(index)) for index in range(grid.slices)]
    for modality, phase, first in (("t1_out", "OutPhase", 1), ("t1_in", "InPhase", 2)):  # numbered in turns
        names = [f"IMG-{number + 4:04d}-{first + 2 * i:05d}" for i in range(grid.slices)]
        _write_images(folder / "T1DUAL" / "DICOM_anon" / phase, rng, tissues, grid, modality, names)
    if labelled:
        _write_labels(folder / "T1DUAL" / "Ground", tissues, _MR_GREYS, names)
    smaller = (image_size[0] * 7 // 8, image_size[1] * 7 // 8)
    grid = _make_grid(rng, smaller, num_slices - 2, upwards, tilted=True)
    tissues = [body.tissues(grid.points(index)) for index in range(grid.slices)]
    names = [f"IMG-{number + 2:04d}-{i + 1:05d}" for i in range(grid.slices)]
    _write_images(folder / "T2SPIR" / "DICOM_anon", rng, tissues, grid, "t2", names)
    if labelled:
        _write_labels(folder / "T2SPIR" / "Ground", tissues, _MR_GREYS, names)


def _make_grid(
    rng: np.random.Generator, image_size: tuple[int, int], slices: int, upwards: bool, tilted: bool
) -> _Grid:
    shape = (*image_size, slices)
    spacing = np.round(np.divide(_FIELD, shape), 3)
    angle = rng.uniform(0.03, 0.1) * tilted
    cos, sin = np.round([np.cos(angle), np.sin(angle)], 6)
    axes = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]], float)
    axes[2] *= 1 if upwards else -1
    middle = np.array([0, 5, 5]) + rng.normal(0, 3, 3)
    down, across, along = (np.array(shape) - 1) / 2 * spacing
    origin = np.round(middle - across * axes[0] - down * axes[1] - along * axes[2], 3)
    return _Grid(*shape, tuple(spacing.tolist()), axes, origin)


def _write_labels(folder: Path, tissues: list[np.ndarray], greys: dict[int, int], names: list[str]) -> None:
    folder.mkdir(parents=True)
    table = np.zeros(256, np.uint8)
    table[list(greys)] = list(greys.values())
    for each, name in zip(tissues, names, strict=True):
        Image.fromarray(table[each]).save(folder / f"{name}.png")


def _write_images(
    folder: Path,
    rng: np.random.Generator,
    tissues: list[np.ndarray],
    grid: _Grid,
    modality: str,
    names: list[str],
) -> None:
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        values = paint(rng, tissues[index], modality)
        dataset = _make_slice(values, grid, index, modality, source=f"{folder.parts[-4:]}{name}{values.sum()}")
        dataset.InstanceNumber = int(name[-5:]) if name.startswith("IMG") else index
        dataset.save_as(folder / f"{name}.dcm", write_like_original=False)


def _make_slice(values: np.ndarray, grid: _Grid, index: int, modality: str, source: str) -> pydicom.Dataset:
    """Return one slice as a DICOM dataset; ``source`` seeds its UIDs."""
    intercept, slope = (-1024, 1) if modality == "ct" else (0, 0.5)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.SOPClassUID = CTImageStorage if modality == "ct" else MRImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[source, "instance"])
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[source, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[source, "series"])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[source, "frame"])
    dataset.Modality = "CT" if modality == "ct" else "MR"
    dataset.PatientName, dataset.PatientID, dataset.StudyID = "phantom", "", ""
    dataset.SeriesNumber = None
    dataset.Rows, dataset.Columns = values.shape
    dataset.PixelSpacing = list(grid.spacing[:2])
    dataset.SliceThickness = grid.spacing[2]
    dataset.ImageOrientationPatient = grid.axes[:2].ravel().tolist()
    dataset.ImagePositionPatient = np.round(grid.position(index), 4).tolist()
    dataset.RescaleIntercept, dataset.RescaleSlope = intercept, slope
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    stored = np.clip(np.round((values - intercept) / slope), 0, 4095)
    dataset.PixelData = stored.astype("<u2").tobytes()
    return dataset
