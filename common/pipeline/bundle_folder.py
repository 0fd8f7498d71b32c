"""The folder of a bundle."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import InputError


def find_configs(bundle: str | os.PathLike) -> Path:
    """Return the folder of a bundle's configs.

    Raises:
        InputError: if there is none.
    """
    configs = Path(bundle) / "configs"
    if not configs.is_dir():
        raise InputError(
            f"{bundle} is not a bundle: expected a folder with configs/, such as bundles/drive_segmentation"
        )
    return configs
