"""How paths are shown to a user."""

from __future__ import annotations

import os
import re


def seen_from(folder: str | os.PathLike, text: str) -> str:
    """Return a text in which the paths of what lies in a folder are relative to it."""
    start = os.path.join(folder, "")
    if start == os.sep:  # with which every path begins
        return text
    return re.sub(rf"(?<![\w./-]){re.escape(start)}", "", text)
