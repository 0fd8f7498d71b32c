"""TODO"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn

from common.distillation.features import FeatureTaps
from common.distillation.losses import FeatureAlignmentLoss
from common.distillation.orientations import ask_teacher, check_orientations
from common.distillation.teacher_outputs import cached_answers
from common.files.provenance import note_teacher


class FeatureDistillationTrainer(SupervisedTrainer):
    """Trains a student to match the hidden features of a frozen teacher, without logits and without labels.

    A batch is a dictionary with an ``image`` ``(B, C, H, W)``. Where it has the teacher's answers too, as from a
    :class:`~common.distillation.teacher_outputs.TeacherCache`, the teacher is
    not asked. Every iteration's output has the loss and
    each of its terms.

    Args:
        teacher: any network with the student's input; frozen and put into eval mode here. It moves to the device when
            it is first asked.
        network: the student or its encoder, possibly in ``DistributedDataParallel``.
        loss_function: its ``pairs`` name the layers to compare.
        orientations: of each image, over which the answers of a teacher that is asked here are averaged; see
            :func:`~common.distillation.orientations.ask_teacher`.
        kwargs: what ``SupervisedTrainer`` takes.

    Raises:
        InputError: if ``orientations`` is none of :data:`~common.distillation.orientations.ORIENTATIONS`.
    """

    def __init__(
        self,
        *,
        teacher: nn.Module,
        network: nn.Module,
        loss_function: FeatureAlignmentLoss,
        orientations: int = 1,
        **kwargs: Any,
    ) -> None:
        check_orientations(orientations)
        super().__init__(network=network, loss_function=loss_function, **kwargs)
        self.teacher = teacher.eval().requires_grad_(False)
        self.loss_function.to(self.state.device)
        self.orientations = orientations
        pairs = loss_function.pairs
        note_teacher(network, teacher)
        self.teacher_taps = FeatureTaps(teacher, pairs.keys())
        self.student_taps = FeatureTaps(network, pairs.values())

    def _answers(self, batchdata: dict[str, Tensor], images: Tensor) -> tuple[Tensor | None, dict[str, Tensor]]:
        answers = cached_answers(batchdata, self.loss_function.pairs)
        if answers is None:
            teacher = self.teacher.to(images.device)
            logits, features = ask_teacher(teacher, self.teacher_taps, images, self.orientations)
            # Only copies made out here may take part in a graph.
            return logits.clone(), {name: feature.clone() for name, feature in features.items()}
        logits, features = answers
        logits = None if logits is None else logits.to(images.device)
        return logits, {name: feature.to(images.device) for name, feature in features.items()}

    def _compare(
        self,
        batchdata: dict[str, Tensor],
        label: Tensor | None,
        student: tuple[Tensor, dict[str, Tensor]],
        teacher: tuple[Tensor | None, dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Return the loss and its terms from what the two networks put out, and their features by layer."""
        return {Keys.LOSS: self.loss_function(_as_floats(student[1]), _as_floats(teacher[1]))}

    def _iteration(self, engine: FeatureDistillationTrainer, batchdata: dict[str, Tensor]) -> dict[str, Tensor]:
        device = engine.state.device
        images, label = engine.prepare_batch(batchdata, device, engine.non_blocking, **engine.to_kwargs)
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        amp_kwargs = engine.amp_kwargs or {}
        with torch.autocast(device.type, enabled=engine.amp, **amp_kwargs):
            answers = self._answers(batchdata, images)
            output = engine.inferer(images, engine.network)
            features = self.student_taps.pop(images.shape[2:])
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        terms = self._compare(batchdata, label, (output, features), answers)
        engine.state.output = {Keys.IMAGE: images, Keys.LABEL: label, Keys.PRED: output, **terms}
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        terms[Keys.LOSS].backward()
        _average_gradients(engine.loss_function)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output


class DistillationTrainer(FeatureDistillationTrainer):
    """Trains a student to match a frozen teacher.

    A batch is a dictionary of ``image`` ``(B, C, H, W)``, ``label`` ``(B, 1, H, W)`` and ``labelled`` ``(B,)``, which
    says for each image whether its label is real, with the teacher's answers or without them.

    Args:
        teacher: any network with the student's input and output; see :class:`FeatureDistillationTrainer`.
        network: the student, possibly in ``DistributedDataParallel``.
        loss_function: a ``DistillationLoss``, whose ``pairs`` name the layers to compare.
        kwargs: what ``SupervisedTrainer`` takes.
    """

    def _compare(
        self,
        batchdata: dict[str, Tensor],
        label: Tensor | None,
        student: tuple[Tensor, dict[str, Tensor]],
        teacher: tuple[Tensor | None, dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        (logits, features), (teacher_logits, teacher_features) = student, teacher
        labelled = batchdata["labelled"].to(logits.device, non_blocking=self.non_blocking)
        return self.loss_function(
            logits.float(),
            teacher_logits.float(),
            _as_floats(features),
            _as_floats(teacher_features),
            label,
            labelled,
        )


def _as_floats(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: feature.float() for name, feature in features.items()}


def _average_gradients(module: nn.Module) -> None:
    """Average a module's gradients over all ranks; the student's are by ``DistributedDataParallel``."""
    if dist.is_available() and dist.is_initialized():
        for parameter in module.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()
