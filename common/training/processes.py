"""One process per GPU, as ``torchrun`` starts them with the ``multi_gpu.yaml`` overlay."""

from __future__ import annotations

import os

import ignite.distributed as idist
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from common.errors import InputError


def local_device() -> torch.device:
    """Return this process's own GPU, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def start() -> None:
    """Join the other processes.

    Raises:
        InputError: if this process was not started by ``torchrun``.
    """
    if "LOCAL_RANK" not in os.environ:
        raise InputError(
            "multi_gpu.yaml needs torchrun: torchrun --standalone --nnodes=1 --nproc_per_node=2 -m monai.bundle run …"
        )
    idist.initialize("nccl" if torch.cuda.is_available() else "gloo")


def stop() -> None:
    """Leave the other processes."""
    idist.finalize()


def memory_format(channels_last: bool) -> torch.memory_format:
    """Return the order in memory of images and weights; with channels last, convolutions are faster on GPUs."""
    return torch.channels_last if channels_last else torch.preserve_format


def parallel(network: nn.Module, device: torch.device, channels_last: bool = False) -> nn.Module:
    """Move a network to its device and, among several processes, let each see the others' gradients."""
    network = network.to(device, memory_format=memory_format(channels_last))
    if idist.get_world_size() == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)
