"""Several processes of one training: they learn what one would, and share the validation; two of them on the CPU."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MeanDice, from_engine
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import Tensor, nn

from common.errors import InputError
from common.training import processes
from common.training.processes import memory_format, parallel, validation_sampler

LOSS = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False)


def make_network(norm: str = "instance") -> nn.Module:
    torch.manual_seed(0)
    return UNet(2, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,), norm=norm)


def make_data(count: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 1, 16, 16, generator=generator)
    return [{"image": image, "label": (image > 0.3 + 0.05 * index).float()} for index, image in enumerate(images)]


def train_one_step(data: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the gradients, by name, of one step on one batch."""
    network = make_network()
    wrapped = parallel(network, "cpu")
    SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(data), batch_size=len(data)),
        network=wrapped,
        optimizer=torch.optim.SGD(wrapped.parameters(), lr=0),
        loss_function=LOSS,
        train_handlers=[],
    ).run()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def validate(count: int) -> tuple[float, int, int]:
    """Return the Dice of so many images, over how many it was taken, and how many of them this process has seen."""
    dataset = Dataset(make_data(count))
    seen = []

    def to_classes(item: dict[str, Any]) -> dict[str, Any]:
        seen.append(item)
        pred = nn.functional.one_hot(item["pred"].argmax(0), 2).movedim(-1, 0)
        return {**item, "pred": pred, "label": nn.functional.one_hot(item["label"][0].long(), 2).movedim(-1, 0)}

    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(dataset, batch_size=1, sampler=validation_sampler(dataset)),
        network=parallel(make_network("batch"), "cpu"),  # with buffers, which must not be waited for
        postprocessing=to_classes,
        key_val_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )
    evaluator.run()
    return evaluator.state.metrics["dice"], len(evaluator.state.metric_details["dice"]), len(seen)


def work(rank: int, folder: str, port: int) -> None:
    """Do in one of two processes what the tests look at, and leave it in a file."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}  # as torchrun does
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes.start()
    found = {
        "gradients": train_one_step(make_data(4)[2 * rank : 2 * rank + 2]),
        "validation": {count: validate(count) for count in (1, 2, 5)},
    }
    processes.stop()
    torch.save(found, Path(folder) / f"{rank}.pt")
    os._exit(0)  # at once: now and then PyTorch aborts a process that had the others' store, while it is taken down


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, Any]]:
    """What each of two processes has found."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(work, (str(folder), port), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


class TestTwoProcesses:
    def test_two_batches_of_two_give_the_gradients_of_one_batch_of_four(self, ranks):
        expected = train_one_step(make_data(4))
        assert max(gradient.abs().max() for gradient in expected.values()) > 0.01
        for found in ranks:
            torch.testing.assert_close(found["gradients"], expected)

    def test_a_batch_of_either_alone_has_others(self, ranks):
        alone = train_one_step(make_data(4)[:2])
        assert any(not torch.allclose(ranks[0]["gradients"][name], alone[name], rtol=0.01) for name in alone)

    @pytest.mark.parametrize("count", [2, 5])
    def test_the_validation_set_is_shared_and_measured_as_by_one(self, ranks, count):
        dice, _, _ = validate(count)
        for found in ranks:
            assert found["validation"][count][:2] == (pytest.approx(dice), count)
        assert sum(found["validation"][count][2] for found in ranks) == count

    def test_one_image_for_two_processes_is_measured_as_by_one(self, ranks):
        dice, _, _ = validate(1)
        assert [found["validation"][1][0] for found in ranks] == [pytest.approx(dice)] * 2


class TestOneProcess:
    @pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
    def test_a_network_goes_to_a_device_by_name_or_by_object_and_is_not_wrapped(self, device):
        network = nn.Conv2d(3, 4, 3)
        assert parallel(network, device, channels_last=True) is network
        assert network.weight.is_contiguous(memory_format=torch.channels_last)
        assert memory_format(False) == torch.preserve_format

    def test_the_validation_set_is_taken_whole(self):
        assert validation_sampler(range(3)) is None

    def test_without_torchrun_it_is_refused(self, monkeypatch):
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        with pytest.raises(InputError, match=r"multi_gpu\.yaml needs torchrun: torchrun --standalone"):
            processes.start()


def test_on_gpus_batch_norms_go_by_the_images_of_all_processes(monkeypatch):
    """Without GPUs: that the network is converted before it is wrapped, and that validation needs no broadcast."""
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    monkeypatch.setattr(nn.Module, "to", lambda self, *args, **kwargs: self)
    wrapped: list[tuple[nn.Module, dict[str, Any]]] = []
    monkeypatch.setattr(processes, "DistributedDataParallel", lambda network, **kw: wrapped.append((network, kw)))
    for device in ("cuda:1", "cpu"):
        parallel(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), device)
    (on_gpu, gpu_options), (on_cpu, cpu_options) = wrapped
    assert isinstance(on_gpu[1], nn.SyncBatchNorm)
    assert type(on_cpu[1]) is nn.BatchNorm2d
    assert gpu_options == {"device_ids": [torch.device("cuda:1")], "broadcast_buffers": False}
    assert cpu_options == {"device_ids": None, "broadcast_buffers": False}
