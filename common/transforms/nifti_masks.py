"""Masks as NIfTI, which lie exactly where their images do."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np

from common.datasets.readers.nifti_header import open_nifti

# What a header says of shape and place, pixdim[0] being the qform's handedness.
_GEOMETRY = (
    "dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def volume_mask(ids: np.ndarray, source: Path, affine: np.ndarray) -> nibabel.Nifti1Image:
    """Return a mask ``(W, H, D)`` as NIfTI, with shape and geometry of its image.

    The header says of a mask's place what that of its image does, bit by bit, so that any viewer shows the one on the
    other, whichever of sform and qform it goes by.

    Args:
        ids: uint8, in the voxels of the image.
        source: the image, a folder of DICOM slices or a NIfTI file.
        affine: of the image, to RAS; that of a NIfTI file is taken from there.

    Raises:
        ValueError: if the mask has not the shape of its image.
    """
    return _of_series(ids, affine) if source.is_dir() else _of_nifti(ids, source)


def picture_mask(ids: np.ndarray) -> nibabel.Nifti1Image:
    """Return the mask ``(H, W)`` of a picture as NIfTI ``(W, H, 1)``, of pixels of 1 mm.

    It lies where viewers such as 3D Slicer and ITK-SNAP put the picture: x to the left, y to the back.
    """
    return nibabel.Nifti1Image(np.ascontiguousarray(ids.T)[..., None], np.diag([-1.0, -1.0, 1.0, 1.0]))


def write_compressed(image: nibabel.Nifti1Image, path: Path) -> None:
    """Write NIfTI to a path of any suffix, compressed, and the same bytes for the same image."""
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        packed.write(image.to_bytes())


def _of_nifti(ids: np.ndarray, source: Path) -> nibabel.Nifti1Image:
    """Return a mask in the kind of NIfTI, with the geometry and the number of axes, of its image."""
    image = open_nifti(source)
    if ids.shape != (*image.shape, 1, 1)[:3]:
        raise ValueError(f"{source}: its mask is {ids.shape}, but the image is {image.shape}; undo what resizes it")
    header = type(image.header)()
    for name in _GEOMETRY:
        header[name] = image.header[name]
    header.set_data_dtype(np.uint8)
    return type(image)(ids.reshape(image.shape), None, header)


def _of_series(ids: np.ndarray, affine: np.ndarray) -> nibabel.Nifti1Image:
    """Return a mask of DICOM slices, whose affine a qform can hold unless the gantry was tilted."""
    image = nibabel.Nifti1Image(ids, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    if not np.allclose(image.get_qform(), affine, atol=1e-3):
        image.set_qform(None)
    return image
