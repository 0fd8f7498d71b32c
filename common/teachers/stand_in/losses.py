"""The two objectives of pre-training: the masks of prompted objects, and the kind of each pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import SamModel

from common.teachers.stand_in.prompts import prompt_inputs


def mask_losses(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the cross-entropy + Dice loss of each mask.

    Args:
        logits: ``(B, N, M, H, W)``, M candidates for each mask.
        masks: ``(B, N, H, W)`` in [0, 1].

    Returns:
        ``(B, N, M)``.
    """
    target = masks.unsqueeze(2).expand_as(logits)
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((-2, -1))
    overlap = (probability * target).sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (probability.sum((-2, -1)) + target.sum((-2, -1)) + 1)
    return entropy + dice


def prompted_loss(model: SamModel, embeddings: Tensor, masks: Tensor, prompt: str) -> tuple[Tensor, Tensor]:
    """Return the loss and the mean IoU of the model's masks for one kind of prompt.

    Args:
        model: SAM.
        embeddings: of its encoder, ``(B, C, h, w)``.
        masks: ``(B, N, H, W)`` in {0, 1}, one prompt each; empty ones do not count.
        prompt: see :func:`~common.teachers.stand_in.prompts.prompt_inputs`; one point alone may mean several objects,
            so that the best of three masks counts.
    """
    counted = masks.flatten(2).any(2)
    prompted = torch.where(counted[..., None, None], masks, torch.ones_like(masks))
    inputs = prompt_inputs(prompted, prompt)
    output = model(image_embeddings=embeddings, multimask_output=prompt == "point", **inputs)
    target = F.interpolate(masks, size=output.pred_masks.shape[-2:], mode="area")
    losses = mask_losses(output.pred_masks, target)
    chosen = losses.argmin(dim=2, keepdim=True)
    with torch.no_grad():
        predicted, truth = output.pred_masks > 0, target.unsqueeze(2) > 0.5
        union = (predicted | truth).sum((-2, -1)).clamp(min=1)
        iou = (predicted & truth).sum((-2, -1)) / union
    errors = losses.gather(2, chosen).squeeze(2) + (output.iou_scores - iou).square().mean(2)
    share = counted / counted.sum().clamp(min=1)
    return (errors * share).sum(), (iou.gather(2, chosen).squeeze(2) * share).sum()


def semantic_loss(logits: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Return cross-entropy + Dice loss of each pixel's kind, decoded without a prompt, and the accuracy.

    Args:
        logits: of SAM's decoder, whose mask tokens are taken for the kinds of object, ``(B, kinds, h, w)``.
        kinds: ``(B, H, W)``, indices into ``KINDS``.
    """
    target = F.one_hot(kinds.long(), logits.shape[1]).permute(0, 3, 1, 2).float()
    target = F.interpolate(target, size=logits.shape[-2:], mode="area")
    probability = logits.softmax(1)
    overlap = (probability * target).sum((0, 2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((0, 2, 3)) + target.sum((0, 2, 3)) + 1)
    accuracy = (logits.argmax(1) == target.argmax(1)).float().mean()
    return F.cross_entropy(logits, target) + dice[1:].mean(), accuracy
