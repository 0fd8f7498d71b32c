"""Distillation: the student comes to match a teacher that stays as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from monai.inferers import SimpleInferer
from monai.networks.nets import UNet
from monai.utils.enums import CommonKeys as Keys
from torch import nn
from torch.testing import assert_close

from common.distillation.features import FeatureTaps
from common.distillation.losses import FeatureAlignmentLoss, LogitDistillationLoss
from common.distillation.methods.masked_autoencoder import prepare_images
from common.distillation.methods.momentum_contrast import prepare_crops
from common.distillation.terms import DistillationLoss
from common.distillation.trainers import DistillationTrainer, FeatureDistillationTrainer
from common.teachers.sam import SamTeacher

PAIRS = {"encoder.neck": "model.1.submodule.1.submodule", "encoder.layers.0": "model.0"}
TERMS = ("loss", "feature_loss", "logit_loss", "supervised_loss")


@pytest.fixture(scope="module")
def pristine_teacher(tiny_sam_folder) -> SamTeacher:
    return SamTeacher(tiny_sam_folder, num_classes=2).train()


@pytest.fixture
def teacher(pristine_teacher) -> SamTeacher:
    return copy.deepcopy(pristine_teacher)


@pytest.fixture
def student() -> UNet:
    torch.manual_seed(0)
    return UNet(spatial_dims=2, in_channels=3, out_channels=2, channels=(8, 16, 24), strides=(2, 2))


@pytest.fixture
def batches() -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 3, 64, 64, generator=generator)
    labelled = torch.tensor([True, False, True])
    return [{Keys.IMAGE: x, Keys.LABEL: (x[:, :1] > 0.5).float(), "labelled": labelled} for x in images]


def make_trainer(teacher, student, batches, epochs=1, **weights) -> DistillationTrainer:
    torch.manual_seed(1)
    loss = DistillationLoss(
        FeatureAlignmentLoss.between(teacher, student, PAIRS, (3, 64, 64)),
        LogitDistillationLoss(),
        lambda logits, label: nn.functional.cross_entropy(logits, label[:, 0].long()),
        **weights,
    )
    return DistillationTrainer(
        teacher=teacher,
        network=student,
        loss_function=loss,
        optimizer=torch.optim.Adam([*student.parameters(), *loss.parameters()], lr=5e-3),
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=batches,
        inferer=SimpleInferer(),
        decollate=False,
    )


def record(trainer: DistillationTrainer) -> list[dict[str, float]]:
    history = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: history.append({name: engine.state.output[name].item() for name in TERMS}),
    )
    return history


def test_distils_into_a_monai_unet_by_layer_names(teacher, student, batches):
    trainer = make_trainer(teacher, student, batches[:1], epochs=30, supervised_weight=0)
    history = record(trainer)
    trainer.run()
    assert len(history) == 30
    assert history[-1]["logit_loss"] < 0.5 * history[0]["logit_loss"]
    assert history[-1]["feature_loss"] < 0.8 * history[0]["feature_loss"]
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]


def test_teacher_stays_as_it_is(teacher, student, batches):
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    trainer = make_trainer(teacher, student, batches, epochs=2)
    trainer.run()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_student_and_projections_are_trained(teacher, student, batches):
    trainer = make_trainer(teacher, student, batches)
    trained = {**dict(student.named_parameters()), **dict(trainer.loss_function.named_parameters())}
    before = {name: value.detach().clone() for name, value in trained.items()}
    trainer.run()
    assert sum("projections" in name for name in trained) == 4  # two pairs, weight and bias
    unchanged = [name for name, value in trained.items() if torch.equal(value, before[name])]
    assert unchanged == []


def test_every_iterations_output_has_the_loss_and_its_terms(teacher, student, batches):
    trainer = make_trainer(teacher, student, batches, feature_weight=0.3, logit_weight=2, supervised_weight=0.7)
    history = record(trainer)
    trainer.run()
    assert len(history) == 2
    for terms in history:
        weighted = 0.3 * terms["feature_loss"] + 2 * terms["logit_loss"] + 0.7 * terms["supervised_loss"]
        assert terms["loss"] == pytest.approx(weighted, rel=1e-5)
        assert min(terms.values()) > 0
    output = trainer.state.output
    assert torch.equal(output[Keys.IMAGE], batches[1][Keys.IMAGE])
    assert torch.equal(output[Keys.LABEL], batches[1][Keys.LABEL])
    assert output[Keys.PRED].shape == (3, 2, 64, 64)


def test_terms_compare_the_networks_on_the_batch_at_hand(teacher, student, batches):
    trainer = make_trainer(teacher, student, batches[:1])
    images, labelled = batches[0][Keys.IMAGE], batches[0]["labelled"]
    with torch.no_grad():
        wanted, given = copy.deepcopy(teacher)(images), copy.deepcopy(student).train()(images)
    label = batches[0][Keys.LABEL][labelled, 0].long()
    history = record(trainer)
    trainer.run()
    assert history[0]["logit_loss"] == pytest.approx(LogitDistillationLoss()(given, wanted).item(), rel=1e-4)
    supervised = nn.functional.cross_entropy(given[labelled], label).item()
    assert history[0]["supervised_loss"] == pytest.approx(supervised, rel=1e-4)


def test_batches_without_any_label_are_distilled_too(teacher, student, batches):
    batches[0]["labelled"][:] = False
    trainer = make_trainer(teacher, student, batches[:1])
    history = record(trainer)
    trainer.run()
    assert history[0]["supervised_loss"] == 0
    assert history[0]["loss"] > 0


def test_student_trains_even_if_a_handler_put_it_into_eval_mode(teacher, student, batches):
    trainer = make_trainer(teacher, student, batches)
    modes = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: student.eval())
    trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, lambda engine: modes.append(student.training))
    trainer.run()
    assert modes == [True, True]


def test_gradients_do_not_pile_up_over_iterations(teacher, student, batches):
    sizes = []
    for repeats in (1, 3):
        trainer = make_trainer(teacher, student, batches[:1] * repeats)
        trainer.optimizer.param_groups[0]["lr"] = 0
        trainer.run()
        sizes.append(student.model[0].conv.weight.grad.clone())
    assert_close(sizes[0], sizes[1], rtol=1e-4, atol=1e-6)


def test_monais_events_are_fired_in_monais_order(teacher, student, batches):
    trainer = make_trainer(teacher, student, batches[:1])
    fired = []
    expected = ["FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED"]
    for name in expected:
        trainer.add_event_handler(IterationEvents[name], lambda engine, name=name: fired.append(name))
    trainer.run()
    assert fired == expected


def test_layer_the_student_does_not_have_is_named(teacher, student, batches):
    trainer = make_trainer(teacher, student, batches)
    trainer.loss_function.features.pairs = {"encoder.neck": "encoder.norm"}
    with pytest.raises(ValueError, match=r"UNet has no layer 'encoder\.norm'"):
        DistillationTrainer(
            teacher=teacher,
            network=student,
            loss_function=trainer.loss_function,
            optimizer=trainer.optimizer,
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=batches,
        )


# Features alone


def make_feature_trainer(teacher, student, batches, epochs=1) -> FeatureDistillationTrainer:
    torch.manual_seed(1)
    loss = FeatureAlignmentLoss.between(teacher, student, PAIRS, (3, 64, 64))
    return FeatureDistillationTrainer(
        teacher=teacher,
        network=student,
        loss_function=loss,
        optimizer=torch.optim.Adam([*student.parameters(), *loss.parameters()], lr=5e-3),
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=batches,
        inferer=SimpleInferer(),
        decollate=False,
    )


def test_features_alone_are_compared_on_the_batch_at_hand(teacher, student, batches):
    trainer = make_feature_trainer(teacher, student, batches[:1])
    images = batches[0][Keys.IMAGE]
    networks = {
        network: FeatureTaps(network, layers)
        for network, layers in (
            (copy.deepcopy(teacher).eval(), PAIRS.keys()),
            (copy.deepcopy(student).train(), PAIRS.values()),
        )
    }
    with torch.no_grad():
        for network in networks:
            network(images)
        wanted, given = (taps.pop(images.shape[2:]) for taps in networks.values())
        expected = trainer.loss_function(given, wanted).item()
    trainer.run()
    assert trainer.state.output[Keys.LOSS].item() == pytest.approx(expected, rel=1e-4)


def test_features_alone_are_matched_without_logits_or_labels(teacher, student, batches):
    """The student's last layer, whose output nothing asks for, stays as it is."""
    images = [{Keys.IMAGE: batch[Keys.IMAGE]} for batch in batches]
    before = {name: value.clone() for name, value in student.state_dict().items()}
    trainer = make_feature_trainer(teacher, student, images, epochs=5)
    losses = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[Keys.LOSS].item())
    )
    trainer.run()
    assert losses[-1] < losses[0]
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith(("model.0.", "model.1.submodule.1."))} | {
        name for name in before if name.startswith("model.1.submodule.0.")
    }


# Batches


def test_images_are_input_and_target(batches):
    given, target = prepare_images(batches[0], torch.device("cpu"), memory_format=torch.channels_last)
    assert torch.equal(given, batches[0][Keys.IMAGE])
    assert target is given
    assert given.is_contiguous(memory_format=torch.channels_last)


def test_both_crops_are_inputs_and_their_image_the_target():
    batch = {"image": torch.rand(2, 3, 4, 4), "second_crop": torch.rand(2, 3, 4, 4), "image_id": torch.tensor([3, 9])}
    first, target, others, keywords = prepare_crops(batch, torch.device("cpu"), memory_format=torch.channels_last)
    assert torch.equal(first, batch["image"])
    assert torch.equal(others[0], batch["second_crop"])
    assert torch.equal(target, batch["image_id"])
    assert (len(others), keywords) == (1, {})
