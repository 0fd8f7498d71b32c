"""The folder of a bundle."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from common.errors import InputError

_MOST_NAMED = 6
_ENDING = "_segmentation"  # of the names of bundles


def find_configs(bundle: str | os.PathLike) -> Path:
    """Return the folder of a bundle's configs.

    Raises:
        InputError: if there is none.
    """
    configs = Path(bundle) / "configs"
    if not configs.is_dir():
        raise InputError(
            f"{bundle} is not a bundle: expected a folder with configs/, as create writes it"
            f"{_what_was_meant(Path(bundle))}"
        )
    return configs


def _what_was_meant(path: Path) -> str:
    """Return the bundle that a path may stand for, or else those in the same folder, in this one or in ``bundles``."""
    if (path / "metadata.json").is_file():
        return f"; did you mean {path.parent}?"
    name = path.resolve().name
    folders = (path.parent, Path(), Path("bundles"))
    bundles = {each.parent.name: each.parent for folder in reversed(folders) for each in folder.glob("*/configs")}
    for called in (f"{name}{_ENDING}", name, *get_close_matches(name, bundles, n=1)):
        if called in bundles:
            return f"; did you mean {bundles[called]}?"
    there = sorted(map(str, bundles.values()))[:_MOST_NAMED]
    return f"; here is {', '.join(there)}" if there else ""
