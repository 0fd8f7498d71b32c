"""Which samples stay out of the transfer set: copies of training images, those that are no images of this kind, and
those that the teacher is unsure of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from common.synthesis.copy_search import find_nearest
from common.synthesis.observer import Observation
from common.synthesis.settings import TransferSetSettings
from common.synthesis.training_images import TrainingImages

COPY, UNREALISTIC, LOW_CONFIDENCE = "copy", "unrealistic", "low confidence"  # why a sample is dropped


@dataclass(frozen=True)
class Judgement:
    """What is known of a sample.

    Attributes:
        nearest: number of the training image that it resembles most.
        distance: to that one, from 0 for the same to 1 for nothing in common.
        rival: distance to the nearest training image of another patient than that one's.
        box: top, left, height and width in pixels of the part of that image that it resembles.
        orientation: how the sample lies in that image, see ``orientations.orient``.
        strangeness: from 0 for a training image to about 1 for a new image of the same kind, see
            :class:`~common.synthesis.realism.RealImages`; None if there are too few training images to tell.
        confidence: of the teacher, in [0, 1], None without a teacher.
        foreground: share of pixels that the teacher takes for structures, None without a teacher.
        dropped: why the sample is dropped, empty if it is kept.
    """

    nearest: int
    distance: float
    rival: float
    box: list[float]
    orientation: int
    strangeness: float | None
    confidence: float | None
    foreground: float | None
    dropped: str


def judge_samples(
    images: Tensor,
    training: TrainingImages,
    settings: TransferSetSettings,
    observation: Observation,
    strangeness: Sequence[float | None],
) -> list[Judgement]:
    """Compare samples with the training images, pixel by pixel, and say which stay out.

    Args:
        images: the samples ``(B, C, W, H)`` in [0, 1].
        training: what the diffusion model was trained on.
        settings: say from which distance on a sample is a copy, how strange it may be, and how sure the teacher has to
            be.
        observation: what a teacher sees in the samples.
        strangeness: of each, see :class:`~common.synthesis.realism.RealImages`.
    """
    neighbours = find_nearest(images, training.images, training.groups)
    unknown = [None] * len(images)
    opinions = (
        strangeness,
        observation.confidences or unknown,
        observation.foregrounds or unknown,
    )
    rows = zip(*(each.tolist() for each in neighbours), *opinions, strict=True)
    return [
        Judgement(
            nearest=nearest,
            distance=distance,
            rival=rival,
            box=box,
            orientation=orientation,
            strangeness=strange,
            confidence=confidence,
            foreground=share,
            dropped=_reason_to_drop(settings, distance < settings.copy_threshold * rival, strange, confidence),
        )
        for distance, rival, nearest, box, orientation, strange, confidence, share in rows
    ]


def _reason_to_drop(
    settings: TransferSetSettings, is_copy: bool, strangeness: float | None, confidence: float | None
) -> str:
    """Return why a sample is dropped, an empty text if it is kept."""
    if is_copy:
        return COPY
    if not settings.allow_unrealistic and is_strange(settings, strangeness):
        return UNREALISTIC
    if settings.min_confidence is None:
        return ""
    assert confidence is not None  # there is a teacher, or the settings would have been refused
    if confidence < settings.min_confidence:
        return LOW_CONFIDENCE
    return ""


def is_strange(settings: TransferSetSettings, strangeness: float | None) -> bool:
    """Say whether a sample is too strange for an image of this kind."""
    limit = settings.max_strangeness
    return limit is not None and strangeness is not None and strangeness > limit


def count_kept(judgements: Iterable[Judgement]) -> int:
    """Return how many samples are kept."""
    return sum(not each.dropped for each in judgements)


def count_dropped(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Return how many samples are dropped for each reason."""
    counts = Counter(each.dropped for each in judgements)
    return {reason: counts[reason] for reason in (COPY, UNREALISTIC, LOW_CONFIDENCE)}


def describe_dropped(judgements: Iterable[Judgement]) -> str:
    """Return a phrase that says how many samples are dropped and why."""
    copies, strange, unsure = count_dropped(judgements).values()
    return (
        f"{copies} are copies of training images, {strange} are no images of this kind, the teacher is less sure than "
        f"min_confidence of {unsure}"
    )
