"""Losses by the book: against NumPy and SciPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit, log_expit, softmax
from torch.testing import assert_close

from common.teachers.stand_in.losses import mask_losses, prompted_loss, semantic_loss


class Recorder:
    """Stands in for SAM: keeps what it was given and returns given logits."""

    def __init__(self, logits: torch.Tensor, scores: torch.Tensor) -> None:
        self.logits, self.scores = logits, scores

    def __call__(self, **inputs) -> SimpleNamespace:
        self.inputs = inputs
        return SimpleNamespace(pred_masks=self.logits, iou_scores=self.scores)


@pytest.mark.parametrize(("prompt", "several"), [("point", True), ("points", False), ("box", False)])
def test_one_point_alone_is_ambiguous(prompt, several):
    model = Recorder(torch.zeros(2, 3, 3, 10, 14), torch.zeros(2, 3, 3))
    prompted_loss(model, torch.zeros(2, 8, 4, 4), torch.ones(2, 3, 40, 56), prompt)
    assert model.inputs["multimask_output"] is several
    assert ("input_boxes" in model.inputs) == (prompt == "box")


def reference_losses(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Cross-entropy + Dice of masks ``(..., H, W)``."""
    entropy = -(target * log_expit(logits) + (1 - target) * log_expit(-logits)).mean((-2, -1))
    probability = expit(logits)
    overlap, total = (probability * target).sum((-2, -1)), (probability + target).sum((-2, -1))
    return entropy + 1 - (2 * overlap + 1) / (total + 1)


def test_mask_losses_are_cross_entropy_and_dice():
    logits, masks = 3 * torch.randn(2, 3, 4, 6, 7), torch.rand(2, 3, 6, 7)
    expected = reference_losses(logits.double().numpy(), masks.double().numpy()[:, :, None])
    assert_close(mask_losses(logits, masks), torch.from_numpy(expected).float())


def test_best_of_several_masks_counts_and_every_score_is_to_be_the_iou():
    logits, masks = 3 * torch.randn(2, 3, 3, 8, 8), (torch.rand(2, 3, 8, 8) > 0.6).float()
    scores = torch.rand(2, 3, 3)
    loss, mean_iou = prompted_loss(Recorder(logits, scores), torch.zeros(2, 8, 2, 2), masks, "point")
    losses = reference_losses(logits.double().numpy(), masks.double().numpy()[:, :, None])
    predicted, truth = logits.numpy() > 0, masks.numpy()[:, :, None] > 0
    iou = (predicted & truth).sum((-2, -1)) / (predicted | truth).sum((-2, -1))
    assert loss.item() == pytest.approx(losses.min(-1).mean() + ((scores.numpy() - iou) ** 2).mean(), rel=1e-5)
    chosen = np.take_along_axis(iou, losses.argmin(-1)[..., None], axis=-1)
    assert mean_iou.item() == pytest.approx(chosen.mean(), rel=1e-5)


def test_objects_that_are_not_there_do_not_count():
    logits, masks = torch.randn(1, 2, 1, 8, 8), (torch.rand(1, 2, 8, 8) > 0.5).float()
    masks[0, 1] = 0
    scores = torch.rand(1, 2, 1)
    both, _ = prompted_loss(Recorder(logits, scores), torch.zeros(1, 8, 2, 2), masks, "box")
    alone, _ = prompted_loss(Recorder(logits[:, :1], scores[:, :1]), torch.zeros(1, 8, 2, 2), masks[:, :1], "box")
    assert_close(both, alone)


def test_scenes_without_any_object_that_was_asked_for_do_not_spoil_a_step():
    logits = torch.randn(1, 2, 1, 8, 8, requires_grad=True)
    loss, iou = prompted_loss(
        Recorder(logits, torch.rand(1, 2, 1)), torch.zeros(1, 8, 2, 2), torch.zeros(1, 2, 8, 8), "box"
    )
    loss.backward()
    assert loss.item() == iou.item() == 0
    assert not logits.grad.any()


def test_semantic_loss_is_cross_entropy_and_the_dice_of_the_structures():
    logits, kinds = 2 * torch.randn(2, 4, 6, 6), torch.randint(4, (2, 6, 6), dtype=torch.uint8)
    loss, accuracy = semantic_loss(logits, kinds)
    probability, target = softmax(logits.double().numpy(), axis=1), np.eye(4)[kinds.numpy()].transpose(0, 3, 1, 2)
    entropy = -(target * np.log(probability)).sum(1).mean()
    overlap, total = (probability * target).sum((0, 2, 3)), (probability + target).sum((0, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    assert loss.item() == pytest.approx(entropy + dice[1:].mean(), rel=1e-5)
    assert accuracy.item() == pytest.approx((logits.numpy().argmax(1) == kinds.numpy()).mean())
