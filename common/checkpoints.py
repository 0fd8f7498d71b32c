"""Weights and folders on disk: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from torch import nn

from common.errors import InputError
from common.origins import handed_on, note_origin, with_origin


def is_writer() -> bool:
    """Say whether this process is the one that writes files: the only one, or the first of several."""
    return idist.get_rank() == 0


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, and rename it to ``path`` when all went well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.partial")
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` to fill, and put it in the place of ``path`` when all went well."""
    path = Path(path)
    fresh, outdated = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.outdated")
    if outdated.exists() and not path.exists():
        outdated.rename(path)  # the process was killed in between
    for leftover in (fresh, outdated):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        for file in fresh.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # safetensors writes for the owner only
        if path.exists():
            path.rename(outdated)
        try:
            fresh.rename(path)
        except BaseException:
            if outdated.exists():
                outdated.rename(path)
            raise
    finally:
        for leftover in (fresh, outdated):
            shutil.rmtree(leftover, ignore_errors=True)


def check_replaceable(folder: str | os.PathLike, mark: str) -> None:
    """Refuse to delete what was not written here: an existing folder must be empty or hold the file ``mark``.

    Raises:
        InputError: if it is neither, or is no folder.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / mark).is_file() or not any(folder.iterdir()))):
        raise InputError(f"{folder} exists and holds no {mark}, so it is not overwritten: choose another folder")


def save_weights(network: nn.Module, path: str | os.PathLike) -> None:
    """Write a network's state dict, with its origin (see :mod:`common.origins`), on the first rank only."""
    if is_writer():
        with replace_file(path) as fresh:
            torch.save(with_origin(network), fresh)


def read_checkpoint(path: str | os.PathLike, made_by: str | None = None) -> Any:
    """Read a file of tensors, numbers and strings onto the CPU without executing anything in it.

    Args:
        path: the file.
        made_by: the stage that writes it, for the message when it is missing.

    Raises:
        InputError: if the file is missing, damaged, or holds anything that would have to run code.
    """
    path = Path(path)
    if not path.is_file():
        hint = f": run {made_by} first" if made_by else ""
        raise InputError(f"the checkpoint {path} does not exist{hint}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose text advises to switch the protection off
        raise InputError(
            f"{path} was refused: it holds more than tensors and could run code, or is no PyTorch checkpoint at all"
        ) from error
    except (RuntimeError, EOFError, KeyError, OSError) as error:
        raise InputError(f"{path} is damaged or no PyTorch checkpoint ({error})") from error


def first_of(*paths: str | os.PathLike) -> Path:
    """Return the first of these files that exists, or the first of all where none does."""
    return next((Path(path) for path in paths if Path(path).is_file()), Path(paths[0]))


def _shape_of(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"


def load_weights(network: nn.Module, path: str | os.PathLike | None, made_by: str | None = None) -> nn.Module:
    """Load a state dict into a network, note where it comes from, and return the network.

    Args:
        network: changed in place.
        path: what :func:`save_weights` wrote; None leaves the network as it is.
        made_by: the stage that writes it, for the message when it is missing.

    Raises:
        InputError: if the file cannot be read, or its weights are not this network's.
    """
    if path is None:
        note_origin(network, {"teacher": None, "initial": None})
        return network
    state = read_checkpoint(path, made_by)
    own = network.state_dict()
    if not isinstance(state, dict):
        raise InputError(f"{path} holds no weights but a {type(state).__name__}")
    faults = [f"{name} is missing" for name in own.keys() - state.keys()]
    faults += [f"{name} is unknown" for name in state.keys() - own.keys()]
    faults += [
        f"{name} is {_shape_of(state[name])} and should be {_shape_of(own[name])}"
        for name in own.keys() & state.keys()
        if _shape_of(state[name]) != _shape_of(own[name])
    ]
    if faults:
        shown = "; ".join(sorted(faults)[:5])
        raise InputError(
            f"{path} holds the weights of another architecture than this {type(network).__name__}: {len(faults)} "
            f"entries differ ({shown})"
        )
    network.load_state_dict(state)
    note_origin(network, handed_on(state))
    return network
