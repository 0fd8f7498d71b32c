"""Images and labels that were taken for each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.datasets.readers.label_survey import LabelSurvey, describe_label_files
from common.errors import InputError

_FEW = 32  # values or colours, as labels have
_LOOKED_AT = 5  # images


def ask_if_swapped(images: Sequence[Path], survey: LabelSurvey, question: str) -> None:
    """Ask whether images and labels are swapped, where the images look like masks and the labels like photographs.

    Args:
        images: their files.
        survey: of the labels.
        question: what to ask.

    Raises:
        InputError: with the question.
    """
    if survey.num_read == 0 or survey.num_images or survey.is_black_white or _count(survey) <= _FEW:
        return
    seen = describe_label_files(images, _LOOKED_AT)
    if seen.num_read and not seen.num_images and (seen.is_black_white or 0 < _count(seen) <= _FEW):
        raise InputError(
            f"--labels: labels look like photographs or scans, with {_count(survey)} values or colours, and images "
            f"like masks: {question}"
        )


def _count(survey: LabelSurvey) -> int:
    """Return how many grey values, or colours, there are."""
    return max(survey.num_colours, len(survey.values))
