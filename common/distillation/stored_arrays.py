"""Large arrays on disk in half precision, written block by block and read by memory map, with a digest of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

_HALF = np.dtype(np.float16)


def bytes_of(shapes: Iterable[Sequence[int]]) -> int:
    """Return the bytes that arrays of these shapes take, without their headers."""
    return sum(_HALF.itemsize * prod(shape) for shape in shapes)


def write_arrays(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], blocks: Iterable[Mapping[str, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """Write ``<key>.npy`` for each key, and return what :func:`find_damage` compares them with.

    Args:
        folder: exists.
        shapes: of the arrays, by key.
        blocks: float16 rows of each array, one block after the other.
    """
    digests = {key: hashlib.sha256() for key in shapes}
    with ExitStack() as stack:
        # Ordinary writes: through a memory map, a full disk would end the process instead of raising an error.
        files = {key: stack.enter_context((folder / f"{key}.npy").open("wb")) for key in shapes}
        for key, shape in shapes.items():
            header = {"descr": _HALF.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[key], header)
        for block in blocks:
            for key, values in block.items():
                content = values.tobytes()
                files[key].write(content)
                digests[key].update(content)
    return {key: _describe(_HALF, shape, digests[key].hexdigest()) for key, shape in shapes.items()}


def open_arrays(folder: Path, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """Return memory maps by key."""
    return {key: _open(folder / f"{key}.npy") for key in keys}


def find_damage(folder: Path, keys: Iterable[str], described: Mapping[str, Any]) -> str | None:
    """Say which of the arrays is not as it was written, if one is not.

    Args:
        folder: of the arrays.
        keys: of those that are needed.
        described: what :func:`write_arrays` returned.
    """
    for key in keys:
        try:
            array = _open(folder / f"{key}.npy")
        except (OSError, ValueError, EOFError, TypeError, OverflowError):
            return f"{key}.npy is missing or damaged"
        if described.get(key) != _describe(array.dtype, array.shape, hashlib.sha256(array.data).hexdigest()):
            return f"{key}.npy is damaged"
    return None


def _open(path: Path) -> np.memmap:
    """Map a file of one array; ``np.load`` would also open an archive of several, or what was pickled, if it is one."""
    if path.is_symlink() or not path.is_file():
        raise FileNotFoundError(f"{path} is missing, or a link")
    return np.lib.format.open_memmap(path, mode="r")


def _describe(dtype: np.dtype, shape: Sequence[int], digest: str) -> dict[str, Any]:
    return {"dtype": dtype.str, "shape": list(shape), "sha256": digest}
