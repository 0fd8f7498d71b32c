"""Masks of volumes, which lie exactly where their images do."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
from monai.data import MetaTensor
from monai.utils import ImageMetaKey, MetaKeys

from common.datasets.readers.nifti_header import open_nifti
from common.transforms.save_masks import SaveMaskd

# What a header says of shape and place, pixdim[0] being the qform's handedness.
_GEOMETRY = ("dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d")
_GEOMETRY += ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z")


class SaveVolumeMaskd(SaveMaskd):
    """Writes masks of volumes as NIfTI, with shape and geometry of the image.

    The header says of a mask's place what that of its image does, bit by bit, so that any viewer shows the one on the
    other, whichever of sform and qform it goes by. MONAI's NibabelWriter drops a last axis of length 1, and writes an
    affine that has been through all transforms into sform and qform, which cannot hold the shear of some.
    """

    def write(self, mask: MetaTensor, path: Path) -> None:
        """Write one mask ``(1, W, H, D)``, in the voxels of its image, compressed, to a path of any suffix.

        Raises:
            ValueError: if the mask has not the shape of its image.
        """
        ids = mask[0].cpu().numpy().astype(np.uint8)
        source = Path(mask.meta[ImageMetaKey.FILENAME_OR_OBJ])
        if source.is_dir():
            image = _of_series(ids, np.asarray(mask.meta[MetaKeys.ORIGINAL_AFFINE], float))
        else:
            image = _of_nifti(ids, source)
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
