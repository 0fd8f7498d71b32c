"""MoCo v3 trains the student's own encoder, all but its patch embedding."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn
from torch.testing import assert_close

from common.distillation.methods.momentum_contrast import (
    ContrastiveEncoder,
    ContrastiveLoss,
    MomentumContrast,
    check_batch_size,
    make_head,
)
from common.errors import InputError
from common.students.vit import ViTSegmenter

FIXED = {"encoder.patch_embed.weight", "encoder.patch_embed.bias", "encoder.pos_embed"}
UNUSED = {"encoder.norm.weight", "encoder.norm.bias"}


@pytest.fixture
def student() -> ViTSegmenter:
    torch.manual_seed(0)
    return ViTSegmenter(hidden_size=24, depth=2, num_heads=2, conv_channels=(4, 4))


@pytest.fixture
def network(student) -> MomentumContrast:
    encoder = ContrastiveEncoder(student, hidden_size=16, out_size=8)
    return MomentumContrast(encoder, copy.deepcopy(encoder), hidden_size=16)


@pytest.fixture
def crops() -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.rand(2, 5, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


def test_a_step_changes_the_students_blocks_and_nothing_else_of_it(student, network, crops):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    ContrastiveLoss()(network(*crops), torch.arange(len(crops[0]))).backward()
    assert [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None] == []
    optimizer.step()
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("encoder.")} - FIXED - UNUSED


def test_the_momentum_encoder_gets_no_gradient(network, crops):
    queries, keys = network(*crops)
    assert queries.requires_grad
    assert not keys.requires_grad
    assert not any(p.requires_grad for p in network.momentum_encoder.parameters())


def test_tokens_are_averaged_before_the_last_norm(student, network, crops, randomise):
    randomise(student).train()
    tokens = []
    student.encoder.norm.register_forward_pre_hook(lambda module, inputs: tokens.append(inputs[0]))
    with torch.no_grad():
        student(crops[0])
        expected = network.encoder.projector(tokens[0].mean(1))
        assert_close(network.encoder(crops[0]), expected)


def test_queries_and_keys_come_by_crop(network, crops):
    """In eval mode batch norms do not mix the images."""
    network.eval()
    queries, keys = network(*crops)
    assert queries.shape == keys.shape == (2, 5, 8)
    for index, crop in enumerate(crops):
        assert_close(queries[index], network.predictor(network.encoder(crop)), rtol=1e-4, atol=1e-5)
        assert_close(keys[index], network.momentum_encoder(crop), rtol=1e-4, atol=1e-5)


def test_a_last_batch_of_one_image_can_be_trained_on(network, crops):
    loss = ContrastiveLoss()(network(crops[0][:1], crops[1][:1]), torch.arange(1))
    loss.backward()
    assert loss == 0, "there is nothing to tell it apart from"
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_the_heads_are_those_of_the_paper():
    kinds = [type(layer) for layer in make_head([3, 5, 5, 2])]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear, nn.BatchNorm1d]
    head = make_head([3, 5, 2])
    assert [tuple(p.shape) for p in head.parameters()] == [(5, 3), (5,), (5,), (2, 5)]


def test_patch_embedding_starts_as_that_of_the_paper(student):
    ContrastiveEncoder(student, hidden_size=16, out_size=8)
    projection = student.encoder.patch_embed
    limit = (6 / (3 * 16 * 16 + 24)) ** 0.5
    assert limit * 0.99 < projection.weight.abs().max() <= limit
    assert not projection.bias.any()


def test_training_learns_to_tell_images_apart(network):
    torch.manual_seed(0)
    patterns = torch.rand(6, 3, 32, 32)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        crops = [(patterns + 0.05 * torch.randn_like(patterns)).clamp(0, 1) for _ in range(2)]
        losses.append(ContrastiveLoss()(network(*crops), torch.arange(len(crops[0]))))
        losses[-1].backward()
        optimizer.step()
    assert torch.stack(losses[-5:]).mean() < 0.5 * torch.stack(losses[:3]).mean()


def test_a_student_without_such_an_encoder_is_refused():
    unet = UNet(spatial_dims=2, in_channels=3, out_channels=2, channels=(4, 8), strides=(2,))
    with pytest.raises(InputError, match=r"student_def: only the encoder of a ViTSegmenter .* got a UNet"):
        ContrastiveEncoder(unet)


def test_batches_of_one_image_are_refused():
    check_batch_size(2)
    with pytest.raises(InputError, match=r"batch_size: .* at least 2, got 1"):
        check_batch_size(1)
