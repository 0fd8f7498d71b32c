"""What student and teacher put out for a batch: the one structure that every term of the loss is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DistillationOutputs:
    """What student and teacher put out for a batch of B images ``(B, C, H, W)``, and what else is known of the images.

    Attributes:
        student_logits: ``(B, classes, H, W)``; whatever the network puts out where it is an encoder alone.
        teacher_logits: ``(B, classes, H, W)``, or None where they were not kept.
        student_features: grids ``(B, C, h, w)`` by the student's layer names.
        teacher_features: likewise, by the teacher's.
        label: class ids ``(B, 1, H, W)``; what it holds for unlabelled images does not matter. None without labels.
        labelled: bool ``(B,)`` on the CPU, which images have a label. None without labels.
        inside: ``(B, 1, H, W)``, 1 within the image and 0 where it was padded. Padded pixels have no error.
    """

    inside: Tensor
    student_logits: Tensor | None = None
    teacher_logits: Tensor | None = None
    student_features: Mapping[str, Tensor] = field(default_factory=dict)
    teacher_features: Mapping[str, Tensor] = field(default_factory=dict)
    label: Tensor | None = None
    labelled: Tensor | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self.inside.shape[2:]
        return height, width

    def in_single_precision(self) -> DistillationOutputs:
        """Return the same with all that the networks put out as float32."""
        return replace(
            self,
            student_logits=_as_float(self.student_logits),
            teacher_logits=_as_float(self.teacher_logits),
            student_features={layer: grid.float() for layer, grid in self.student_features.items()},
            teacher_features={layer: grid.float() for layer, grid in self.teacher_features.items()},
            inside=self.inside.float(),
        )


def _as_float(logits: Tensor | None) -> Tensor | None:
    return None if logits is None else logits.float()
