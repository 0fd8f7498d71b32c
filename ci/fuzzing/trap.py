"""A file that shows whether anything in it was executed."""

from __future__ import annotations

import io
import os
from pathlib import Path

import torch

NAME = "executed"  # of a folder beside ``in`` that must never appear


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / NAME),)


def write_trap(path: Path, folder: Path) -> None:
    """Write a checkpoint that makes the folder :data:`NAME` in ``folder`` when it is unpickled."""
    content = io.BytesIO()
    torch.save({"network": Trap(folder), "settings": {}}, content)
    path.write_bytes(content.getvalue())
