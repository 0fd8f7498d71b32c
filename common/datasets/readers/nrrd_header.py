"""Where the header of an NRRD file says that its voxels lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from common.datasets.readers.affines import check_affine
from common.errors import InputError

# To RAS, from the spaces of patients that NRRD knows: https://teem.sourceforge.net/nrrd/format.html#space
_TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
_SHORT = {"".join(word[0] for word in name.split("-")): name for name in _TO_RAS}  # NRRD takes "RAS" as well


def nrrd_affine(path: str | os.PathLike, header: Mapping[str, Any]) -> np.ndarray:
    """Return the affine ``(4, 4)`` of a volume of three axes to millimetres in RAS.

    Args:
        path: of the file, for messages.
        header: of pynrrd.

    Raises:
        InputError: if the header does not say where in a patient the voxels lie.
    """
    missing = [name for name in ("space", "space directions", "space origin") if header.get(name) is None]
    if missing:
        raise InputError(
            f"{path}: its header has no {', '.join(missing)}, so it does not say where voxels lie; save it again with "
            "these, or as NIfTI"
        )
    space = str(header["space"]).lower()
    signs = _TO_RAS.get(_SHORT.get(space, space))
    if signs is None:
        raise InputError(f"{path}: lies in the space {header['space']}; expected {', '.join(_TO_RAS)}")
    directions, origin = (np.asarray(header[name], float) for name in ("space directions", "space origin"))
    if directions.shape != (3, 3) or origin.shape != (3,):
        raise InputError(f"{path}: expected three space directions and an origin, got {directions.shape[0]} directions")
    affine = np.eye(4)
    affine[:3, :3] = directions.T  # pynrrd has an axis of the file in each row
    affine[:3, 3] = origin
    affine = np.diag([*signs, 1.0]) @ affine
    check_affine(path, affine, "space directions")
    return affine
