"""Weights on disk, read without running code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import InputError
from common.files.atomic import is_writer, replace_file
from common.files.provenance import handed_on, note_origin, with_origin


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
