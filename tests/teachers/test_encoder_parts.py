"""Encoders as parts: the first ones may stay as they are, and then what they make of an image is computed once."""

from __future__ import annotations

import pytest
import torch
from peft.tuners.lora import LoraLayer
from tiny_sam_format import make_checkpoint
from torch.testing import assert_close

from common.errors import InputError
from common.teachers import build_teacher
from common.teachers.base import Teacher
from common.teachers.encoder_parts import EncoderPart, PartMemory, is_within, run_parts
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora

IMAGES = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def lite_medsam_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("lite_medsam") / "lite_medsam.pth"
    torch.save(make_checkpoint(1), path)
    return path


@pytest.fixture(params=["sam", "tiny_sam"])
def teacher(request, tiny_sam_folder, lite_medsam_file) -> Teacher:
    return build_teacher({"sam": tiny_sam_folder, "tiny_sam": lite_medsam_file}[request.param], 3).eval()


@torch.no_grad()
def test_parts_one_after_the_other_are_the_encoder(teacher):
    assert len(teacher.encoder_parts()) > 2
    assert_close(run_parts(teacher.encoder_parts(), IMAGES), teacher.encode(IMAGES))


def test_every_weight_of_the_encoder_belongs_to_one_part(teacher):
    names = [name for name, _ in teacher.encoder.named_parameters() if name != "pos_embed"]
    for name in names:
        assert sum(is_within(name, [part]) for part in teacher.encoder_parts()) == 1, name


@torch.no_grad()
def test_a_teacher_whose_first_parts_stay_puts_out_the_same(teacher):
    expected = teacher(IMAGES)
    assert teacher.freeze_share(0.5) == len(teacher.encoder_parts()) // 2
    for _ in range(2):  # computed, then looked up
        assert_close(teacher(IMAGES), expected)


def test_no_gradient_reaches_what_stays_and_all_the_rest_has_one(teacher):
    teacher.freeze_share(0.5)
    teacher(IMAGES).square().sum().backward()
    for name, parameter in teacher.encoder.named_parameters():
        frozen = is_within(name, teacher.frozen_parts) or name == "pos_embed"
        assert (parameter.grad is None) == frozen, name


def test_a_share_that_is_none_is_refused(teacher):
    for share in (-0.1, 1):
        with pytest.raises(ValueError, match="frozen_share"):
            teacher.freeze_share(share)


@torch.no_grad()
def test_on_a_cpu_it_computes_in_bfloat16_where_it_is_told_to(teacher):
    dtypes = []
    layer = next(module for module in teacher.encoder.modules() if isinstance(module, torch.nn.Linear))
    layer.register_forward_hook(lambda _module, _inputs, output: dtypes.append(output.dtype))
    for teacher.bfloat16_on_cpu in (False, True):
        assert teacher(IMAGES).dtype == torch.float32
    assert dtypes == [torch.float32, torch.bfloat16]


class TestAdapters:
    def test_sit_on_what_does_not_stay_and_are_saved_and_loaded(self, teacher, tmp_path, train_a_little):
        network = add_lora(teacher, rank=2, frozen_share=0.5)
        adapted = [name for name, module in teacher.encoder.named_modules() if isinstance(module, LoraLayer)]
        assert adapted
        assert not any(is_within(name, teacher.frozen_parts) for name in adapted)
        train_a_little(network)
        save_teacher(network, tmp_path / "teacher")
        with torch.no_grad():
            loaded = load_teacher(tmp_path / "teacher")(IMAGES)  # merged, so rounded in another way
            assert_close(loaded, network.eval()(IMAGES), rtol=0, atol=1e-3)

    def test_where_none_could_sit_is_refused(self, teacher):
        share = 1 - 0.5 / len(teacher.encoder_parts())  # all but the neck, which is convolutions
        with pytest.raises(InputError, match=r"frozen_share: .* lower it"):
            add_lora(teacher, frozen_share=share)


class TestMemory:
    @pytest.fixture
    def counted(self):
        """A part that doubles, and how many images it has seen."""
        seen = []

        def double(pixels):
            seen.append(len(pixels))
            return 2 * pixels

        return [EncoderPart(("double",), double)], seen

    def test_each_image_is_computed_once_whatever_it_comes_with(self, counted):
        parts, seen = counted
        memory = PartMemory()
        for order in ([0, 1], [1, 2], [2, 0, 0]):
            assert torch.equal(memory.run(parts, IMAGES[order]), 2 * IMAGES[order])
        assert seen == [1, 1, 1]

    def test_images_that_differ_in_one_value_are_others(self, counted):
        parts, seen = counted
        other = IMAGES.clone()
        other[0, 0, 0, 0] += 1e-6
        memory = PartMemory()
        memory.run(parts, IMAGES[:1])
        assert torch.equal(memory.run(parts, other[:1]), 2 * other[:1])
        assert len(seen) == 2

    def test_the_same_values_in_another_shape_are_another_image(self, counted):
        parts, _ = counted
        memory = PartMemory()
        memory.run(parts, IMAGES[:1])
        turned = IMAGES[:1].reshape(1, 3, 48, 32)
        assert memory.run(parts, turned).shape == turned.shape

    def test_beyond_its_room_images_are_computed_each_time(self, counted):
        parts, seen = counted
        memory = PartMemory(room=IMAGES[0].nbytes)
        for _ in range(2):
            assert torch.equal(memory.run(parts, IMAGES[:2]), 2 * IMAGES[:2])
        assert seen == [1, 1, 1]

    def test_precisions_are_kept_apart(self, counted):
        parts, seen = counted
        memory = PartMemory()
        memory.run(parts, IMAGES[:1])
        with torch.autocast("cpu", torch.bfloat16):
            memory.run(parts, IMAGES[:1])
        assert len(seen) == 2
