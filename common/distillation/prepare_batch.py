"""What MONAI's trainer makes of a batch: images for the student, and what the teacher puts out for them as targets."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from common.distillation.batch_outputs import DistillationOutputs
from common.distillation.frozen_teacher import FrozenTeacher
from common.distillation.teacher_outputs import LABELLED_KEY, outputs_in
from common.transforms.motion import INSIDE_KEY


class PrepareBatchDistillation(PrepareBatch):
    """Makes of a batch the student's images, and all of :class:`DistillationOutputs` but what the student puts out.

    A batch is a dictionary with an ``image`` ``(B, C, H, W)``, and where there are any, a ``label`` ``(B, 1, H, W)``,
    ``labelled`` ``(B,)``, which images have one, and ``inside`` ``(B, 1, H, W)``, which pixels are not padded. Where it
    has the teacher's outputs, as from a :class:`~common.distillation.teacher_outputs.TeacherOutputs`, the teacher does
    not run.

    Args:
        teacher: gives the outputs for batches that have none.
    """

    def __init__(self, teacher: FrozenTeacher) -> None:
        self.teacher = teacher

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, DistillationOutputs]:
        """Return the images and the targets, on the device.

        Args:
            batchdata: the batch.
            device: of the student.
            non_blocking: whether copies to it may go on in the background.
            kwargs: what else ``Tensor.to`` takes for the images, such as a memory format.
        """

        def move(values: Tensor) -> Tensor:
            return values.to(device, non_blocking=non_blocking)

        images = batchdata[Keys.IMAGE].to(device=device, non_blocking=non_blocking, **kwargs)
        logits, features = outputs_in(batchdata, self.teacher.hooks.layers) or self.teacher(images)
        inside = batchdata.get(INSIDE_KEY)
        targets = DistillationOutputs(
            teacher_logits=None if logits is None else move(logits),
            teacher_features={layer: move(grid) for layer, grid in features.items()},
            label=move(batchdata[Keys.LABEL]) if Keys.LABEL in batchdata else None,
            labelled=batchdata.get(LABELLED_KEY),
            inside=_all_inside(images) if inside is None else move(inside),
        )
        return images, targets


def _all_inside(images: Tensor) -> Tensor:
    return torch.ones(len(images), 1, *images.shape[2:], device=images.device)
