"""Files of tensors, read without running code, and without taking more memory than their size lets expect."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import InputError

_ZIP = b"PK\x03\x04"
# What PyTorch raises for a file that is cut off, altered or none of its own.
_DAMAGE = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, MemoryError,
    ArithmeticError, ImportError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def read_checkpoint(path: str | os.PathLike, made_by: str | None = None) -> Any:
    """Read a file of tensors, numbers and strings onto the CPU without executing anything in it.

    Args:
        path: the file.
        made_by: the stage that writes it, for the message when it is missing.

    Raises:
        InputError: if the file is missing, damaged, holds anything that would have to run code, or would take more
            memory than it has bytes.
    """
    path = Path(path)
    if not path.is_file():
        hint = f": run {made_by} first" if made_by else ""
        raise InputError(f"the checkpoint {path} does not exist{hint}")
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:  # whose text advises to switch the protection off
        raise InputError(
            f"{path} was refused: it holds more than tensors and could run code, or it is not a PyTorch checkpoint"
        ) from error
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged or not a PyTorch checkpoint ({error})") from error
    _check_tensors(content, path)
    return content


def _check_archive(path: Path) -> None:
    """Refuse an archive with members that are larger than itself, as PyTorch compresses none, or altered ones."""
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        damaged = archive.testzip() if unpacked <= path.stat().st_size else None
    if unpacked > path.stat().st_size:
        raise InputError(
            f"{path} was refused: it is a compressed archive that unpacks to {unpacked:,} bytes, as PyTorch writes none"
        )
    if damaged is not None:  # PyTorch writes checksums, and does not look at them
        raise InputError(f"{path} is damaged: the checksum of {damaged} in it is wrong; copy it again")


def check_finite(state: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Refuse weights that are NaN or infinite: a network with them finds nothing, or one class everywhere.

    Args:
        state: tensors by name; anything else in it does not matter.
        path: where they are from.

    Raises:
        InputError: naming them.
    """
    bad = [
        name
        for name, value in state.items()
        if isinstance(value, Tensor) and value.is_floating_point() and not bool(value.isfinite().all())
    ]
    if bad:
        raise InputError(
            f"{path} was refused: {len(bad)} of its weights are NaN or infinite, first {bad[0]}; train again, or take "
            "earlier weights"
        )


def _check_tensors(content: Any, path: Path) -> None:
    """Refuse tensors that claim more values than the file has, or that are not plain arrays."""
    for tensor in _tensors(content):
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(
                f"{path} was refused: a tensor of shape {tuple(tensor.shape)} in it is not stored value by value, as "
                "weights are"
            )


def _tensors(content: Any) -> Iterator[Tensor]:
    waiting, seen = [content], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, Mapping):
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
