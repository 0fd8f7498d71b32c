"""The terms of the distillation loss: each compares student and teacher, or student and label, at one level.

A padded pixel has no error, and means go over all pixels, so that a pixel weighs the same in every image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.distillation.batch_outputs import DistillationOutputs
from common.distillation.feature_hooks import FeatureHooks, resample


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

    def __init__(self, pairs: Mapping[str, str], teacher_widths: Sequence[int], student_widths: Sequence[int]) -> None:
        super().__init__()
        if not pairs:
            raise ValueError("pairs must name at least one teacher layer and its student layer, got none")
        if not len(pairs) == len(teacher_widths) == len(student_widths):
            raise ValueError(
                f"every pair needs two widths, got {len(pairs)} pairs, {len(teacher_widths)} teacher widths and "
                f"{len(student_widths)} student widths"
            )
        self.pairs = tuple(pairs.items())  # a plain setting: with other pairs, a training is another one
        self.projections = nn.ModuleList(
            nn.Identity() if ours == theirs else nn.Conv2d(ours, theirs, kernel_size=1)
            for theirs, ours in zip(teacher_widths, student_widths, strict=True)
        )

    @classmethod
    def between(
        cls, teacher: FeatureHooks, student: FeatureHooks, pairs: Mapping[str, str], image_shape: tuple[int, int, int]
    ) -> FeatureAlignmentLoss:
        """Build the loss for two networks, whose widths are seen on a blank image of ``image_shape`` ``(C, H, W)``."""
        theirs, ours = teacher.shapes(image_shape), student.shapes(image_shape)
        return cls(pairs, [theirs[layer][0] for layer in pairs], [ours[layer][0] for layer in pairs.values()])

    def forward(self, outputs: DistillationOutputs) -> Tensor:
        """Return the error, averaged over pairs."""
        errors = []
        for (theirs, ours), project in zip(self.pairs, self.projections, strict=True):
            projected = project(outputs.student_features[ours])
            target = resample(outputs.teacher_features[theirs].detach(), projected.shape[2:])
            target = F.layer_norm(target.movedim(1, -1), target.shape[1:2]).movedim(-1, 1)
            share_inside = F.interpolate(outputs.inside, size=projected.shape[2:], mode="area")
            errors.append(((projected - target).square() * share_inside).mean())
        return torch.stack(errors).mean()


class LogitDistillationLoss(nn.Module):
    """Pixel-wise KL divergence between softened class distributions (Hinton et al., 2015, arXiv 1503.02531).

    Args:
        temperature: softens both distributions; the result is scaled by its square so that gradients keep their size.

    Raises:
        ValueError: if ``temperature`` is not positive.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {temperature}")
        self.temperature = temperature

    def forward(self, outputs: DistillationOutputs) -> Tensor:
        """Return the mean divergence over pixels."""
        assert outputs.student_logits is not None
        assert outputs.teacher_logits is not None  # which are kept for this term
        student = F.log_softmax(outputs.student_logits / self.temperature, dim=1)
        teacher = F.log_softmax(outputs.teacher_logits.detach() / self.temperature, dim=1)
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1, keepdim=True)
        return (divergence * outputs.inside).mean() * self.temperature**2


class SupervisedLoss(nn.Module):
    """A loss of logits and labels over the images of a batch, those without a label with a loss of 0.

    So each labelled image weighs the same, in whatever batch and on whatever rank it comes.

    Args:
        loss: compares logits ``(N, C, H, W)`` with class ids ``(N, 1, H, W)``, such as ``monai.losses.DiceCELoss``.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: DistillationOutputs) -> Tensor:
        """Return the loss of the labelled images times their share of the batch."""
        # Its batches have labels, and the student has seen them.
        assert outputs.labelled is not None
        assert outputs.label is not None
        assert outputs.student_logits is not None
        chosen = outputs.labelled.nonzero().flatten()
        if not len(chosen):
            return outputs.student_logits.sum() * 0  # stays part of the graph, as every rank must have one
        logits, label = outputs.student_logits[chosen], outputs.label[chosen]
        logits = torch.where(outputs.inside[chosen] > 0, logits, certain_logits(label, logits.shape[1]))
        return self.loss(logits, label) * (len(chosen) / len(outputs.student_logits))


def certain_logits(label: Tensor, num_classes: int) -> Tensor:
    """Return logits ``(N, num_classes, H, W)`` of a network that is certain of class ids ``(N, 1, H, W)``."""
    return 1e3 * F.one_hot(label[:, 0].long(), num_classes).movedim(-1, 1).float()
