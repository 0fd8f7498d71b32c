"""The distillation loss: a weighted sum of terms that a config names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from common.distillation.batch_outputs import DistillationOutputs
from common.distillation.feature_hooks import FeatureHooks


class DistillationLoss(nn.Module):
    """The weighted sum of any terms, as ``loss_function`` of MONAI's ``SupervisedTrainer``.

    Its targets come from a :class:`~common.distillation.prepare_batch.PrepareBatchDistillation`, the student's features
    by hooks. Weights of its own, such as projections, need the handler
    :class:`~common.distillation.gradients.AverageGradients`. It computes in single precision, under autocast too.
    ``last_terms`` has the terms of the latest batch before weighting, detached, by name.

    Args:
        terms: by name, each with its ``weight`` and its ``loss``, which makes a scalar of
            ``DistillationOutputs``. A term of weight 0 is not computed; None is no term.
        student_hooks: on the layers of the student that terms compare.

    Raises:
        ValueError: if a weight is negative or not finite, or none is positive.
    """

    terms: Any  # PyTorch's hints do not say that they are weighted terms

    def __init__(self, terms: Mapping[str, Mapping[str, Any] | None], student_hooks: FeatureHooks) -> None:
        super().__init__()
        self.terms = nn.ModuleDict({name: WeightedTerm(**term) for name, term in terms.items() if term is not None})
        weights = {name: term.weight for name, term in self.terms.items()}
        if not any(weights.values()) or not all(0 <= weight < math.inf for weight in weights.values()):
            raise ValueError(f"the weights of terms must be finite, not negative and not all zero, got {weights}")
        self.term_names = tuple(self.terms)
        self.student_hooks = student_hooks
        self.last_terms: dict[str, Tensor] = {}

    def forward(self, student_logits: Tensor, targets: DistillationOutputs) -> Tensor:
        """Compare student and teacher on the batch that the student has just seen.

        Args:
            student_logits: ``(B, C, H, W)``.
            targets: all but what the student puts out.
        """
        features = self.student_hooks.pop(targets.image_size)
        with torch.autocast(student_logits.device.type, enabled=False):
            outputs = replace(targets, student_logits=student_logits, student_features=features).in_single_precision()
            terms = {name: term.loss(outputs) for name, term in self.terms.items() if term.weight}
            self.last_terms = {name: value.detach() for name, value in terms.items()}
            return sum(self.terms[name].weight * value for name, value in terms.items())


class WeightedTerm(nn.Module):
    """A term of the loss and its weight."""

    def __init__(self, loss: Callable[[DistillationOutputs], Tensor], weight: float = 1.0) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight
