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


def parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to its device and, among several processes, let each see the others' gradients."""
    network = network.to(device)
    if idist.get_world_size() == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)
