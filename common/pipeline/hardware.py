"""The overlay that a pipeline takes by itself where there is no GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from common.configs.name_lists import as_list

_CPU = "cpu"


def choose_overlays(overlay: str | Sequence[str] | None, demo: bool, configs: Path) -> list[str]:
    """Return the names of the overlays to lay on each stage.

    Where none is named, no GPU is found and it is no demo, that is ``cpu``, whose settings a computer without a GPU is
    done with in about an hour; a line says so.

    Args:
        overlay: what the user named; ``none`` is none.
        demo: whether the demo's is wanted.
        configs: folder of the bundle's configs.
    """
    if overlay is None and not demo and not torch.cuda.is_available() and (configs / f"{_CPU}.yaml").is_file():
        print("no GPU was found: the settings of overlay cpu are taken (--overlay none for those of a GPU)", flush=True)
        return [_CPU]
    return [name for name in as_list(overlay) if name != "none"] + (["demo"] if demo else [])
