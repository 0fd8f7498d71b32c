"""One process per GPU, as ``torchrun`` starts them with the ``multi_gpu.yaml`` overlay."""

from __future__ import annotations

import os
from collections.abc import Sized
from typing import Any

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
            "multi_gpu.yaml needs torchrun: torchrun --standalone --nnodes=1 --nproc_per_node=2 -m monai.bundle run ..."
        )
    idist.initialize("nccl" if torch.cuda.is_available() else "gloo")


def stop() -> None:
    """Leave the other processes."""
    idist.finalize()


def memory_format(channels_last: bool) -> torch.memory_format:
    """Return the order in memory of images and weights; with channels last, convolutions are faster on GPUs."""
    return torch.channels_last if channels_last else torch.preserve_format


def has_bfloat16() -> bool:
    """Say whether this machine's processor has instructions for bfloat16, with which it is about twice as fast."""
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch before 2.11 does not tell
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def parallel(network: nn.Module, device: torch.device | str, channels_last: bool = False) -> nn.Module:
    """Move a network to its device and, among several processes, average its gradients over them.

    Batch norms go by the images of all processes on GPUs; on CPUs, where PyTorch cannot, each has its own statistics.

    Args:
        network: moved in place.
        device: of this process, such as ``cpu``.
        channels_last: see :func:`memory_format`.
    """
    device = torch.device(device)
    order = memory_format(channels_last)
    network = network.to(device, memory_format=order)  # type: ignore[call-overload]  # PyTorch's hints lack it
    if idist.get_world_size() == 1:
        return network
    on_gpu = device.type == "cuda"
    if on_gpu:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    # To broadcast buffers in every forward pass would need as many passes in all processes, and in validation one may
    # have more images than another. On GPUs they are the same everywhere, by SyncBatchNorm.
    return DistributedDataParallel(network, device_ids=[device] if on_gpu else None, broadcast_buffers=False)


def validation_sampler(dataset: Sized) -> range | None:
    """Return the indices of this process's share of a validation set, for a ``DataLoader``; None for a single process.

    The shares are disjoint, so that MONAI's metrics, which gather the images of all processes, count each image once.
    With fewer images than processes every process takes all of them, since each must take part in the gathering; that
    counts all images equally often. (``DistributedSampler`` repeats some images, or refuses to have that few.)
    """
    count, processes = len(dataset), idist.get_world_size()
    if processes == 1:
        return None
    return range(count) if count < processes else range(idist.get_rank(), count, processes)
