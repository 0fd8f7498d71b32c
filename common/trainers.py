"""The training loop that distils. The other stages train with MONAI's ``SupervisedTrainer`` or a diffusion trainer."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn

from common.losses import DistillationLoss
from common.networks.features import FeatureTaps
from common.teacher_cache import ask_teacher, cached_answers


class DistillationTrainer(SupervisedTrainer):
    """Trains a student to match a frozen teacher.

    A batch is a dictionary of ``image`` ``(B, C, H, W)``, ``label`` ``(B, 1, H, W)`` and ``labelled`` ``(B,)``, which
    says for each image whether its label is real. Where it has the teacher's answers too, as from a
    :class:`~common.teacher_cache.TeacherCache`, the teacher is not asked. Every iteration's output has the loss and
    each of its terms.

    Args:
        teacher: any network with the student's input and output; frozen and put into eval mode here. It moves to the
            device when it is first asked.
        network: the student, possibly in ``DistributedDataParallel``.
        loss_function: its ``features.pairs`` name the layers to compare.
        kwargs: what ``SupervisedTrainer`` takes.
    """

    def __init__(
        self, *, teacher: nn.Module, network: nn.Module, loss_function: DistillationLoss, **kwargs: Any
    ) -> None:
        kwargs.setdefault("decollate", False)
        super().__init__(network=network, loss_function=loss_function, **kwargs)
        self.teacher = teacher.eval().requires_grad_(False)
        self.loss_function.to(self.state.device)
        pairs = loss_function.features.pairs
        self.teacher_taps = FeatureTaps(teacher, pairs.keys())
        self.student_taps = FeatureTaps(network, pairs.values())

    def _answers(self, batchdata: dict[str, Tensor], images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        answers = cached_answers(batchdata, self.loss_function.features.pairs)
        if answers is not None:
            logits, features = answers
            return logits.to(images.device), {name: feature.to(images.device) for name, feature in features.items()}
        logits, features = ask_teacher(self.teacher.to(images.device), self.teacher_taps, images)
        # Only copies made out here may take part in a graph.
        return logits.clone(), {name: feature.clone() for name, feature in features.items()}

    def _iteration(self, engine: DistillationTrainer, batchdata: dict[str, Tensor]) -> dict[str, Tensor]:
        device = engine.state.device
        images, label = engine.prepare_batch(batchdata, device, engine.non_blocking, **engine.to_kwargs)
        labelled = batchdata["labelled"].to(device, non_blocking=engine.non_blocking)
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        amp_kwargs = engine.amp_kwargs or {}
        with torch.autocast(device.type, enabled=engine.amp, **amp_kwargs):
            teacher_logits, teacher_features = self._answers(batchdata, images)
            logits = engine.inferer(images, engine.network)
            features = self.student_taps.pop(images.shape[2:])
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        terms = engine.loss_function(
            logits.float(),
            teacher_logits.float(),
            {name: feature.float() for name, feature in features.items()},
            {name: feature.float() for name, feature in teacher_features.items()},
            label,
            labelled,
        )
        engine.state.output = {Keys.IMAGE: images, Keys.LABEL: label, Keys.PRED: logits, **terms}
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        terms[Keys.LOSS].backward()
        _average_gradients(engine.loss_function)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output


def _average_gradients(module: nn.Module) -> None:
    """Average a module's gradients over all ranks; the student's are by ``DistributedDataParallel``."""
    if dist.is_available() and dist.is_initialized():
        for parameter in module.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()
