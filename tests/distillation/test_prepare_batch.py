"""Distillation by MONAI's own trainer: the student comes to match a teacher that stays as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from distilling import make_trainer, record
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.networks.nets import UNet
from monai.utils.enums import CommonKeys as Keys
from torch import nn
from torch.testing import assert_close

from common.distillation.batch_outputs import DistillationOutputs
from common.distillation.feature_hooks import FeatureHooks
from common.distillation.frozen_teacher import FrozenTeacher
from common.distillation.losses import LogitDistillationLoss
from common.distillation.prepare_batch import PrepareBatchDistillation
from common.students.pretrainable import StudentEncoder

PAIRS = {"encoder.neck": "model.1.submodule.1.submodule", "encoder.layers.0": "model.0"}


@pytest.fixture
def teacher(make_teacher) -> nn.Module:
    return make_teacher(input_scale=2)


@pytest.fixture
def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(spatial_dims=2, in_channels=3, out_channels=2, channels=(8, 16, 24), strides=(2, 2))


@pytest.fixture
def batches() -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 3, 32, 32, generator=generator)
    return [
        {
            "image": each,
            "label": (each[:, :1] > 0.5).float(),
            "labelled": torch.tensor([True, False, True]),
            "inside": torch.ones(3, 1, 32, 32),
        }
        for each in images
    ]


def trainer_of(teacher, unet, batches, **changes) -> SupervisedTrainer:
    return make_trainer(teacher, unet, batches, PAIRS, **changes)


def wanted_and_given(teacher: nn.Module, student: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return [copy.deepcopy(teacher).eval()(images), copy.deepcopy(student).train()(images)]


class TestTargets:
    """What the trainer is given for a batch."""

    @pytest.fixture
    def prepare(self, teacher) -> PrepareBatchDistillation:
        return PrepareBatchDistillation(FrozenTeacher(FeatureHooks(teacher, ["encoder.neck"])))

    def test_a_batch_without_the_teachers_outputs_gets_them_live(self, prepare, teacher, batches):
        images, targets = prepare(batches[0], torch.device("cpu"))
        assert torch.equal(images, batches[0]["image"])
        assert_close(targets.teacher_logits, teacher(images))
        assert targets.teacher_features["encoder.neck"].shape == (3, 32, 4, 4)
        assert torch.equal(targets.label, batches[0]["label"])
        assert torch.equal(targets.labelled, batches[0]["labelled"])
        assert targets.student_logits is None

    def test_a_batch_with_them_does_not_run_the_teacher(self, prepare, teacher, batches, monkeypatch):
        monkeypatch.setattr(teacher, "forward", lambda images: pytest.fail("the teacher ran"))
        outputs = {"teacher_logits": torch.rand(3, 2, 32, 32), "teacher.encoder.neck": torch.rand(3, 32, 2, 2)}
        _, targets = prepare({**batches[0], **outputs}, torch.device("cpu"))
        assert targets.teacher_logits is outputs["teacher_logits"]
        assert targets.teacher_features == {"encoder.neck": outputs["teacher.encoder.neck"]}

    def test_logits_alone_are_outputs_too(self, teacher, batches, monkeypatch):
        monkeypatch.setattr(teacher, "forward", lambda images: pytest.fail("the teacher ran"))
        prepare = PrepareBatchDistillation(FrozenTeacher(FeatureHooks(teacher, [])))
        logits = torch.rand(3, 2, 32, 32)
        _, targets = prepare({**batches[0], "teacher_logits": logits}, torch.device("cpu"))
        assert targets.teacher_logits is logits
        assert targets.teacher_features == {}

    def test_images_alone_are_enough(self, prepare, batches):
        _, targets = prepare({"image": batches[0]["image"]}, torch.device("cpu"))
        assert targets.label is targets.labelled is None
        assert torch.equal(targets.inside, torch.ones(3, 1, 32, 32))
        assert targets.image_size == (32, 32)

    def test_padded_pixels_are_those_of_the_batch(self, prepare, batches):
        batches[0]["inside"][:, :, :5] = 0
        assert torch.equal(prepare(batches[0], torch.device("cpu"))[1].inside, batches[0]["inside"])

    def test_images_get_the_memory_format(self, prepare, batches):
        images, _ = prepare(batches[0], torch.device("cpu"), memory_format=torch.channels_last)
        assert images.is_contiguous(memory_format=torch.channels_last)


class TestTraining:
    def test_distils_into_a_monai_unet_by_layer_names(self, teacher, unet, batches):
        options = {"optimizer": torch.optim.Adam, "learning_rate": 5e-3, "weights": {"supervised": None}}
        trainer = trainer_of(teacher, unet, batches[:1], epochs=30, **options)
        history = record(trainer)
        trainer.run()
        assert len(history) == 30
        assert history[-1]["logits"] < 0.5 * history[0]["logits"]
        assert history[-1]["features"] < 0.8 * history[0]["features"]
        assert history[-1]["loss"] < 0.7 * history[0]["loss"]

    def test_the_teacher_stays_as_it_is(self, teacher, unet, batches):
        before = {name: value.clone() for name, value in teacher.state_dict().items()}
        trainer_of(teacher, unet, batches, epochs=2).run()
        assert not any(module.training for module in teacher.modules())
        assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
        for name, value in teacher.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_student_and_projections_are_trained(self, teacher, unet, batches):
        trainer = trainer_of(teacher, unet, batches, optimizer=torch.optim.Adam)
        trained = {**dict(unet.named_parameters()), **dict(trainer.loss_function.named_parameters())}
        before = {name: value.detach().clone() for name, value in trained.items()}
        trainer.run()
        assert sum("projections" in name for name in trained) == 4  # two pairs, weight and bias
        assert [name for name, value in trained.items() if torch.equal(value, before[name])] == []

    def test_every_iterations_output_has_the_loss_and_the_loss_has_its_terms(self, teacher, unet, batches):
        weights = {"features": 0.3, "logits": 2, "supervised": 0.7}
        trainer = trainer_of(teacher, unet, batches, weights=weights)
        history = record(trainer)
        trainer.run()
        assert len(history) == 2
        for terms in history:
            weighted = sum(weight * terms[name] for name, weight in weights.items())
            assert terms["loss"] == pytest.approx(weighted, rel=1e-5)
            assert min(terms.values()) > 0
        output = trainer.state.output
        assert torch.equal(output[Keys.IMAGE], batches[1]["image"])
        assert isinstance(output[Keys.LABEL], DistillationOutputs)
        assert output[Keys.PRED].shape == (3, 2, 32, 32)

    def test_terms_compare_the_networks_on_the_batch_at_hand(self, teacher, unet, batches):
        trainer = trainer_of(teacher, unet, batches[:1])
        wanted, given = wanted_and_given(teacher, unet, batches[0]["image"])
        labelled = batches[0]["labelled"]
        history = record(trainer)
        trainer.run()
        ones = torch.ones(3, 1, 32, 32)
        divergence = LogitDistillationLoss()(
            DistillationOutputs(student_logits=given, teacher_logits=wanted, inside=ones)
        )
        assert history[0]["logits"] == pytest.approx(divergence.item(), rel=1e-4)
        label = batches[0]["label"][labelled, 0].long()
        supervised = nn.functional.cross_entropy(given[labelled], label).item() * 2 / 3
        assert history[0]["supervised"] == pytest.approx(supervised, rel=1e-4)

    def test_batches_without_any_label_are_distilled_too(self, teacher, unet, batches):
        batches[0]["labelled"][:] = False
        trainer = trainer_of(teacher, unet, batches[:1])
        history = record(trainer)
        trainer.run()
        assert history[0]["supervised"] == 0
        assert history[0]["loss"] > 0

    def test_the_student_trains_even_if_a_handler_put_it_into_eval_mode(self, teacher, unet, batches):
        trainer = trainer_of(teacher, unet, batches)
        modes = []
        trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: unet.eval())
        trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, lambda engine: modes.append(unet.training))
        trainer.run()
        assert modes == [True, True]

    def test_gradients_do_not_pile_up_over_iterations(self, teacher, unet, batches):
        sizes = []
        for repeats in (1, 3):
            trainer_of(teacher, unet, batches[:1] * repeats, learning_rate=0).run()
            sizes.append(unet.model[0].conv.weight.grad.clone())
        assert_close(sizes[0], sizes[1], rtol=1e-4, atol=1e-6)

    def test_four_accumulated_batches_are_one_step_of_a_batch_four_times_as_large(self, teacher, unet):
        """Projections included, though the batches have different numbers of labels and of padded pixels."""
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(8, 3, 32, 32, generator=generator)
        inside = torch.ones(8, 1, 32, 32)
        inside[1, :, :10] = inside[6, :, :, 20:] = 0
        whole = {
            "image": images,
            "label": (images[:, :1] > 0.5).float(),
            "labelled": torch.tensor([True, True, False, False, True, False, True, True]),
            "inside": inside,
        }
        quarters = [{key: value[start : start + 2] for key, value in whole.items()} for start in range(0, 8, 2)]
        found, steps = [], []
        for batches, accumulation_steps in (([whole], 1), (quarters, 4)):
            network = copy.deepcopy(unet)
            trainer = trainer_of(teacher, network, batches, accumulation_steps=accumulation_steps)
            step = trainer.optimizer.step
            count = steps.append
            trainer.optimizer.step = lambda step=step, count=count: (count(1), step())
            trainer.run()
            found.append({**network.state_dict(), **trainer.loss_function.state_dict()})
        assert len(steps) == 2, "one for each"
        assert sum("projections" in name for name in found[0]) == 4
        assert not torch.equal(found[0]["model.0.conv.weight"], unet.state_dict()["model.0.conv.weight"])
        for name, value in found[0].items():
            assert_close(found[1][name], value, rtol=1e-4, atol=1e-6, msg=name)

    def test_a_layer_that_the_student_does_not_have_is_named(self, teacher, unet, batches):
        with pytest.raises(ValueError, match=r"UNet has no layer 'encoder\.norm'"):
            make_trainer(teacher, unet, batches, {"encoder.neck": "encoder.norm"})

    def test_a_validation_between_two_steps_changes_nothing(self, teacher, unet, batches):
        """Hooks see its images too."""
        found = []
        for validates in (False, True):
            network = copy.deepcopy(unet)
            trainer = trainer_of(teacher, network, batches)
            if validates:
                trainer.add_event_handler(
                    Events.ITERATION_STARTED,
                    lambda engine, network=network: network.eval()(torch.rand(1, 3, 64, 64)),
                )
            history = record(trainer)
            trainer.run()
            found.append(history)
        assert found[0] == found[1]


class TestFeaturesAlone:
    """As task_agnostic_kd compares them: the encoder of a student, without logits and without labels."""

    WEIGHTS = {"logits": None, "supervised": None}  # noqa: RUF012 not to be changed

    def test_what_nothing_asks_for_stays_as_it_is(self, teacher, student, batches):
        images = [{"image": batch["image"]} for batch in batches]
        before = {name: value.clone() for name, value in student.state_dict().items()}
        encoder = StudentEncoder(student)
        pairs = {"encoder.neck": "encoder.norm"}
        trainer = make_trainer(teacher, student, images, pairs, network=encoder, weights=self.WEIGHTS, epochs=5)
        history = record(trainer)
        trainer.run()
        assert history[-1]["features"] < history[0]["features"]
        assert history[0].keys() == {"loss", "features"}
        changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {name for name in before if name.startswith("encoder.")}
