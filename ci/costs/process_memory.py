"""Memory of this process; without imports that would need a lot of it themselves."""

from __future__ import annotations

import re
from pathlib import Path


def peak_resident() -> float:
    """Return the most memory in MiB that this process has held so far (Linux).

    Not by ``getrusage``, whose figure a process inherits from the one that started it.
    """
    return float(re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) / 2**10
