"""Masks of volumes, which lie exactly where their images do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.utils import ImageMetaKey, MetaKeys

from common.transforms.nifti_masks import volume_mask, write_compressed
from common.transforms.save_masks import SaveMaskd


class SaveVolumeMaskd(SaveMaskd):
    """Writes masks of volumes as NIfTI, with shape and geometry of the image.

    See :func:`common.transforms.nifti_masks.volume_mask`. MONAI's NibabelWriter drops a last axis of length 1, and
    writes an affine that has been through all transforms into sform and qform, which cannot hold the shear of some.
    """

    def write(self, mask: MetaTensor, path: Path) -> None:
        """Write one mask ``(1, W, H, D)``, in the voxels of its image, compressed, to a path of any suffix.

        Raises:
            ValueError: if the mask has not the shape of its image.
        """
        ids = mask[0].cpu().numpy().astype(np.uint8)
        source = Path(mask.meta[ImageMetaKey.FILENAME_OR_OBJ])
        affine = np.asarray(mask.meta[MetaKeys.ORIGINAL_AFFINE], float) if source.is_dir() else np.eye(4)
        write_compressed(volume_mask(ids, source, affine), path)
