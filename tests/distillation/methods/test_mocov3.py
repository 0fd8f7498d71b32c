"""MoCo v3 trains the student's own encoder, all but its patch embedding."""

from __future__ import annotations

import copy

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.networks.nets import UNet
from torch import nn
from torch.testing import assert_close

from common.distillation.methods import mocov3
from common.distillation.methods.mocov3 import (
    ContrastiveEncoder,
    ContrastiveLoss,
    MomentumContrast,
    MomentumEncoder,
    check_batch_size,
    make_head,
    prepare_crops,
)
from common.errors import InputError
from common.students.vit import ViTSegmenter
from common.training import processes

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


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_among_processes_its_batch_norms_are_those_of_its_device(device, network, monkeypatch):
    """Also on CPUs of a machine that has GPUs: ``SyncBatchNorm`` cannot run there."""
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(nn.Module, "to", lambda self, *args, **kwargs: self)
    monkeypatch.setattr(processes, "DistributedDataParallel", lambda network, **options: network)
    network = MomentumContrast(network.encoder, network.momentum_encoder, hidden_size=16)
    parallel = processes.parallel(network, device)
    kinds = {type(module) for module in parallel.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    assert kinds == {nn.BatchNorm1d if device == "cpu" else nn.SyncBatchNorm}


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


# The moving average


class TestMomentumEncoder:
    def test_the_average_keeps_more_of_itself_along_half_a_cosine(self):
        encoder = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
        nn.init.zeros_(encoder[0].weight)
        handler = MomentumEncoder(encoder, momentum=0.9)
        found = []

        def step(engine: Engine, batch: float) -> None:
            nn.init.constant_(encoder[0].weight, batch)

        engine = Engine(step)
        handler.attach(engine)
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: found.append(handler.ema_model[0].weight.item())
        )
        values = [1.0, -2.0, 4.0]
        engine.run(values, max_epochs=2)
        expected, average = [], 0.0
        for step_number, value in enumerate(values * 2):
            momentum = 1 - 0.1 * (np.cos(np.pi * step_number / 6) + 1) / 2
            average = momentum * average + (1 - momentum) * value
            expected.append(average)
        assert found == pytest.approx(expected, rel=1e-5)

    def test_its_batch_norms_go_by_the_batch(self):
        encoder = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)).eval()
        average = MomentumEncoder(encoder).ema_model
        assert average.training
        assert average(torch.tensor([[1.0], [3.0]])).mean().item() == pytest.approx(0, abs=1e-5)
        assert not any(p.requires_grad for p in average.parameters())


# The loss


def leaf(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


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
    monkeypatch.setattr(mocov3.idist, "get_rank", lambda: 1)
    monkeypatch.setattr(mocov3.idist, "all_gather", lambda own: torch.cat([next(gathered), own]))
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
    with pytest.raises(ValueError, match="temperature must be positive and finite, got 0"):
        ContrastiveLoss(0)


def test_both_crops_are_inputs_and_their_image_the_target():
    batch = {"image": torch.rand(2, 3, 4, 4), "second_crop": torch.rand(2, 3, 4, 4), "image_id": torch.tensor([3, 9])}
    first, target, others, keywords = prepare_crops(batch, torch.device("cpu"), memory_format=torch.channels_last)
    assert torch.equal(first, batch["image"])
    assert torch.equal(others[0], batch["second_crop"])
    assert torch.equal(target, batch["image_id"])
    assert (len(others), keywords) == (1, {})
