"""Hashes that tell whether a network, an image, or a datalist is the one that something was made with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def tensor_digest(value: Tensor) -> bytes:
    """Return a hash of a tensor's type, shape and content, wherever and however it lies in memory."""
    digest = hashlib.sha256(f"{value.dtype}{tuple(value.shape)}".encode())
    digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.digest()


def network_fingerprint(network: nn.Module) -> str:
    """Return a hash of what a network computes with: its modules, their plain settings, and its weights."""
    digest = hashlib.sha256()
    for name, module in network.named_modules():
        digest.update(repr((name, type(module).__qualname__, sorted(plain_settings(module).items()))).encode())
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        digest.update(name.encode() + tensor_digest(value))
    return digest.hexdigest()


def plain_settings(module: nn.Module) -> dict[str, Any]:
    """Return the numbers, strings and tuples that a module was made with, without those of its submodules."""
    return {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and key != "training" and isinstance(value, (bool, int, float, str, tuple))
    }


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return a hash of a state dict's names and tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + tensor_digest(state[name]))
    return digest.hexdigest()


def data_digest(entries: Iterable[Mapping[str, Any]]) -> str:
    """Return a hash of what a datalist is about: the content of its files, wherever they are, and all its values."""

    @cache
    def file_digest(path: str) -> bytes:
        return hashlib.sha256(Path(path).read_bytes()).digest()

    def value_digest(value: Any) -> bytes:
        if isinstance(value, Tensor):
            return tensor_digest(value.as_subclass(Tensor))
        if isinstance(value, (str, os.PathLike)) and os.path.isfile(value):
            return file_digest(os.fspath(value))
        return repr(value).encode()

    digest = hashlib.sha256()
    for entry in entries:
        for key in sorted(entry):
            digest.update(hashlib.sha256(key.encode() + value_digest(entry[key])).digest())
    return digest.hexdigest()


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside ``DistributedDataParallel``, or the network itself."""
    return network.module if isinstance(network, DistributedDataParallel) else network
