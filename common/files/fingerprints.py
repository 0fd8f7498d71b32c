"""Hashes that tell whether a network, a tensor or a datalist is the one that something was made with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def tensor_digest(value: Tensor) -> bytes:
    """Return a hash of a tensor's type, shape and content, wherever and however it lies in memory."""
    digest = hashlib.sha256(f"{value.dtype}{tuple(value.shape)}".encode())
    digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
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
    """Return a hash of what a datalist is about: all its values, in lists and mappings too, and the content of files.

    A path counts by the content of its file, or of the files in its folder, wherever that lies. So a dataset that was
    moved has the digest that it had, and one in which a label was changed has another.

    Args:
        entries: a MONAI datalist. A string is a path where there is a file of that name, or where it has a separator
            and there is a folder of that name.
    """
    file_digest = cache(_file_digest)
    return _value_digest(list(entries), file_digest).hex()


def _file_digest(path: str) -> bytes:
    """Return a hash of the content of a file, or of the files in a folder and their places in it."""
    if os.path.isfile(path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    files = {file.relative_to(path).as_posix(): file for file in Path(path).rglob("*") if file.is_file()}
    parts = [name.encode() + b"\0" + _file_digest(str(files[name])) for name in sorted(files)]
    return _joined(b"folder", parts)


def _value_digest(value: Any, file_digest: Callable[[str], bytes]) -> bytes:
    if isinstance(value, Mapping):
        items = sorted((repr(key), item) for key, item in value.items())
        return _joined(b"mapping", [_joined(key.encode(), [_value_digest(item, file_digest)]) for key, item in items])
    if isinstance(value, (list, tuple)):
        return _joined(b"list", [_value_digest(item, file_digest) for item in value])
    if isinstance(value, Tensor):
        return tensor_digest(value.as_subclass(Tensor))
    if isinstance(value, np.ndarray) and value.dtype != object:
        return _joined(f"{value.dtype}{value.shape}".encode(), [value.tobytes()])  # numpy's repr leaves out the middle
    if isinstance(value, np.ndarray):
        return _value_digest(value.tolist(), file_digest)
    if _is_path(value):
        return file_digest(os.fspath(value))
    return _joined(b"value", [repr(value).encode()])


def _joined(kind: bytes, parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256(kind)
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.digest()


def _is_path(value: Any) -> bool:
    if not isinstance(value, (str, os.PathLike)):
        return False
    has_separator = isinstance(value, os.PathLike) or any(s in value for s in (os.sep, os.altsep) if s)
    return os.path.isfile(value) or (has_separator and os.path.isdir(value))  # a patient's number alone is not a path
