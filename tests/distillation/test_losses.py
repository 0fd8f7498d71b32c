"""What the student is to match, against the formulas computed by other means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import zscore
from torch import Tensor, nn
from torch.testing import assert_close

from common.distillation.batch_outputs import DistillationOutputs
from common.distillation.feature_hooks import FeatureHooks
from common.distillation.losses import FeatureAlignmentLoss, LogitDistillationLoss, SupervisedLoss
from common.files.fingerprints import plain_settings


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def normalised(features: Tensor) -> np.ndarray:
    """Standardise features over their channels."""
    return zscore(features.detach().double().numpy(), axis=1)


def features(student: dict[str, Tensor], teacher: dict[str, Tensor], inside: Tensor | None = None):
    """Return features of both networks, by default of images without padding."""
    if inside is None:
        inside = torch.ones(len(next(iter(student.values()))), 1, 16, 24)
    return DistillationOutputs(student_features=student, teacher_features=teacher, inside=inside)


def logits(student: Tensor, teacher: Tensor | None = None, inside: Tensor | None = None, **more: Any):
    inside = torch.ones(len(student), 1, *student.shape[2:]) if inside is None else inside
    return DistillationOutputs(student_logits=student, teacher_logits=teacher, inside=inside, **more)


def half_inside(batch: int, height: int, width: int) -> Tensor:
    """Return a map of images whose right half is padding."""
    inside = torch.ones(batch, 1, height, width)
    inside[..., width // 2 :] = 0
    return inside


class TestFeatures:
    def test_alignment_is_the_squared_error_to_normalised_teacher_features(self):
        student, teacher = torch.randn(2, 8, 3, 5), 4 + 7 * torch.randn(2, 8, 3, 5)
        loss = FeatureAlignmentLoss({"t": "s"}, [8], [8])(features({"s": student}, {"t": teacher}))
        assert loss.item() == pytest.approx(np.mean((student.numpy() - normalised(teacher)) ** 2), rel=1e-4)

    def test_it_projects_the_student_to_the_teachers_width(self):
        loss = FeatureAlignmentLoss({"t": "s"}, [6], [4])
        (projection,) = loss.projections
        student, teacher = torch.randn(2, 4, 3, 3), torch.randn(2, 6, 3, 3)
        weight, bias = projection.weight.detach().numpy()[:, :, 0, 0], projection.bias.detach().numpy()
        projected = np.einsum("ts,bshw->bthw", weight, student.numpy()) + bias[:, None, None]
        expected = np.mean((projected - normalised(teacher)) ** 2)
        assert loss(features({"s": student}, {"t": teacher})).item() == pytest.approx(expected, rel=1e-4)

    def test_it_averages_the_pairs_each_with_its_own_projection(self):
        pairs = {"t1": "s1", "t2": "s2"}
        both = FeatureAlignmentLoss(pairs, [6, 8], [4, 8])
        student = {"s1": torch.randn(1, 4, 2, 2), "s2": torch.randn(1, 8, 4, 4)}
        teacher = {"t2": torch.randn(1, 8, 4, 4), "t1": torch.randn(1, 6, 2, 2)}
        alone = []
        for index, (theirs, ours) in enumerate(pairs.items()):
            loss = FeatureAlignmentLoss({theirs: ours}, [[6, 8][index]], [[4, 8][index]])
            loss.projections[0] = both.projections[index]
            alone.append(loss(features(student, teacher)).item())
        assert alone[0] != pytest.approx(alone[1])
        assert both(features(student, teacher)).item() == pytest.approx(np.mean(alone), rel=1e-5)

    def test_it_ignores_scale_and_offset_of_the_teacher(self):
        loss = FeatureAlignmentLoss({"t": "s"}, [8], [8])
        student, teacher = {"s": torch.randn(2, 8, 4, 4)}, torch.randn(2, 8, 4, 4)
        scaled = loss(features(student, {"t": 300 * teacher - 50}))
        assert_close(scaled, loss(features(student, {"t": teacher})), rtol=1e-3, atol=1e-4)

    def test_it_resamples_the_teacher_to_the_students_grid(self):
        """Halving a grid with antialiasing averages it with a triangle of four places: 1, 3, 3, 1."""
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
        FeatureAlignmentLoss({"t": "s"}, [8], [8])(features({"s": student}, {"t": teacher})).backward()
        assert student.grad[:, :, 1:-1, 1:-1].abs().max() < 2e-3 * student.grad.abs().max()

    def test_it_is_zero_only_where_the_student_has_the_normalised_features(self):
        teacher = torch.randn(1, 8, 4, 4)
        exact = torch.from_numpy(normalised(teacher)).float()
        loss = FeatureAlignmentLoss({"t": "s"}, [8], [8])
        assert loss(features({"s": exact}, {"t": teacher})).item() < 1e-6
        assert loss(features({"s": exact.flip(3)}, {"t": teacher})).item() > 0.1

    def test_distilled_features_receive_gradient_and_the_teacher_none(self):
        loss = FeatureAlignmentLoss({"t": "s", "u": "v"}, [6, 4], [4, 4])
        student = {"s": leaf(1, 4, 4, 4), "v": leaf(1, 4, 2, 2)}
        teacher = {"t": leaf(1, 6, 2, 2), "u": leaf(1, 4, 2, 2)}
        loss(features(student, teacher)).backward()
        assert all(feature.grad.any() for feature in student.values())
        assert all(p.grad.any() for p in loss.projections[0].parameters())
        assert all(feature.grad is None for feature in teacher.values())
        assert isinstance(loss.projections[1], nn.Identity)

    def test_widths_are_seen_on_the_networks(self):
        teacher = FeatureHooks(nn.Sequential(nn.Conv2d(1, 6, 4, stride=4), nn.ReLU()), ["0", "1"])
        student = FeatureHooks(nn.Sequential(nn.Conv2d(1, 4, 4, stride=4), nn.Conv2d(4, 6, 1)), ["0", "1"])
        loss = FeatureAlignmentLoss.between(teacher, student, {"0": "0", "1": "1"}, (1, 16, 24))
        assert loss.projections[0].weight.shape == (6, 4, 1, 1)
        assert isinstance(loss.projections[1], nn.Identity)

    def test_other_pairs_of_the_same_widths_are_another_setting(self):
        """A training that compares other layers is not the one that is resumed."""
        one, other = (FeatureAlignmentLoss({"t": ours}, [4], [4]) for ours in ("a", "b"))
        assert plain_settings(one) != plain_settings(other)
        assert plain_settings(one) == plain_settings(FeatureAlignmentLoss({"t": "a"}, [4], [4]))

    def test_no_pairs_are_refused(self):
        with pytest.raises(ValueError, match="pairs must name at least one"):
            FeatureAlignmentLoss({}, [], [])

    def test_widths_that_do_not_match_the_pairs_are_refused(self):
        with pytest.raises(ValueError, match="got 1 pairs, 2 teacher widths and 1 student widths"):
            FeatureAlignmentLoss({"t": "s"}, [4, 4], [4])


class TestLogits:
    @pytest.mark.parametrize("temperature", [0.5, 1, 4])
    def test_the_loss_is_the_scaled_divergence_from_teacher_to_student(self, temperature):
        student, teacher = 3 * torch.randn(2, 3, 4, 5), 3 * torch.randn(2, 3, 4, 5)
        p = softmax(teacher.double().numpy() / temperature, axis=1)
        q = softmax(student.double().numpy() / temperature, axis=1)
        expected = rel_entr(p, q).sum(axis=1).mean() * temperature**2
        assert LogitDistillationLoss(temperature)(logits(student, teacher)).item() == pytest.approx(expected, rel=1e-4)

    def test_it_is_zero_for_equal_distributions_and_ignores_what_a_softmax_ignores(self):
        loss = LogitDistillationLoss()
        student, teacher = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
        assert loss(logits(teacher + 5, teacher)).item() == pytest.approx(0, abs=1e-6)
        shift = torch.randn(1, 1, 4, 4)
        shifted = loss(logits(student + shift, teacher))
        assert_close(shifted, loss(logits(student, teacher - shift)), rtol=1e-4, atol=1e-6)

    def test_the_gradient_keeps_its_size_as_the_temperature_grows(self):
        teacher = torch.randn(1, 3, 4, 4)
        sizes = []
        for temperature in (20, 40):
            student = torch.zeros(1, 3, 4, 4, requires_grad=True)
            LogitDistillationLoss(temperature)(logits(student, teacher)).backward()
            sizes.append(student.grad.norm().item())
        assert sizes[0] == pytest.approx(sizes[1], rel=0.05)

    def test_the_gradient_reaches_the_student_and_not_the_teacher(self):
        student, teacher = leaf(1, 3, 4, 4), leaf(1, 3, 4, 4)
        LogitDistillationLoss()(logits(student, teacher)).backward()
        assert student.grad.any()
        assert teacher.grad is None

    @pytest.mark.parametrize("temperature", [0, -1])
    def test_the_temperature_must_be_positive(self, temperature):
        with pytest.raises(ValueError, match=f"temperature must be positive and finite, got {temperature}"):
            LogitDistillationLoss(temperature)


def cross_entropy(student: Tensor, label: Tensor) -> Tensor:
    return nn.functional.cross_entropy(student, label[:, 0].long())


class TestLabels:
    @pytest.fixture
    def batch(self) -> DistillationOutputs:
        label, labelled = torch.randint(3, (4, 1, 8, 8)), torch.tensor([True, False, True, False])
        return logits(leaf(4, 3, 8, 8), label=label, labelled=labelled)

    def test_labelled_images_alone_have_a_loss(self, batch):
        chosen = [0, 2]
        logs = log_softmax(batch.student_logits.detach().double().numpy()[chosen], axis=1)
        picked = np.take_along_axis(logs, batch.label.numpy()[chosen], axis=1)
        assert SupervisedLoss(cross_entropy)(batch).item() == pytest.approx(-picked.mean() * 2 / 4, rel=1e-5)

    def test_each_labelled_image_weighs_the_same_in_whatever_batch_it_comes(self, batch):
        """The mean over two batches is that over both at once, however many labels each of them has."""
        batch.labelled[:] = torch.tensor([True, True, False, True])
        loss = SupervisedLoss(cross_entropy)
        halves = [
            logits(batch.student_logits[half], label=batch.label[half], labelled=batch.labelled[half])
            for half in (slice(0, 2), slice(2, 4))
        ]
        assert_close((loss(halves[0]) + loss(halves[1])) / 2, loss(batch))

    def test_labels_of_unlabelled_images_do_not_matter(self, batch):
        before = SupervisedLoss(cross_entropy)(batch)
        batch.label[1::2] = 250  # no class at all
        assert torch.equal(SupervisedLoss(cross_entropy)(batch), before)

    def test_the_gradient_reaches_labelled_images_alone(self, batch):
        SupervisedLoss(cross_entropy)(batch).backward()
        assert torch.equal(batch.student_logits.grad.flatten(1).any(1), batch.labelled)

    def test_a_batch_without_labels_has_no_loss_but_still_a_gradient(self, batch):
        """As every rank must have one."""
        batch.labelled[:] = False
        loss = SupervisedLoss(cross_entropy)(batch)
        loss.backward()
        assert loss.item() == 0
        assert not batch.student_logits.grad.any()

    @pytest.mark.parametrize("together", [False, True])
    def test_monais_losses_fit(self, together, batch):
        loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=together)
        batch.labelled[:] = True
        assert torch.equal(SupervisedLoss(loss)(batch), loss(batch.student_logits, batch.label))
        batch.labelled[1::2] = False
        assert_close(SupervisedLoss(loss)(batch), loss(batch.student_logits[::2], batch.label[::2]) / 2)


class TestPadding:
    """Padded pixels have no error, whatever the student, the teacher and the label say there."""

    def test_features(self):
        student, teacher = leaf(2, 4, 4, 8), torch.randn(2, 4, 4, 8)
        loss = FeatureAlignmentLoss({"t": "s"}, [4], [4])
        found = loss(features({"s": student}, {"t": teacher}, half_inside(2, 32, 64)))
        found.backward()
        errors = (student.detach().numpy() - normalised(teacher)) ** 2
        assert found.item() == pytest.approx(errors[..., :4].mean() / 2, rel=1e-4)
        assert not student.grad[..., 4:].any()

    def test_features_at_the_border_count_by_their_share_of_pixels_inside(self):
        student, teacher = torch.randn(1, 4, 1, 2), torch.randn(1, 4, 1, 2)
        inside = torch.ones(1, 1, 4, 8)
        inside[..., 5:] = 0
        errors = ((student.numpy() - normalised(teacher)) ** 2).mean(axis=(0, 1, 2))
        found = FeatureAlignmentLoss({"t": "s"}, [4], [4])(features({"s": student}, {"t": teacher}, inside))
        assert found.item() == pytest.approx((errors[0] + errors[1] / 4) / 2, rel=1e-3)

    def test_logits(self):
        student, teacher = leaf(2, 3, 4, 8), torch.randn(2, 3, 4, 8)
        found = LogitDistillationLoss()(logits(student, teacher, half_inside(2, 4, 8)))
        found.backward()
        alone = LogitDistillationLoss()(logits(student[..., :4], teacher[..., :4]))
        assert found.item() == pytest.approx(alone.item() / 2, rel=1e-5)
        assert not student.grad[..., 4:].any()

    @pytest.mark.parametrize("background", [0, 2])
    def test_labels(self, background):
        """Overlap is that of the inside; a mean over pixels goes over all of them, so that each weighs the same."""
        student = leaf(2, 3, 4, 8)
        label = torch.randint(3, (2, 1, 4, 8))
        label[..., 4:] = background
        batch = logits(student, None, half_inside(2, 4, 8), label=label, labelled=torch.tensor([True, True]))
        inside = logits(student[..., :4], label=label[..., :4], labelled=batch.labelled)
        found = SupervisedLoss(cross_entropy)(batch)
        assert found.item() == pytest.approx(SupervisedLoss(cross_entropy)(inside).item() / 2, rel=1e-5)
        found.backward()
        assert not student.grad[..., 4:].any()
        dice = SupervisedLoss(DiceLoss(softmax=True, to_onehot_y=True, include_background=False))
        if background == 0:
            assert_close(dice(batch), dice(inside))

    def test_images_without_any_have_the_losses_of_all_pixels(self):
        """Bit for bit: no map of the inside changes what it does not exclude."""
        student, teacher, label = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.randint(3, (2, 1, 4, 4))
        batch = logits(student, teacher, label=label, labelled=torch.tensor([True, True]))
        divergence = nn.functional.kl_div(
            (student / 2).log_softmax(1), (teacher / 2).log_softmax(1), reduction="none", log_target=True
        )
        assert torch.equal(LogitDistillationLoss(2)(batch), divergence.sum(1).mean() * 4)
        assert torch.equal(SupervisedLoss(cross_entropy)(batch), cross_entropy(student, label))
        wanted = nn.functional.layer_norm(teacher.movedim(1, -1), (3,)).movedim(-1, 1)
        alignment = FeatureAlignmentLoss({"t": "s"}, [3], [3])(features({"s": student}, {"t": teacher}))
        assert torch.equal(alignment, nn.functional.mse_loss(student, wanted))
