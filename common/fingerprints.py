"""Hashes that tell whether a network, or an image, is the one that something was made with."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn


def tensor_digest(value: Tensor) -> bytes:
    """Return a hash of a tensor's type, shape and content, wherever and however it lies in memory."""
    digest = hashlib.sha256(f"{value.dtype}{tuple(value.shape)}".encode())
    digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.digest()


def network_fingerprint(network: nn.Module) -> str:
    """Return a hash of what a network computes with: its modules, their plain settings, and its weights."""
    digest = hashlib.sha256()
    for name, module in network.named_modules():
        settings = {
            key: value
            for key, value in vars(module).items()
            if not key.startswith("_") and key != "training" and isinstance(value, (bool, int, float, str, tuple))
        }
        digest.update(repr((name, type(module).__qualname__, sorted(settings.items()))).encode())
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        digest.update(name.encode() + tensor_digest(value))
    return digest.hexdigest()
