"""What the student is asked to match: the teacher's hidden features, its logits, and labels where there are any.

And what it is asked without a teacher: the pixels that it does not see, or which crops are of one image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ignite.distributed as idist
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from common.networks.features import feature_widths, resample


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


class MaskedReconstructionLoss(nn.Module):
    """Mean squared error of masked patches, each normalised by its own mean and variance (He et al., arXiv 2111.06377).

    Args:
        patch_size: side of a patch in pixels.
        epsilon: added to the variance, for patches of one colour.
    """

    def __init__(self, patch_size: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.epsilon = epsilon

    def forward(self, reconstruction: tuple[Tensor, Tensor], images: Tensor) -> Tensor:
        """Return the error, averaged over masked patches.

        Args:
            reconstruction: pixels by patch ``(B, N, patch * patch * C)``, and which patches were masked ``(B, N)``, 1
                or 0.
            images: ``(B, C, H, W)`` of N patches.
        """
        pixels, mask = reconstruction
        side = self.patch_size
        patches = rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=side, q=side)
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        target = (patches - mean) / (variance + self.epsilon).sqrt()
        errors = (pixels.float() - target).square().mean(dim=-1)
        return (errors * mask).sum() / mask.sum()


class ContrastiveLoss(nn.Module):
    """The symmetrised InfoNCE loss of MoCo v3 (Chen et al., 2021, arXiv 2104.02057).

    A query of one crop has to be nearer to the key of the other crop of its image than to the keys of other images, of
    all processes. Where few labels make an image come several times in a batch, its other copies do not count.

    Args:
        temperature: of the cosine similarities; the result is scaled by twice its value, as in the paper.

    Raises:
        ValueError: if ``temperature`` is not positive.
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, vectors: tuple[Tensor, Tensor], image_ids: Tensor) -> Tensor:
        """Return the loss of queries and keys, each ``(2, B, D)``: of the first and of the second crop of each image.

        Args:
            vectors: queries and keys of any length; keys get no gradient.
            image_ids: ``(B,)``, whole numbers that are equal for copies of one image.
        """
        queries, keys = (F.normalize(each.float(), dim=-1) for each in vectors)
        own = len(image_ids) * idist.get_rank() + torch.arange(len(image_ids), device=image_ids.device)
        copies = image_ids[:, None] == idist.all_gather(image_ids)
        copies[torch.arange(len(own)), own] = False
        return self._contrast(queries[0], keys[1], own, copies) + self._contrast(queries[1], keys[0], own, copies)

    def _contrast(self, queries: Tensor, keys: Tensor, own: Tensor, copies: Tensor) -> Tensor:
        similarities = queries @ idist.all_gather(keys.detach().contiguous()).T / self.temperature
        similarities = similarities.masked_fill(copies, -torch.inf)
        return 2 * self.temperature * F.cross_entropy(similarities, own)
