"""DICOM series: the slices of one volume, put in order by where they lie in the patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.datasets.readers.dicom import Slice, list_slices, read_pixels, read_slice
from common.errors import InputError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def find_issues(slices: Sequence[Slice]) -> list[str]:
    """Return what keeps slices from being the slices of one volume: others mixed in, missing ones, extra ones.

    What counts is where the slices lie. InstanceNumber is not looked at, and SeriesInstanceUID only where each is that
    of several slices: anonymisation tends to overwrite them, and in CHAOS each slice has one of its own. A first or
    last slice that is missing leaves no gap and cannot be found this way.
    """
    if len(slices) < 2:
        return [f"expected the slices of a volume, found {len(slices)}; one alone does not tell how thick it is"]
    common = Counter(tuple(np.round(each.plane, 3)) for each in slices).most_common(1)[0][0]
    usual = next(each for each in slices if np.allclose(each.plane, common, atol=1e-3))
    others = [each for each in slices if not np.allclose(each.plane, usual.plane, atol=2e-3)]
    if others:
        return [
            f"mixed series: {len(others)} of {len(slices)} slices have another size, spacing or orientation, first "
            f"{_describe(others[0])} against {_describe(usual)}; keep one series in the folder"
        ]
    series = Counter(each.series for each in slices).most_common()
    if len(series) > 1 and series[-1][1] > 1:
        first, second = (next(each for each in slices if each.series == uid) for uid, _ in series[:2])
        return [
            f"mixed series: {len(series)} different SeriesInstanceUIDs, first in {first.path.name} and "
            f"{second.path.name}; keep one series in the folder"
        ]
    slices = sorted(slices, key=lambda each: each.depth)
    return _gap_issues(slices) or _spacing_issues(slices)


def _describe(where: Slice) -> str:
    directions = " ".join(f"{value:.3g}" for value in where.along_row + where.along_column)
    row_spacing, column_spacing = where.spacing
    return (
        f"{where.path.name} ({where.columns} x {where.rows} pixels of {column_spacing:.4g} x {row_spacing:.4g} mm, "
        f"orientation {directions})"
    )


def _gap_issues(slices: Sequence[Slice]) -> list[str]:
    """Return what is wrong with slices that lie in the same orientation, sorted by depth."""
    depths = np.array([each.depth for each in slices])
    gaps = np.diff(depths)
    if gaps.max() < 0.01:
        return [f"all {len(slices)} slices lie in the same place; expected the slices of a volume"]
    step = np.median(gaps[gaps >= 0.01])  # of mixed series with the same positions, half of the gaps are none
    issues = []

    def pairs(which: np.ndarray) -> list[tuple[str, str, int]]:
        return [(slices[i].path.name, slices[i + 1].path.name, i) for i in np.flatnonzero(which).tolist()]

    for before, after, index in pairs(gaps > 1.5 * step):
        missing = round(gaps[index] / step) - 1
        what = "1 slice is" if missing == 1 else f"{missing} slices are"
        issues.append(f"{what} missing between {before} and {after} ({gaps[index]:.4g} mm apart, others {step:.4g} mm)")
    extra = pairs(gaps < 0.5 * step)
    if extra:
        before, after, index = extra[0]
        issues.append(
            f"{len(extra)} extra {'slice' if len(extra) == 1 else 'slices'}: {before} and {after} are "
            f"{gaps[index]:.4g} mm apart, others {step:.4g} mm; a slice is there twice, or two series are mixed"
        )
    # A tilted gantry shifts each slice by the same amount, which is nothing wrong: the slices still lie on a line.
    positions = np.array([each.position for each in slices])
    line = positions[0] + np.outer((depths - depths[0]) / (depths[-1] - depths[0]), positions[-1] - positions[0])
    shifts = np.linalg.norm(positions - line, axis=1)
    normal_part = np.abs((positions - line) @ np.cross(slices[0].along_row, slices[0].along_column))
    sideways = np.sqrt(np.maximum(shifts**2 - normal_part**2, 0))
    worst = int(sideways.argmax())
    if sideways[worst] > min(slices[0].spacing):
        issues.append(
            f"mixed series: {slices[worst].path.name} lies {sideways[worst]:.4g} mm beside the line through the others"
        )
    return issues


def _spacing_issues(slices: Sequence[Slice]) -> list[str]:
    """Return what keeps slices, sorted by depth and without gaps, from lying where the affine of the volume says."""
    depths = np.array([each.depth for each in slices])
    even = np.linspace(depths[0], depths[-1], len(slices))
    step, off = even[1] - even[0], np.abs(depths - even)
    worst = int(off.argmax())
    if off[worst] <= 0.25 * step:
        return []
    return [
        f"slices are not evenly spaced: {slices[worst].path.name} lies {off[worst]:.4g} mm from where even steps of "
        f"{step:.4g} mm would put it; resample the series, or take the part of it that is even"
    ]


def read_series(folder: Path) -> list[Slice]:
    """Return the slices of a folder, sorted by where they lie, from the one at the lowest depth on.

    Raises:
        InputError: if the folder has no DICOM files, a file cannot be read, or they are not the slices of one volume.
    """
    try:
        files = list_slices(folder)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be opened ({error.strerror})") from error
    if not files:
        raise InputError(f"{folder}: no DICOM files here; expected the slices of one volume")
    slices = [read_slice(path) for path in files]
    issues = find_issues(slices)
    if issues:
        raise InputError(f"{folder}: {'; '.join(issues)}")
    return sorted(slices, key=lambda each: each.depth)


def affine_of(slices: Sequence[Slice]) -> np.ndarray:
    """Return the affine ``(4, 4)`` from indices ``(column, row, slice)`` to millimetres, in the RAS axes of NIfTI.

    See "DICOM affine formula", https://nipy.org/nibabel/dicom/dicom_orientation.html.

    Args:
        slices: of one volume, sorted by depth.
    """
    first, last = slices[0], slices[-1]
    return _affine(first, np.subtract(last.position, first.position) / (len(slices) - 1))


def affine_of_slice(where: Slice) -> np.ndarray:
    """Return the affine ``(4, 4)`` of a slice alone, as :func:`affine_of`, with 1 mm across it."""
    return _affine(where, np.cross(where.along_row, where.along_column))


def _affine(first: Slice, across: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(first.along_row, first.spacing[1])
    affine[:3, 1] = np.multiply(first.along_column, first.spacing[0])
    affine[:3, 2] = across
    affine[:3, 3] = first.position
    return _LPS_TO_RAS @ affine


def read_series_values(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a folder's slices, float32 ``(columns, rows, slices)``, and the affine ``(4, 4)``.

    Raises:
        InputError: as :func:`read_series` and :func:`read_pixels` do.
    """
    slices = read_series(folder)
    return np.stack([read_pixels(each.path)[1] for each in slices], axis=-1), affine_of(slices)
