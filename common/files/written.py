"""Which files in an output folder a command wrote itself: others stay, and earlier ones are not taken for new."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import InputError
from common.files.atomic import atomic_file
from common.files.writing import explained

logger = logging.getLogger(__name__)

_MOST_NAMED = 3
_LINE = re.compile(r'\["([0-9a-f]{64})", ("(?:[^"\\]|\\["\\/bfnrt]|\\u[0-9a-f]{4})*")\]')


class WrittenFiles:
    """The files that a command has written into a folder, in this run and before.

    A record in the folder has a hash of each, so that a file which somebody else wrote, or a mask that was corrected by
    hand, is told from them. A file is recorded before it appears: after a kill no file of ours is unknown.

    Args:
        folder: where results go.
        command: its name. ``logs/<command>.jsonl`` in the folder has the hash and the path of each file.
        key: what the user knows the folder by.

    Raises:
        InputError: if there is a record that may not be read.
    """

    def __init__(self, folder: Path, command: str = "predict", key: str = "--output_dir") -> None:
        self.folder, self.command, self.key = folder, command, key
        self.record = folder / "logs" / f"{command}.jsonl"
        with explained(self.record):
            self._known = set(_read(self.record))
        self._today: set[str] = set()

    @contextmanager
    def new_file(self, path: Path) -> Iterator[Path]:
        """Give a temporary name to write a result to, which replaces an earlier one when it is complete.

        Raises:
            InputError: if it cannot be written, as :func:`atomic_file` has it.
        """
        with atomic_file(path) as fresh:
            yield fresh
            self._note(_digest(fresh), self._short(path))
        self._today.add(self._short(path))

    def refuse_foreign(self, paths: Iterable[Path]) -> None:
        """Refuse to replace what is not as the command wrote it.

        Args:
            paths: that are going to be written.

        Raises:
            InputError: naming the first of those that exist and are somebody else's.
        """
        foreign = [path for path in paths if os.path.lexists(path) and not self._is_own(path)]
        if foreign:
            more, it = (f" and {len(foreign) - 1} more are", "they stay") if len(foreign) > 1 else (" is", "it stays")
            raise InputError(
                f"{self.key} {self.folder}: {self._short(foreign[0])}{more} there already, and not as {self.command} "
                f"wrote it, such as a label or a mask that was corrected; {it}, choose another {self.key}"
            )

    def warn_of_earlier(self) -> None:
        """Name the results of earlier runs that still lie in the folder, and say nothing of this run's images."""
        paths = sorted({path for _, path in self._known} - self._today)
        left = [path for path in paths if (self.folder / path).is_file()]
        if left:
            named = ", ".join(left[:_MOST_NAMED]) + (", ..." if len(left) > _MOST_NAMED else "")
            logger.warning(
                f"{len(left)} {'file' if len(left) == 1 else 'files'} of an earlier {self.command} in {self.folder} "
                f"{'is' if len(left) == 1 else 'are'} not of this run: {named}"
            )

    def _is_own(self, path: Path) -> bool:
        if not path.is_file() or path.is_symlink():
            return False
        written = (_digest(path), self._short(path))
        if written not in self._known:  # another run may write here too, as inference may: it takes no lock
            self._known.update(_read(self.record))
        return written in self._known

    def _short(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _note(self, digest: str, path: str) -> None:
        if (digest, path) in self._known:
            return
        with explained(self.record):
            self.record.parent.mkdir(exist_ok=True)
            with self.record.open("a", encoding="ascii") as file:  # JSON has any name in ASCII, in one line
                # In a line of its own, also after one that was cut off.
                file.write("\n" + json.dumps([digest, path]))
        self._known.add((digest, path))


def _read(record: Path) -> Iterator[tuple[str, str]]:
    """Yield what a record has. A line that was cut off, as by a full disk, is of a file that did not appear."""
    lines = record.read_text(encoding="ascii", errors="replace").splitlines() if record.is_file() else []
    for line in lines:
        found = _LINE.fullmatch(line)
        if found:
            yield found[1], json.loads(found[2])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
