"""Which layers of a student a method may pre-train: its encoder's, which stay the student's own."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet
from torch.testing import assert_close

from common.errors import InputError
from common.students.pretrainable import StudentEncoder, encoder_of, fix_positions
from common.students.vit import ViTSegmenter


@pytest.fixture
def student(randomise) -> ViTSegmenter:
    return randomise(ViTSegmenter(hidden_size=24, depth=1, num_heads=2, conv_channels=(8, 16)))


def test_encoder_alone_sees_images_as_the_student_does(student):
    seen = {}
    student.encoder.norm.register_forward_hook(lambda module, inputs, output: seen.update(tokens=output))
    images = torch.rand(2, 3, 32, 48)
    student(images)
    expected = seen["tokens"].transpose(1, 2).unflatten(2, (2, 3))
    assert_close(StudentEncoder(student)(images), expected)


def test_what_the_encoder_learns_the_student_has_learned(student):
    alone = StudentEncoder(student)
    assert set(dict(alone.named_parameters())) == {n for n, _ in student.named_parameters() if n.startswith("encoder.")}
    next(alone.parameters()).data.zero_()
    assert not student.encoder.pos_embed.any()


def test_fixed_positions_are_sines_and_cosines_that_do_not_train(student):
    encoder = encoder_of(student)
    fix_positions(encoder)
    assert not encoder.pos_embed.requires_grad
    assert_close(encoder.pos_embed.square().sum(1), torch.full((1, 14, 14), 12.0))  # sin^2 + cos^2, for 24 channels
    places = encoder.pos_embed[0].flatten(1).T
    assert torch.cdist(places, places).fill_diagonal_(1).min() > 0.01, "two places look alike"


def test_student_without_such_an_encoder_is_refused_by_name():
    unet = UNet(2, 3, 2, channels=(4, 8), strides=(2,))
    with pytest.raises(InputError, match=r"student_def: only the encoder of a ViTSegmenter .* got a UNet"):
        encoder_of(unet)
