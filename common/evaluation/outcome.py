"""What came of each input, and what a user is told of it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from common.datasets.readers.input_files import InputFiles
from common.errors import InputError, causes
from common.files.shown import seen_from
from common.files.writing import is_disk_full, no_space

logger = logging.getLogger(__name__)

MAX_NAMED, _MAX_LENGTH = 5, 120  # inputs named in the last line, and characters of each reason there


class Outcome:
    """What came of each input: a mask that has been written, or the reason why there is none.

    Args:
        inputs: what was found.
        output_dir: where masks are written.
        log: name of the file in ``<output_dir>/logs`` that has all reasons in full.

    Attributes:
        written: the input of each mask, by the path of the mask.
        left_out: the reason for each input that has no mask, or whose mask shows but a part of it.
    """

    def __init__(self, inputs: InputFiles, output_dir: str | os.PathLike, log: str = "inference.log") -> None:
        self.inputs = inputs
        self.output_dir = Path(output_dir)
        self.log = log
        self.written: dict[Path, Path] = {}
        self.left_out = dict(inputs.left_out)

    def leave_out(self, source: Path, error: Exception) -> None:
        """Note why an input has no mask.

        Raises:
            InputError: if the disk is full: no other mask could be written either.
        """
        if is_disk_full(error):
            without = len(self.inputs.found) - len(self.written)
            raise InputError(f"{no_space(self.output_dir)} ({self.count()}, {without} inputs have none)") from error
        self.left_out[source] = explain(source, error)

    def look_again(self) -> None:
        """Leave out those of which but a part was segmented, as a file's first page; the masks of that part stay."""
        for path in self.written.values():
            part = self.inputs.unread_parts(path)
            if part is not None:
                self.left_out[path] = part

    def report(self) -> None:
        """Log what a user should know of the inputs, each that was left out, and how many masks there are."""
        self.look_again()
        self.log_remarks()
        if self.left_out:
            self.log_reasons()
        else:
            logger.info(self.count())

    def log_remarks(self) -> None:
        """Log what is no input, and what a user should know of the others."""
        self.inputs.log_passed_over()
        for remark in self.inputs.remarks(list(self.written.values())):
            logger.warning(remark)

    def log_reasons(self) -> None:
        """Log each input that was left out, a line for each."""
        reasons = "\n".join(f"  {self.inputs.short(path)}: {self._short(path)}" for path in self.left_out)
        logger.error(f"{self.count()}, {len(self.left_out)} left out:\n{reasons}")

    def raise_if_incomplete(self) -> None:
        """Raise an error that names what was left out, if anything was.

        Raises:
            InputError: in one line; the reasons are shortened, as the log has them in full.
        """
        if not self.left_out:
            return
        named = [f"{self.inputs.short(path)} ({_cut(self._short(path))})" for path in list(self.left_out)[:MAX_NAMED]]
        more = len(self.left_out) - len(named)
        others = f", and {more} more, see {self.output_dir / 'logs' / self.log}" if more else ""
        raise InputError(f"{self.count()}, {len(self.left_out)} left out: {', '.join(named)}{others}")

    def count(self) -> str:
        """Return how many masks were written, and where."""
        return f"{len(self.written)} {'mask' if len(self.written) == 1 else 'masks'} written to {self.output_dir}"

    def _short(self, path: Path) -> str:
        """Return why an input was left out, without its own path and with those of others as short as they can be.

        The folder of the masks is named once, by ``count``, and not in each reason.
        """
        reason = self.left_out[path].removeprefix(f"{path}: ").removeprefix(f"output_dir {self.output_dir}: ")
        return seen_from(self.inputs.root, reason)


def explain(source: str | os.PathLike, error: BaseException) -> str:
    """Return what went wrong in one line: a user's error that others have wrapped, or else the first cause."""
    chain = list(causes(error))
    cause = next((each for each in chain if isinstance(each, InputError)), chain[-1])
    text = " ".join(str(cause).split())
    if isinstance(cause, InputError):
        return text
    logger.error(f"{source} is left out", exc_info=error)  # to the log file, as all tracebacks
    if isinstance(cause, OSError) and cause.strerror:
        return f"{cause.strerror}: {cause.filename}" if cause.filename else cause.strerror
    return f"{type(cause).__name__}: {text}"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 3]}..."
