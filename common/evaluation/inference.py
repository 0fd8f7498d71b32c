"""Inference input by input: one that fails is left out by name and stops no other."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from monai.data import Dataset
from monai.engines import SupervisedEvaluator
from monai.utils import CommonKeys, MetaKeys

from common.datasets.readers.input_files import InputFiles
from common.errors import InputError, causes
from common.files.writing import is_disk_full, no_space

logger = logging.getLogger(__name__)

_SOURCE, _FAILURE = "source", "failure"  # of an entry: the input, and why it could not be read
_MAX_NAMED, _MAX_LENGTH = 5, 120  # inputs named in the last line, and characters of each reason there


class InferenceDataset(Dataset):
    """MONAI's ``Dataset``, where an input whose transform fails is an entry that says why.

    Args:
        data: a datalist with the path under ``image``.
        transform: the preprocessing.
    """

    def _transform(self, index: int) -> dict[str, Any]:
        source = self.data[index][CommonKeys.IMAGE]
        try:
            return {**super()._transform(index), _SOURCE: source}
        except Exception as error:
            return {_SOURCE: source, _FAILURE: _explain(source, error)}


class InferenceOutcome:
    """What came of each input: a mask that has been written, or the reason why there is none.

    Args:
        inputs: what was found.
        output_dir: where masks are written.

    Attributes:
        written: the input of each mask, by the path of the mask.
        left_out: the reason for each input that has no mask, or whose mask shows but a part of it.
    """

    def __init__(self, inputs: InputFiles, output_dir: str | os.PathLike) -> None:
        self.inputs = inputs
        self.output_dir = Path(output_dir)
        self.written: dict[Path, Path] = {}
        self.left_out = dict(inputs.left_out)

    def segment(self, engine: SupervisedEvaluator, batch: dict[str, Any]) -> Any:
        """Segment one input and write its mask, for the evaluator's ``iteration_update``.

        Args:
            engine: the evaluator.
            batch: one entry of an :class:`InferenceDataset`.

        Returns:
            The output of the evaluator's own iteration; nothing where that failed.

        Raises:
            InputError: if the disk is full: no other mask could be written either.
        """
        (source,) = batch[_SOURCE]
        if _FAILURE in batch:
            self.left_out[Path(source)] = batch[_FAILURE][0]
            return {}
        try:
            output = engine._iteration(engine, batch)  # what runs without an iteration_update, by MONAI's docs
        except Exception as error:
            if is_disk_full(error):
                without = len(self.inputs.found) - len(self.written)
                raise InputError(
                    f"{no_space(self.output_dir)} ({self._count()}, {without} inputs have none)"
                ) from error
            self.left_out[Path(source)] = _explain(source, error)
            return {}
        for item in output:
            self.written[Path(item[CommonKeys.PRED].meta[MetaKeys.SAVED_TO])] = Path(source)
        return output

    def report(self) -> None:
        """Log what a user should know of the inputs, each that was left out, and how many masks there are."""
        for path in self.written.values():
            part = self.inputs.unread_parts(path)
            if part is not None:
                self.left_out[path] = part
        self.inputs.log_passed_over()
        for remark in self.inputs.remarks(list(self.written.values())):
            logger.warning(remark)
        if self.left_out:
            reasons = "\n".join(f"  {self.inputs.short(path)}: {self._short(path)}" for path in self.left_out)
            logger.error(f"{self._count()}, {len(self.left_out)} left out:\n{reasons}")
        else:
            logger.info(self._count())

    def raise_if_incomplete(self) -> None:
        """Raise an error that names what was left out, if anything was.

        Raises:
            InputError: in one line; the reasons are shortened, as the log has them in full.
        """
        if not self.left_out:
            return
        named = [f"{self.inputs.short(path)} ({_cut(self._short(path))})" for path in list(self.left_out)[:_MAX_NAMED]]
        more = len(self.left_out) - len(named)
        others = f", and {more} more, see {self.output_dir / 'logs' / 'inference.log'}" if more else ""
        raise InputError(f"{self._count()}, {len(self.left_out)} left out: {', '.join(named)}{others}")

    def _count(self) -> str:
        return f"{len(self.written)} {'mask' if len(self.written) == 1 else 'masks'} written to {self.output_dir}"

    def _short(self, path: Path) -> str:
        """Return why an input was left out, without its own path and with those of others as short as they can be."""
        return self.left_out[path].removeprefix(f"{path}: ").replace(f"{self.inputs.root}{os.sep}", "")


def _explain(source: str, error: BaseException) -> str:
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
