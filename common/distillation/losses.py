"""TODO"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from common.distillation.features import feature_widths, resample


class FeatureAlignmentLoss(nn.Module):
    """Mean squared error between hidden features of student and teacher (Romero et al., 2015, arXiv 1412.6550).

    Each of the student's layers is projected to the width of its teacher layer where the two differ. The teacher's
    features are resampled to the student's grid and normalised over their channels, so that no layer outweighs another.

    Args:
        pairs: teacher layer to student layer, by name.
        teacher_widths: channels of the teacher's layers, in the order of ``pairs``.
        student_widths: channels of the student's layers, likewise.

    Raises:
        ValueError: if ``pairs`` is empty or the widths are not one for each pair.
    """

    def __init__(self, pairs: dict[str, str], teacher_widths: Sequence[int], student_widths: Sequence[int]) -> None:
        super().__init__()
        if not pairs:
            raise ValueError("pairs must name at least one teacher layer and its student layer, got none")
        if not len(pairs) == len(teacher_widths) == len(student_widths):
            raise ValueError(
                f"every pair needs two widths, got {len(pairs)} pairs, {len(teacher_widths)} teacher widths and "
                f"{len(student_widths)} student widths"
            )
        self.pairs = dict(pairs)
        self.projections = nn.ModuleList(
            nn.Identity() if ours == theirs else nn.Conv2d(ours, theirs, kernel_size=1)
            for theirs, ours in zip(teacher_widths, student_widths, strict=True)
        )

    @classmethod
    def between(
        cls, teacher: nn.Module, student: nn.Module, pairs: dict[str, str], image_shape: tuple[int, int, int]
    ) -> FeatureAlignmentLoss:
        """Build the loss for two networks, whose widths are seen on a blank image of ``image_shape`` ``(C, H, W)``."""
        return cls(
            pairs,
            feature_widths(teacher, pairs.keys(), image_shape),
            feature_widths(student, pairs.values(), image_shape),
        )

    def forward(self, student_features: dict[str, Tensor], teacher_features: dict[str, Tensor]) -> Tensor:
        """Return the error, averaged over pairs, of features ``(B, C, h, w)`` by layer name."""
        total = 0.0
        for (theirs, ours), project in zip(self.pairs.items(), self.projections, strict=True):
            projected = project(student_features[ours])
            target = resample(teacher_features[theirs].detach(), projected.shape[2:])
            target = F.layer_norm(target.movedim(1, -1), target.shape[1:2]).movedim(-1, 1)
            total = total + F.mse_loss(projected, target)
        return total / len(self.pairs)


class LogitDistillationLoss(nn.Module):
    """Pixel-wise KL divergence between softened class distributions (Hinton et al., 2015, arXiv 1503.02531).

    Args:
        temperature: softens both distributions; the result is scaled by its square so that gradients keep their size.

    Raises:
        ValueError: if ``temperature`` is not positive.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return the mean divergence over pixels of logits shaped ``(B, C, H, W)``."""
        student = F.log_softmax(student_logits / self.temperature, dim=1)
        teacher = F.log_softmax(teacher_logits.detach() / self.temperature, dim=1)
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
        return divergence.mean() * self.temperature**2
