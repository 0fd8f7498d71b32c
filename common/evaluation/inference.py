"""Inference input by input: one that fails is left out by name and stops no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.data import Dataset
from monai.engines import SupervisedEvaluator
from monai.utils import CommonKeys, MetaKeys

from common.evaluation.outcome import Outcome, explain

_SOURCE, _FAILURE = "source", "failure"  # of an entry: the input, and why it could not be read


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
            return {_SOURCE: source, _FAILURE: explain(source, error)}


class InferenceOutcome(Outcome):
    """What came of each input that MONAI's evaluator got."""

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
            self.leave_out(Path(source), error)
            return {}
        for item in output:
            self.written[Path(item[CommonKeys.PRED].meta[MetaKeys.SAVED_TO])] = Path(source)
        return output
