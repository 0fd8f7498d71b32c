"""How tests distil: MONAI's own trainer with what distill.yaml gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from common.distillation.feature_hooks import FeatureHooks
from common.distillation.frozen_teacher import FrozenTeacher
from common.distillation.gradients import AverageGradients
from common.distillation.losses import FeatureAlignmentLoss, LogitDistillationLoss, SupervisedLoss
from common.distillation.prepare_batch import PrepareBatchDistillation
from common.distillation.terms import DistillationLoss


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, label[:, 0].long())


def make_trainer(
    teacher: nn.Module,
    student: nn.Module,
    batches: Iterable[dict[str, Any]],
    pairs: Mapping[str, str],
    *,
    network: nn.Module | None = None,
    weights: Mapping[str, float | None] | None = None,
    orientations: int = 1,
    epochs: int = 1,
    optimizer: type[torch.optim.Optimizer] = torch.optim.SGD,
    learning_rate: float = 0.01,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    supervised: Any = cross_entropy,
    **kwargs: Any,
) -> SupervisedTrainer:
    """Return a trainer; a term without a weight is left out, and what is trained is the student or ``network``."""
    torch.manual_seed(1)
    theirs, ours = FeatureHooks(teacher, pairs), FeatureHooks(student, pairs.values())
    losses = {
        "features": FeatureAlignmentLoss.between(theirs, ours, pairs, image_shape),
        "logits": LogitDistillationLoss(),
        "supervised": SupervisedLoss(supervised),
    }
    weights = {**dict.fromkeys(losses, 1.0), **(weights or {})}
    terms = {name: {"loss": losses[name], "weight": weight} for name, weight in weights.items() if weight is not None}
    loss = DistillationLoss(terms, ours)
    return SupervisedTrainer(
        network=student if network is None else network,
        loss_function=loss,
        optimizer=optimizer([*student.parameters(), *loss.parameters()], lr=learning_rate),
        prepare_batch=PrepareBatchDistillation(FrozenTeacher(theirs, orientations=orientations)),
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=batches,
        train_handlers=[AverageGradients(loss)],
        decollate=False,
        **kwargs,
    )


def record(trainer: SupervisedTrainer) -> list[dict[str, float]]:
    """Return what will have the loss and the terms of every iteration."""
    history: list[dict[str, float]] = []

    def note(engine: SupervisedTrainer) -> None:
        terms = {name: value.item() for name, value in engine.loss_function.last_terms.items()}
        history.append({"loss": engine.state.output["loss"].item(), **terms})

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    return history
