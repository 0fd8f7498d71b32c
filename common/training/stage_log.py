"""The log file of a stage, in which tracebacks are, and the screen, on which they are not."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from common.files.writing import is_disk_full, no_space

_TERMINATING = " run is terminating due to exception: "  # ignite's, once for each engine that runs in another
_LIBRARIES = ("ignite.", "monai.", "py.warnings", "torch", "transformers", "diffusers", "filelock", "httpx", "urllib3")
_DETAILS = {"DataStats", "dev_collate"}  # what MONAI logs of the data where a transform or a batch fails, in many lines


class StageLog(logging.FileHandler):
    """The log file of a stage; where it can no longer be written, the stage goes on without and says so once.

    Args:
        path: the file, to which is added.

    Attributes:
        is_complete: whether all that was logged is in the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self.is_complete = True

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.baseFilename)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 as logging calls it
        """Say once that the file is not complete."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self.is_complete:
            self.is_complete = False
            reason = no_space(self.path.parent) if is_disk_full(error) else error.strerror
            print(f"warning: {self.path} ends here: {reason}", file=sys.stderr)

    def close(self) -> None:
        """Close the file; what does not fit any more is lost."""
        try:
            super().close()
        except OSError:
            self.is_complete = False


def open_logs() -> list[StageLog]:
    """Return the log files that are open, the latest last."""
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, StageLog)]


def is_for_screen(record: logging.LogRecord) -> bool:
    """Say whether a record belongs on the screen, where the first cause of a failure is to be seen.

    Neither do tracebacks, nor what libraries say of their own work, such as the iterations that an engine begins with.
    """
    if record.name.startswith(_LIBRARIES) and record.levelno < logging.ERROR:
        return False
    return not (record.exc_info or record.name in _DETAILS or _TERMINATING in record.getMessage())
