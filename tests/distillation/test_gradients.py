"""Several processes distil as one does with their batches together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pytest
import torch
import torch.multiprocessing
from distilling import make_trainer
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from common.distillation.gradients import AverageGradients

PAIRS = {"0": "0", "1": "1"}
STEPS = 2


def make_network(width: int) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(nn.Conv2d(3, width, 4, stride=4), nn.GELU(), nn.ConvTranspose2d(width, 2, 4, stride=4))


def make_batches(count: int) -> list[dict[str, Any]]:
    """Return batches of four images; one half of each has all the padding, and the other all the labels."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(count):
        images = torch.rand(4, 3, 16, 16, generator=generator)
        inside = torch.ones(4, 1, 16, 16)
        inside[0, :, :7] = inside[1, :, :, 11:] = 0
        batch = {"image": images, "label": (images[:, :1] > 0.5).float(), "inside": inside}
        batch["labelled"] = torch.tensor([False, False, True, True])
        batches.append(batch)
    return batches


def train(batches: list[dict[str, Any]], **options: Any) -> dict[str, Tensor]:
    """Return the weights of student and loss after training, and the gradients of the last step."""
    student = make_network(5)
    network = DistributedDataParallel(student) if idist.get_world_size() > 1 else student
    trainer = make_trainer(
        make_network(8), student, batches, PAIRS, network=network, learning_rate=0.1, image_shape=(3, 16, 16), **options
    )
    trainer.run()
    trained = [*student.named_parameters(), *trainer.loss_function.named_parameters()]
    weights = {name: parameter.detach() for name, parameter in trained}
    return weights | {f"gradient of {name}": parameter.grad for name, parameter in trained}


def train_on_a_rank(rank: int, folder: str) -> None:
    """Train on this rank's half of each batch, at once and in two parts, and save what comes of it."""
    torch.set_num_threads(1)
    idist.initialize("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for accumulation_steps in (1, 2):
        size = 2 // accumulation_steps
        own = [
            {key: value[start : start + size] for key, value in batch.items()}
            for batch in make_batches(STEPS)
            for start in range(2 * rank, 2 * rank + 2, size)
        ]
        torch.save(train(own, accumulation_steps=accumulation_steps), f"{folder}/{rank}_{accumulation_steps}.pt")
    idist.finalize()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What two processes have saved."""
    path = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(train_on_a_rank, (str(path),), nprocs=2)
    return path


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_two_ranks_train_as_one_does_on_both_batches(accumulation_steps, folder):
    """Student and projections, where one rank has all the labels and the other all the padding."""
    expected = train(make_batches(STEPS))
    before = make_network(5).state_dict()
    ranks = [torch.load(folder / f"{rank}_{accumulation_steps}.pt", weights_only=True) for rank in (0, 1)]
    assert sum("projections" in name for name in expected) == 2 * 4, "two projections, with weight and bias"
    for name, value in expected.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        assert_close(ranks[0][name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert all(not torch.equal(expected[name], value) for name, value in before.items())


def test_the_loss_moves_to_the_device_of_the_trainer():
    module = nn.Linear(2, 2)
    engine = Engine(lambda engine, batch: None)
    engine.state.device = torch.device("meta")
    AverageGradients(module).attach(engine)
    assert {p.device.type for p in module.parameters()} == {"meta"}
