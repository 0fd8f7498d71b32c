"""The weights of networks, on disk and in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common.errors import InputError
from common.files.atomic import atomic_file, is_writer
from common.files.checkpoints import check_finite, read_checkpoint
from common.files.provenance import write_provenance


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside ``DistributedDataParallel``, or the network itself."""
    return network.module if isinstance(network, DistributedDataParallel) else network


def first_existing(*paths: str | os.PathLike) -> Path:
    """Return the first of these files that exists, or the first of all where none does."""
    return next((Path(path) for path in paths if Path(path).is_file()), Path(paths[0]))


def save_weights(network: nn.Module, path: str | os.PathLike, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a network's state dict, and its provenance beside it, on the first rank only.

    Args:
        network: in ``DistributedDataParallel`` or not.
        path: the file, replaced or made.
        provenance: what is known of the weights, see :mod:`common.files.provenance`; None where nothing is.

    Raises:
        InputError: if they cannot be written.
    """
    if is_writer():
        state = unwrap(network).state_dict()
        write_provenance(path, provenance, state)  # first, since a stage counts as done when its weights are there
        save_tensors(state, path)


def save_tensors(content: Any, path: str | os.PathLike) -> None:
    """Write what ``torch.load(weights_only=True)`` reads, as an atomic file.

    Raises:
        InputError: if the disk is full, or there is no permission to write, or something else is in the way.
    """
    with atomic_file(path) as fresh, fresh.open("wb") as file:
        torch.save(content, file)  # which, given a path, would not say that the disk is full


def load_weights(network: nn.Module, path: str | os.PathLike | None, made_by: str | None = None) -> nn.Module:
    """Load a state dict into a network and return the network.

    Args:
        network: changed in place.
        path: what :func:`save_weights` wrote; None leaves the network as it is.
        made_by: the stage that writes it, for the message when it is missing.

    Raises:
        InputError: if the file cannot be read, its weights are not this network's, or they are not finite.
    """
    return network if path is None else load_state(network, read_checkpoint(path, made_by), path)


def load_state(network: nn.Module, state: Any, path: str | os.PathLike) -> nn.Module:
    """Load a state dict that was read from a file into a network and return the network.

    Raises:
        InputError: if it holds something else, its weights are not this network's, or they are not finite.
    """
    own = network.state_dict()
    if not isinstance(state, dict):
        raise InputError(f"{path} holds no weights but a {type(state).__name__}")
    differing = [f"{name} is missing" for name in own.keys() - state.keys()]
    differing += [f"{name} is unknown" for name in state.keys() - own.keys()]
    differing += [
        f"{name} is {_shape_of(state[name])} and should be {_shape_of(own[name])}"
        for name in own.keys() & state.keys()
        if _shape_of(state[name]) != _shape_of(own[name])
    ]
    differing += [
        f"{name} is {state[name].dtype} and should be {own[name].dtype}"
        for name in own.keys() & state.keys()
        if isinstance(state[name], Tensor) and state[name].is_floating_point() != own[name].is_floating_point()
    ]
    if differing:
        shown = "; ".join(sorted(differing)[:5])
        raise InputError(
            f"{path} holds the weights of another architecture than this {type(network).__name__}: {len(differing)} "
            f"entries differ ({shown})"
        )
    check_finite(state, path)
    network.load_state_dict(state)
    return network


def trainable_state(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's state dict without its frozen parameters."""
    network = unwrap(network)
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in frozen}


def load_trainable_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what :func:`trainable_state` returned.

    Raises:
        ValueError: if it is not of a network with the same trainable parameters.
    """
    differing = trainable_state(network).keys() ^ state.keys()
    if differing:
        raise ValueError(f"{len(differing)} weights do not match, first {min(differing)}")
    unwrap(network).load_state_dict(state, strict=False)


def _shape_of(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
