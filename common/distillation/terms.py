"""The terms of the distillation loss."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from common.distillation.losses import FeatureAlignmentLoss


class DistillationLoss(nn.Module):
    """The weighted sum of feature alignment, logit distillation and, where a label exists, the supervised loss.

    Args:
        features: compares hidden features.
        logits: compares logits.
        supervised: compares logits ``(B, C, H, W)`` with labels ``(B, 1, H, W)``, such as ``monai.losses.DiceCELoss``.
        feature_weight: weight of the first.
        logit_weight: weight of the second.
        supervised_weight: weight of the third.

    Raises:
        ValueError: if a weight is negative, or all are zero.
    """

    def __init__(
        self,
        features: FeatureAlignmentLoss,
        logits: Callable[[Tensor, Tensor], Tensor],
        supervised: Callable[[Tensor, Tensor], Tensor],
        feature_weight: float = 1.0,
        logit_weight: float = 1.0,
        supervised_weight: float = 1.0,
    ) -> None:
        super().__init__()
        weights = {"feature": feature_weight, "logit": logit_weight, "supervised": supervised_weight}
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(f"weights must not be negative and not all zero, got {weights}")
        self.features = features
        self.logits = logits
        self.supervised = supervised
        self.feature_weight = feature_weight
        self.logit_weight = logit_weight
        self.supervised_weight = supervised_weight

    @property
    def pairs(self) -> dict[str, str]:
        """Teacher layer to student layer, by name."""
        return self.features.pairs

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        student_features: dict[str, Tensor],
        teacher_features: dict[str, Tensor],
        label: Tensor,
        labelled: Tensor,
    ) -> dict[str, Tensor]:
        """Compare student and teacher on one batch.

        Args:
            student_logits: ``(B, C, H, W)``.
            teacher_logits: ``(B, C, H, W)``.
            student_features: ``(B, C, h, w)`` by the student's layer names.
            teacher_features: likewise, by the teacher's.
            label: class ids ``(B, 1, H, W)``; what it holds for unlabelled images does not matter.
            labelled: bool ``(B,)``, which images have a label.

        Returns:
            The terms before weighting, ``feature_loss``, ``logit_loss`` and ``supervised_loss``, and their weighted
            sum, ``loss``.
        """
        terms = {
            "feature": self.features(student_features, teacher_features),
            "logit": self.logits(student_logits, teacher_logits),
            "supervised": student_logits.sum() * 0,  # stays part of the graph, as every rank must have one
        }
        if labelled.any():
            terms["supervised"] = self.supervised(student_logits[labelled], label[labelled])
        total = sum(getattr(self, f"{name}_weight") * term for name, term in terms.items())
        return {"loss": total, **{f"{name}_loss": term for name, term in terms.items()}}
