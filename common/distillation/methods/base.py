"""What pipeline, study, report and release know of a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_OVERLAYS = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to prepare the student before it is fine-tuned on the labelled images.

    Attributes:
        name: as in ``--method``, in configs and in the folders of a study.
        title: in print.
        config: the overlay on ``distill.yaml``; None where there is no such stage, and training starts at random.
        teacher: whom the student learns from: the teacher that was fine-tuned on the labelled images, the VFM as it was
            published, or nobody.
        transfer_set: whether the student learns from the transfer set.
        beyond_budget: whether it learns from the training images beyond the label budget, without their labels.
        with_labels: whether its synthetic images are drawn with their labels.
        labelled_share: of the images of an epoch, how many are labelled ones: half, none (0) or all (1).
        prepares: what of the student is trained, or None where nothing is.
        student_def: the student in place of that of the configs, as a MONAI config; such a method is a reference line.

    Raises:
        ValueError: if it needs a teacher or images without labels but has no config.
    """

    name: str
    title: str
    config: Path | None
    teacher: Literal["fine_tuned", "published"] | None = None
    transfer_set: bool = False
    beyond_budget: bool = False
    with_labels: bool = False
    labelled_share: float = 0.5
    prepares: Literal["student", "encoder"] | None = None
    student_def: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.config is None and (self.teacher or self.learns_from_unlabelled or self.prepares):
            raise ValueError(f"method {self.name} has no config, so it cannot use a teacher or images without labels")

    @property
    def is_reference(self) -> bool:
        """Whether it is another student, which a report shows as a reference line, whatever has prepared it."""
        return self.student_def is not None

    @property
    def learns_from_unlabelled(self) -> bool:
        """Whether the student learns from images without labels, drawn or real."""
        return self.transfer_set or self.beyond_budget


def overlay(name: str) -> Path:
    """Return the overlay ``<name>.yaml`` beside this module."""
    return _OVERLAYS / f"{name}.yaml"
