"""Which samples stay out of the transfer set: copies of training images, and those that the teacher is unsure of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from common.synthesis.confidence import teacher_confidence
from common.synthesis.copy_search import find_nearest
from common.synthesis.settings import TransferSetSettings
from common.synthesis.training_images import TrainingImages

COPY, LOW_CONFIDENCE = "copy", "low confidence"  # why a sample is dropped


@dataclass(frozen=True)
class Judgement:
    """What is known of a sample.

    Attributes:
        nearest: number of the training image that it resembles most.
        distance: to that one, from 0 for the same to 1 for nothing in common.
        rival: distance to the nearest training image of another patient than that one's.
        box: top, left, height and width in pixels of the part of that image that it resembles.
        orientation: how the sample lies in that image, see ``orientations.orient``.
        confidence: of the teacher, in [0, 1], None without a teacher.
        foreground: share of pixels that the teacher takes for structures, None without a teacher.
        dropped: why the sample is dropped, empty if it is kept.
    """

    nearest: int
    distance: float
    rival: float
    box: list[float]
    orientation: int
    confidence: float | None
    foreground: float | None
    dropped: str


def judge_samples(
    images: Tensor,
    training: TrainingImages,
    settings: TransferSetSettings,
    teacher: nn.Module | None = None,
    teacher_transform: Callable[[Tensor], Tensor] | None = None,
) -> list[Judgement]:
    """Compare samples with the training images, and measure how sure the teacher is of them.

    Args:
        images: the samples ``(B, C, W, H)`` in [0, 1].
        training: what the diffusion model was trained on.
        settings: say from which distance on a sample is a copy, and how sure the teacher has to be.
        teacher: on the device of the samples; None leaves the confidence out.
        teacher_transform: see :func:`teacher_confidence`.
    """
    neighbours = find_nearest(images, training.images, training.groups)
    if teacher is None:
        confidences = shares = [None] * len(images)
    else:
        confidences, shares = teacher_confidence(teacher, images, teacher_transform)
    rows = zip(*(each.tolist() for each in neighbours), confidences, shares, strict=True)
    return [
        Judgement(
            nearest=nearest,
            distance=distance,
            rival=rival,
            box=box,
            orientation=orientation,
            confidence=confidence,
            foreground=share,
            dropped=_reason_to_drop(settings, distance, rival, confidence),
        )
        for distance, rival, nearest, box, orientation, confidence, share in rows
    ]


def _reason_to_drop(settings: TransferSetSettings, distance: float, rival: float, confidence: float | None) -> str:
    """Return why a sample is dropped, an empty text if it is kept."""
    if distance < settings.copy_threshold * rival:
        return COPY
    if settings.min_confidence is not None and confidence < settings.min_confidence:
        return LOW_CONFIDENCE
    return ""


def count_kept(judgements: Iterable[Judgement]) -> int:
    """Return how many samples are kept."""
    return sum(not each.dropped for each in judgements)


def count_dropped(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Return how many samples are dropped for each reason."""
    counts = Counter(each.dropped for each in judgements)
    return {reason: counts[reason] for reason in (COPY, LOW_CONFIDENCE)}


def describe_dropped(judgements: Iterable[Judgement]) -> str:
    """Return a phrase that says how many samples are dropped and why."""
    copies, unsure = count_dropped(judgements).values()
    return f"{copies} are copies of training images, the teacher is less sure than min_confidence of {unsure}"
