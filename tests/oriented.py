"""Volumes whose axes run any way through the patient, and headers that say so in any way NIfTI has."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np

ORIENTATIONS = [
    "".join(axes) for order in itertools.permutations(("LR", "PA", "SI")) for axes in itertools.product(*order)
]
SHAPE = (15, 9, 5)  # to the left, to the back, to the head
_TILT = nibabel.eulerangles.euler2mat(0.3, -0.2, 0.25)


def oblique_affine() -> np.ndarray:
    """Return the affine of a volume in LPS that lies tilted in the patient."""
    affine = np.eye(4)
    affine[:3, :3] = _TILT @ np.diag([-1.5, -1.25, 4.0])
    affine[:3, 3] = (31.7, 22.2, -113.3)
    return affine


def registered(affine: np.ndarray) -> np.ndarray:
    """Return where a registration of twelve parameters would move a volume."""
    return np.array([[1.08, 0.03, 0, 11], [0, 1.05, 0.02, -13], [0.01, 0, 1.06, -15], [0, 0, 0, 1]]) @ affine


def turned(values: np.ndarray, affine: np.ndarray, axes: str) -> nibabel.Nifti1Image:
    """Return a volume with its axes running elsewhere; each voxel stays where it is in the patient."""
    volume = nibabel.Nifti1Image(values, affine)
    now, then = nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(axes)
    return volume.as_reoriented(nibabel.orientations.ornt_transform(now, then))


def save(volume: nibabel.Nifti1Image, path: Path, header: str = "both") -> Path:
    """Save a volume whose header says where it lies by ``both`` sform and qform, by one of them, or by ``neither``.

    By ``different`` ones it is the sform that is right, and neither the qform nor pixdim agree.
    """
    affine, now = volume.affine, volume.header.copy()
    now.set_sform(affine, {"qform": 0, "neither": 0, "different": 4}.get(header, 1))
    if header == "different":
        now.set_qform(np.linalg.inv(registered(np.eye(4))) @ affine, 1)
    elif header in ("both", "qform"):
        now.set_qform(affine, 1)
    else:
        now.set_qform(None, 0)
        now["pixdim"][1:4] = nibabel.affines.voxel_sizes(affine) if header == "neither" else 1
    path.write_bytes(type(volume)(np.asarray(volume.dataobj), None, now).to_bytes())
    return path
