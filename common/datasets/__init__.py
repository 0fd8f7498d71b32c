"""One module per dataset: its official layout, reader, checks and phantom writer."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from common.errors import InputError

NAMES = ("drive", "kidneyus", "autooral", "chaos", "ph2")


def phantom_writer(bundle: str) -> Callable[[str], Path]:
    """Return the function that writes phantoms for a bundle, such as ``drive_segmentation``, into a new folder.

    Raises:
        InputError: if there is no dataset of that name.
    """
    name = bundle.removesuffix("_segmentation")
    if name not in NAMES:
        raise InputError(f"there is no dataset '{name}'; the datasets are {', '.join(NAMES)}")
    return import_module(f"common.datasets.{name}").write_phantoms
