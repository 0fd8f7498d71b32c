"""What the student is asked to match, against the formulas computed by other means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import zscore
from torch import nn
from torch.testing import assert_close

from common.distillation import losses
from common.distillation.losses import FeatureAlignmentLoss, LogitDistillationLoss
from common.distillation.methods.masked_autoencoder import MaskedReconstructionLoss
from common.distillation.methods.momentum_contrast import ContrastiveLoss
from common.distillation.terms import DistillationLoss


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def leaf(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


def normalised(features: torch.Tensor) -> np.ndarray:
    """Standardise features over their channels."""
    return zscore(features.detach().double().numpy(), axis=1)


# Features


def test_alignment_is_the_squared_error_to_normalised_teacher_features():
    student, teacher = torch.randn(2, 8, 3, 5), 4 + 7 * torch.randn(2, 8, 3, 5)
    loss = FeatureAlignmentLoss({"t": "s"}, [8], [8])({"s": student}, {"t": teacher})
    assert loss.item() == pytest.approx(np.mean((student.numpy() - normalised(teacher)) ** 2), rel=1e-4)


def test_alignment_projects_the_student_to_the_teachers_width():
    loss = FeatureAlignmentLoss({"t": "s"}, [6], [4])
    (projection,) = loss.projections
    student, teacher = torch.randn(2, 4, 3, 3), torch.randn(2, 6, 3, 3)
    weight, bias = projection.weight.detach().numpy()[:, :, 0, 0], projection.bias.detach().numpy()
    projected = np.einsum("ts,bshw->bthw", weight, student.numpy()) + bias[:, None, None]
    expected = np.mean((projected - normalised(teacher)) ** 2)
    assert loss({"s": student}, {"t": teacher}).item() == pytest.approx(expected, rel=1e-4)


def test_alignment_averages_the_pairs_each_with_its_own_projection():
    pairs = {"t1": "s1", "t2": "s2"}
    both = FeatureAlignmentLoss(pairs, [6, 8], [4, 8])
    student = {"s1": torch.randn(1, 4, 2, 2), "s2": torch.randn(1, 8, 4, 4)}
    teacher = {"t2": torch.randn(1, 8, 4, 4), "t1": torch.randn(1, 6, 2, 2)}
    alone = []
    for index, (theirs, ours) in enumerate(pairs.items()):
        loss = FeatureAlignmentLoss({theirs: ours}, [[6, 8][index]], [[4, 8][index]])
        loss.projections[0] = both.projections[index]
        alone.append(loss(student, teacher).item())
    assert alone[0] != pytest.approx(alone[1])
    assert both(student, teacher).item() == pytest.approx(np.mean(alone), rel=1e-5)


def test_alignment_ignores_scale_and_offset_of_the_teacher():
    loss = FeatureAlignmentLoss({"t": "s"}, [8], [8])
    student, teacher = {"s": torch.randn(2, 8, 4, 4)}, torch.randn(2, 8, 4, 4)
    assert_close(loss(student, {"t": 300 * teacher - 50}), loss(student, {"t": teacher}), rtol=1e-3, atol=1e-4)


def test_alignment_resamples_the_teacher_to_the_students_grid():
    """Halving a grid with antialiasing averages it with a triangle of four cells: 1, 3, 3, 1."""
    teacher = torch.randn(1, 8, 8, 12)
    kernel = np.array([1, 3, 3, 1]) / 8
    values = teacher.numpy()
    halved = sum(
        kernel[i] * kernel[j] * values[:, :, i + 1 : 8 - 4 + i : 2, j + 1 : 12 - 4 + j : 2]
        for i in range(4)
        for j in range(4)
    )  # away from the border
    student = torch.zeros(1, 8, 4, 6)
    student[:, :, 1:-1, 1:-1] = torch.from_numpy(zscore(halved, axis=1))
    student.requires_grad_()
    FeatureAlignmentLoss({"t": "s"}, [8], [8])({"s": student}, {"t": teacher}).backward()
    assert student.grad[:, :, 1:-1, 1:-1].abs().max() < 2e-3 * student.grad.abs().max()


def test_alignment_is_zero_only_where_the_student_has_the_normalised_features():
    teacher = torch.randn(1, 8, 4, 4)
    exact = torch.from_numpy(normalised(teacher)).float()
    loss = FeatureAlignmentLoss({"t": "s"}, [8], [8])
    assert loss({"s": exact}, {"t": teacher}).item() < 1e-6
    assert loss({"s": exact.flip(3)}, {"t": teacher}).item() > 0.1


def test_distilled_features_receive_gradient_and_the_teacher_none():
    loss = FeatureAlignmentLoss({"t": "s", "u": "v"}, [6, 4], [4, 4])
    student = {"s": leaf(1, 4, 4, 4), "v": leaf(1, 4, 2, 2)}
    teacher = {"t": leaf(1, 6, 2, 2), "u": leaf(1, 4, 2, 2)}
    loss(student, teacher).backward()
    assert all(feature.grad.any() for feature in student.values())
    assert all(p.grad.any() for p in loss.projections[0].parameters())
    assert all(feature.grad is None for feature in teacher.values())
    assert isinstance(loss.projections[1], nn.Identity)


def test_widths_are_seen_on_the_networks():
    teacher = nn.Sequential(nn.Conv2d(1, 6, 4, stride=4), nn.ReLU())
    student = nn.Sequential(nn.Conv2d(1, 4, 4, stride=4), nn.Conv2d(4, 6, 1))
    loss = FeatureAlignmentLoss.between(teacher, student, {"0": "0", "1": "1"}, (1, 16, 24))
    assert loss.projections[0].weight.shape == (6, 4, 1, 1)
    assert isinstance(loss.projections[1], nn.Identity)


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="pairs must name at least one"):
        FeatureAlignmentLoss({}, [], [])


def test_widths_that_do_not_match_the_pairs_are_refused():
    with pytest.raises(ValueError, match="got 1 pairs, 2 teacher widths and 1 student widths"):
        FeatureAlignmentLoss({"t": "s"}, [4, 4], [4])


# Logits


@pytest.mark.parametrize("temperature", [0.5, 1, 4])
def test_logit_loss_is_the_scaled_divergence_from_teacher_to_student(temperature):
    student, teacher = 3 * torch.randn(2, 3, 4, 5), 3 * torch.randn(2, 3, 4, 5)
    p = softmax(teacher.double().numpy() / temperature, axis=1)
    q = softmax(student.double().numpy() / temperature, axis=1)
    expected = rel_entr(p, q).sum(axis=1).mean() * temperature**2
    assert LogitDistillationLoss(temperature)(student, teacher).item() == pytest.approx(expected, rel=1e-4)


def test_logit_loss_is_zero_for_equal_distributions_and_ignores_what_a_softmax_ignores():
    loss = LogitDistillationLoss()
    student, teacher = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    assert loss(teacher + 5, teacher).item() == pytest.approx(0, abs=1e-6)
    shift = torch.randn(1, 1, 4, 4)
    assert_close(loss(student + shift, teacher), loss(student, teacher - shift), rtol=1e-4, atol=1e-6)


def test_logit_gradient_keeps_its_size_as_the_temperature_grows():
    teacher = torch.randn(1, 3, 4, 4)
    sizes = []
    for temperature in (20, 40):
        student = torch.zeros(1, 3, 4, 4, requires_grad=True)
        LogitDistillationLoss(temperature)(student, teacher).backward()
        sizes.append(student.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_logit_gradient_reaches_the_student_and_not_the_teacher():
    student, teacher = leaf(1, 3, 4, 4), leaf(1, 3, 4, 4)
    LogitDistillationLoss()(student, teacher).backward()
    assert student.grad.any()
    assert teacher.grad is None


@pytest.mark.parametrize("temperature", [0, -1])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match=f"temperature must be positive, got {temperature}"):
        LogitDistillationLoss(temperature)


# All together


@pytest.fixture
def batch() -> dict:
    return {
        "student_logits": leaf(4, 3, 8, 8),
        "teacher_logits": leaf(4, 3, 8, 8),
        "student_features": {"s": leaf(4, 5, 4, 4)},
        "teacher_features": {"t": leaf(4, 6, 4, 4)},
        "label": torch.randint(3, (4, 1, 8, 8)),
        "labelled": torch.tensor([True, False, True, False]),
    }


def cross_entropy(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits, label[:, 0].long())


def combined(**weights: float) -> DistillationLoss:
    torch.manual_seed(1)
    return DistillationLoss(
        FeatureAlignmentLoss({"t": "s"}, [6], [5]), LogitDistillationLoss(3), cross_entropy, **weights
    )


def test_loss_is_the_weighted_sum_of_its_terms(batch):
    loss = combined(feature_weight=0.5, logit_weight=2, supervised_weight=3)
    terms = {name: value.item() for name, value in loss(**batch).items()}
    assert set(terms) == {"loss", "feature_loss", "logit_loss", "supervised_loss"}
    alone = loss.features(batch["student_features"], batch["teacher_features"]).item()
    assert terms["feature_loss"] == pytest.approx(alone, rel=1e-6)
    alone = LogitDistillationLoss(3)(batch["student_logits"], batch["teacher_logits"]).item()
    assert terms["logit_loss"] == pytest.approx(alone, rel=1e-6)
    weighted = 0.5 * terms["feature_loss"] + 2 * terms["logit_loss"] + 3 * terms["supervised_loss"]
    assert terms["loss"] == pytest.approx(weighted, rel=1e-6)


def test_supervised_term_counts_labelled_images_alone(batch):
    chosen = [0, 2]
    logs = log_softmax(batch["student_logits"].detach().double().numpy()[chosen], axis=1)
    picked = np.take_along_axis(logs, batch["label"].numpy()[chosen], axis=1)
    assert combined()(**batch)["supervised_loss"].item() == pytest.approx(-picked.mean(), rel=1e-5)


def test_labels_of_unlabelled_images_do_not_matter(batch):
    before = combined()(**batch)
    batch["label"][1::2] = 250  # no class at all
    after = combined()(**batch)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_supervised_gradient_reaches_labelled_images_alone(batch):
    combined(feature_weight=0, logit_weight=0)(**batch)["loss"].backward()
    reached = batch["student_logits"].grad.flatten(1).any(1)
    assert torch.equal(reached, batch["labelled"])


def test_batch_without_labels_has_no_supervised_loss_but_still_a_gradient(batch):
    batch["labelled"][:] = False
    terms = combined()(**batch)
    assert terms["supervised_loss"].item() == 0
    combined(feature_weight=0, logit_weight=0)(**batch)["loss"].backward()  # as every rank must have one
    assert batch["student_logits"].grad is not None
    assert not batch["student_logits"].grad.any()


def test_gradient_reaches_student_and_projections_and_never_the_teacher(batch):
    loss = combined()
    loss(**batch)["loss"].backward()
    assert batch["student_logits"].grad.flatten(1).any(1).all()
    assert batch["student_features"]["s"].grad.any()
    assert all(p.grad.any() for p in loss.parameters())
    assert batch["teacher_logits"].grad is None
    assert batch["teacher_features"]["t"].grad is None


def test_monais_losses_fit_the_supervised_term(batch):
    supervised = DiceCELoss(to_onehot_y=True, softmax=True)
    loss = DistillationLoss(FeatureAlignmentLoss({"t": "s"}, [6], [5]), LogitDistillationLoss(), supervised)
    expected = supervised(batch["student_logits"][::2], batch["label"][::2])
    assert_close(loss(**batch)["supervised_loss"], expected)


def test_projections_are_among_the_parameters_of_the_loss():
    loss = combined()
    assert {id(p) for p in loss.features.projections.parameters()} == {id(p) for p in loss.parameters()}


@pytest.mark.parametrize(
    "weights",
    [{"feature_weight": -1}, {"logit_weight": -0.1}, {"feature_weight": 0, "logit_weight": 0, "supervised_weight": 0}],
)
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(ValueError, match="weights must not be negative and not all zero"):
        combined(**weights)


# Masked patches


def test_reconstruction_loss_is_the_squared_error_of_masked_patches_normalised_one_by_one():
    images, mask = torch.rand(2, 3, 8, 12), torch.tensor([[1, 0, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0]])
    pixels = torch.randn(2, 6, 4 * 4 * 3)
    errors = []
    for item, patch in mask.nonzero().tolist():
        row, column = divmod(patch, 3)
        target = images[item, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].double().numpy()
        target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
        drawn = pixels[item, patch].double().numpy().reshape(4, 4, 3).transpose(2, 0, 1)
        errors.append(np.mean((drawn - target) ** 2))
    assert MaskedReconstructionLoss(4)((pixels, mask), images).item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_patches_that_were_seen_do_not_count():
    images, mask = torch.rand(1, 1, 8, 8), torch.tensor([[1, 0, 0, 0]])
    pixels = leaf(1, 4, 16)
    MaskedReconstructionLoss(4)((pixels, mask), images).backward()
    assert pixels.grad[0, 0].all()
    assert not pixels.grad[0, 1:].any()


def test_a_patch_of_one_colour_is_drawn_as_zero():
    loss = MaskedReconstructionLoss(4)
    assert loss((torch.zeros(1, 1, 16), torch.ones(1, 1)), torch.full((1, 1, 4, 4), 0.3)).item() < 1e-6


# Crops


def info_nce(queries: np.ndarray, keys: np.ndarray, own: list[int], images: list[int], temperature: float) -> float:
    """Return the mean over queries ``(B, D)`` before scaling; ``own`` are their keys', ``images`` all keys' images."""
    queries, keys = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (queries, keys))
    terms = []
    for query, positive in zip(queries, own, strict=True):
        similarities = np.exp(keys @ query / temperature)
        others = sum(value for value, image in zip(similarities, images, strict=True) if image != images[positive])
        terms.append(-np.log(similarities[positive] / (similarities[positive] + others)))
    return float(np.mean(terms))


@pytest.mark.parametrize("images", [[0, 1, 2, 3, 4], [7, 3, 7, -2, 7]], ids=["distinct", "copies"])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_contrastive_loss_is_info_nce_both_ways_times_twice_the_temperature(temperature, images):
    queries, keys = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    q, k = queries.double().numpy(), keys.double().numpy()
    own = list(range(5))
    expected = info_nce(q[0], k[1], own, images, temperature) + info_nce(q[1], k[0], own, images, temperature)
    loss = ContrastiveLoss(temperature)((queries, keys), torch.tensor(images))
    assert loss.item() == pytest.approx(2 * temperature * expected, rel=1e-4)


def test_a_batch_of_one_image_alone_has_nothing_to_be_told_apart():
    queries, keys = leaf(2, 4, 7), torch.randn(2, 4, 7)
    loss = ContrastiveLoss()((queries, keys), torch.full((4,), 5))
    loss.backward()
    assert loss.item() == 0
    assert not queries.grad.any()


def test_contrastive_loss_counts_the_keys_of_all_processes(monkeypatch):
    queries, keys, elsewhere = torch.randn(2, 3, 6), torch.randn(2, 3, 6), torch.randn(2, 3, 6)
    images, images_elsewhere = torch.tensor([4, 5, 6]), torch.tensor([5, 8, 9])
    gathered = iter([images_elsewhere, unit(elsewhere[1]), unit(elsewhere[0])])  # keys of the second crop come first
    monkeypatch.setattr(losses.idist, "get_rank", lambda: 1)
    monkeypatch.setattr(losses.idist, "all_gather", lambda own: torch.cat([next(gathered), own]))
    q, k, other = (each.double().numpy() for each in (queries, keys, elsewhere))
    everywhere = [5, 8, 9, 4, 5, 6]
    expected = info_nce(q[0], np.concatenate([other[1], k[1]]), [3, 4, 5], everywhere, 0.2)
    expected += info_nce(q[1], np.concatenate([other[0], k[0]]), [3, 4, 5], everywhere, 0.2)
    assert ContrastiveLoss(0.2)((queries, keys), images).item() == pytest.approx(0.4 * expected, rel=1e-4)


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def test_contrastive_loss_gives_keys_no_gradient():
    queries, keys = leaf(2, 3, 4), leaf(2, 3, 4)
    ContrastiveLoss()((queries, keys), torch.arange(3)).backward()
    assert queries.grad.any()
    assert keys.grad is None


def test_a_temperature_that_is_not_positive_is_refused_by_the_contrastive_loss():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        ContrastiveLoss(0)
