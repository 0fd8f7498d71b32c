"""The distillation loss is whatever terms a config names."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from common.distillation.batch_outputs import DistillationOutputs
from common.distillation.feature_hooks import FeatureHooks
from common.distillation.losses import FeatureAlignmentLoss, LogitDistillationLoss, SupervisedLoss
from common.distillation.terms import DistillationLoss


class Student(nn.Module):
    """A network of two layers, whose first one is compared."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 5, 2, stride=2)
        self.head = nn.ConvTranspose2d(5, 3, 2, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stem(images))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def targets() -> DistillationOutputs:
    generator = torch.Generator().manual_seed(1)
    return DistillationOutputs(
        teacher_logits=torch.randn(4, 3, 8, 8, generator=generator).requires_grad_(),
        teacher_features={"t": torch.randn(4, 6, 4, 4, generator=generator).requires_grad_()},
        label=torch.randint(3, (4, 1, 8, 8), generator=generator),
        labelled=torch.tensor([True, False, True, False]),
        inside=torch.ones(4, 1, 8, 8),
    )


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, label[:, 0].long())


def make_loss(student: nn.Module, **weights: float) -> DistillationLoss:
    torch.manual_seed(1)
    losses = {
        "features": FeatureAlignmentLoss({"t": "stem"}, [6], [5]),
        "logits": LogitDistillationLoss(3),
        "supervised": SupervisedLoss(cross_entropy),
    }
    terms = {name: {"loss": loss, "weight": weights.get(name, 1)} for name, loss in losses.items()}
    return DistillationLoss(terms, FeatureHooks(student, ["stem"]))


def test_it_is_the_weighted_sum_of_its_terms_which_are_kept(images, targets):
    student = Student()
    loss = make_loss(student, features=0.5, logits=2, supervised=3)
    total = loss(student(images), targets)
    outputs = replace(targets, student_logits=student(images), student_features={"stem": student.stem(images)})
    expected = {name: term.loss(outputs).item() for name, term in loss.terms.items()}
    found = {name: value.item() for name, value in loss.last_terms.items()}
    assert found == pytest.approx(expected, rel=1e-6)
    weighted = 0.5 * found["features"] + 2 * found["logits"] + 3 * found["supervised"]
    assert total.item() == pytest.approx(weighted, rel=1e-6)
    assert not any(value.requires_grad for value in loss.last_terms.values())


def test_gradient_reaches_student_and_projections_and_never_the_teacher(images, targets):
    student = Student()
    loss = make_loss(student)
    loss(student(images), targets).backward()
    assert all(p.grad.any() for p in [*student.parameters(), *loss.parameters()])
    assert targets.teacher_logits.grad is None
    assert targets.teacher_features["t"].grad is None


def test_its_parameters_are_the_projections_and_none_of_the_students():
    loss = make_loss(Student())
    projections = loss.terms["features"].loss.projections
    assert {id(p) for p in loss.parameters()} == {id(p) for p in projections.parameters()}


def test_a_term_of_weight_zero_is_not_computed(images, targets):
    student = Student()
    loss = make_loss(student, features=0, supervised=0)
    loss(student(images), replace(targets, teacher_features={}, label=None, labelled=None)).backward()
    assert loss.last_terms.keys() == {"logits"}
    assert all(p.grad is None for p in loss.parameters())


def test_a_batch_without_labels_has_a_gradient_of_nothing_but_labels(images, targets):
    """As every rank must have one."""
    student = Student()
    loss = make_loss(student, features=0, logits=0)
    targets.labelled[:] = False
    loss(student(images), targets).backward()
    assert loss.last_terms["supervised"].item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in student.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_computes_in_single_precision_under_autocast_too(dtype, images, targets):
    """What the networks put out is rounded, and nothing after it."""
    student = Student()
    rounded = replace(
        targets,
        teacher_logits=targets.teacher_logits.to(dtype),
        teacher_features={"t": targets.teacher_features["t"].to(dtype)},
    )
    with torch.autocast("cpu", dtype=dtype):
        logits = student(images)
        features = student.stem(images)
        loss = make_loss(student)
        student(images)
        total = loss(logits, rounded)
    assert logits.dtype == features.dtype == dtype
    exact = replace(rounded, student_logits=logits, student_features={"stem": features}).in_single_precision()
    assert total.dtype == torch.float32
    expected = sum(term.loss(exact) for term in make_loss(student).terms.values())
    assert torch.equal(total, expected)


def test_weights_can_be_told_apart_when_a_training_is_resumed():
    """A checkpoint compares the plain attributes of the modules of a loss."""
    loss = make_loss(Student(), supervised=2)
    assert dict(loss.named_modules())["terms.supervised"].weight == 2
    assert loss.term_names == ("features", "logits", "supervised")


@pytest.mark.parametrize("weights", [{"features": -1}, {"logits": -0.1}, {"features": 0, "logits": 0, "supervised": 0}])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(
        ValueError, match=r"weights of terms must be finite, not negative and not all zero, got \{'features'"
    ):
        make_loss(Student(), **weights)


def test_no_terms_are_refused():
    with pytest.raises(ValueError, match=r"not all zero, got {}"):
        DistillationLoss({"logits": None}, FeatureHooks(Student(), []))


# By config alone

CONFIG = {
    "student": {"_target_": f"{__name__}.Student"},
    "hooks": {
        "_target_": "common.distillation.feature_hooks.FeatureHooks",
        "network": "@student",
        "layers": "$['stem']",
    },
    "loss": {
        "_target_": "common.distillation.terms.DistillationLoss",
        "student_hooks": "@hooks",
        "terms": {
            "logits": {"weight": 1, "loss": {"_target_": "common.distillation.losses.LogitDistillationLoss"}},
            "supervised": {
                "weight": 2,
                "loss": {
                    "_target_": "common.distillation.losses.SupervisedLoss",
                    "loss": {"_target_": "DiceCELoss", "softmax": True, "to_onehot_y": True},
                },
            },
        },
    },
}


class Entropy(nn.Module):
    """A term that the project does not have: the student's own uncertainty, scaled."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, outputs: DistillationOutputs) -> Tensor:
        logs = outputs.student_logits.log_softmax(1)
        return -self.scale * (logs.exp() * logs).sum(1).mean()


def parse(**changes: Any) -> tuple[nn.Module, DistillationLoss]:
    parser = ConfigParser(copy.deepcopy(CONFIG))  # which changes would be written into
    parser.update(changes)
    return parser.get_parsed_content("student"), parser.get_parsed_content("loss")


def test_a_further_term_is_an_entry_of_the_config(images, targets):
    """By its class alone: nothing in the project knows of it."""
    student, loss = parse()
    before = loss(student(images), targets).item()
    entry = {"weight": 0.25, "loss": {"_target_": f"{__name__}.Entropy", "scale": 2}}
    student, loss = parse(**{"loss::terms::entropy": entry})
    after = loss(student(images), targets).item()
    assert list(loss.last_terms) == ["logits", "supervised", "entropy"]
    assert loss.last_terms["entropy"].item() > 0
    assert after == pytest.approx(before + 0.25 * loss.last_terms["entropy"].item(), rel=1e-5)


def test_null_removes_a_term_and_a_weight_is_a_key(images, targets):
    student, loss = parse(**{"loss::terms::supervised": None, "loss::terms::logits::weight": 5})
    total = loss(student(images), targets)
    assert list(loss.last_terms) == ["logits"]
    assert total.item() == pytest.approx(5 * loss.last_terms["logits"].item(), rel=1e-6)
