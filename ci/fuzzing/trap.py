"""A file that shows whether anything in it was executed."""

from __future__ import annotations

import os
from pathlib import Path

NAME = "executed"  # of a folder beside ``in`` that must never appear


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / NAME),)
