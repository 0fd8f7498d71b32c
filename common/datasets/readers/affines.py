"""Affines: whether they place the voxels of a volume, and whether two of them place a volume alike."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

import nibabel
import numpy as np

from common.errors import InputError

MAX_DISTANCE = 0.1  # in voxels, between a label and its image
_FLATTEST = 1e-5  # volume spanned by the three axes, each of length 1; float32 leaves about 1e-7 of axes in one plane


def check_affine(path: str | os.PathLike, affine: np.ndarray, source: str = "affine") -> None:
    """Refuse an affine ``(4, 4)`` that does not say where voxels lie.

    Args:
        path: of the volume.
        affine: from its indices to millimetres.
        source: what the user knows the affine by, such as "sform".

    Raises:
        InputError: if a value is NaN or infinite, an axis has no length, or the axes lie in one plane.
    """
    sizes = voxel_sizes(affine)
    if not np.isfinite(affine).all():
        problem = "has NaN or infinite values"
    elif not sizes.any():
        problem = "is all zeros"
    elif not sizes.all():
        problem = f"gives axis {int(sizes.argmin()) + 1} no length"
    elif abs(np.linalg.det(affine[:3, :3] / sizes)) < _FLATTEST:
        problem = "lets its axes lie in one plane"
    else:
        return
    raise InputError(
        f"{path}: its {source} {problem}, so it does not say where voxels lie; correct the header, or convert the file "
        "again"
    )


def voxel_sizes(affine: np.ndarray) -> np.ndarray:
    """Return the distance of neighbouring voxels along each axis, in millimetres."""
    return np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0)


def corner_distance(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Return how far apart two affines place the voxels of a volume: at the worst corner, in voxels of the first."""
    corners = np.array(list(itertools.product(*((0, size - 1) for size in shape))))
    apart = nibabel.affines.apply_affine(np.linalg.inv(affine) @ other, corners) - corners
    return float(np.linalg.norm(apart, axis=1).max())


def is_placed(affine: np.ndarray) -> bool:
    """Tell whether the affine of a single slice says where it lies: those of pictures are the identity."""
    return affine.shape == (4, 4) and not np.array_equal(affine, np.eye(4))


def turn_to_lps(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume ``(W, H, D)`` and its affine with the axes turned to LPS, as DICOM stores axial slices."""
    lps = nibabel.orientations.axcodes2ornt("LPS")
    return _turn(values, affine, nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), lps))


def turn_towards(values: np.ndarray, affine: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume ``(W, H, D)`` and its affine with the axes turned as those of another affine, or nearly so."""
    return _turn(values, affine, nibabel.io_orientation(np.linalg.inv(other) @ affine))


def _turn(values: np.ndarray, affine: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    turned = nibabel.orientations.apply_orientation(values, turn)
    return turned, affine @ nibabel.orientations.inv_ornt_aff(turn, values.shape)
