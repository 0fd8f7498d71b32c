"""Networks of MONAI, of this project or of anybody, from their weights and what says how they are built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from common.errors import InputError
from common.files.provenance import provenance_path, read_provenance
from common.files.weights import load_state
from common.teachers.original_checkpoints import read_original

# By name, as the registry has families: a teacher may be a student of an earlier run, and knows nothing else of them.
_DESCRIPTIONS = "common.students.describing"
_EXAMPLE = "such as \"{'_target_': 'UNet', 'spatial_dims': 2, 'in_channels': 3, ...}\", as --student_def had it"


def is_network(pretrained: Any) -> bool:
    """Say whether these are weights whose provenance, beside them, says of what network they are."""
    if not isinstance(pretrained, (str, os.PathLike)) or not provenance_path(pretrained).is_file():
        return False
    return Path(pretrained).is_file() and bool(read_provenance(pretrained).get("network"))


def record_of(pretrained: Any) -> dict[str, Any]:
    """Return what the training of these weights recorded of them; nothing where it is not known."""
    is_path = isinstance(pretrained, (str, os.PathLike))
    return read_provenance(pretrained) if is_path and Path(pretrained).is_file() else {}


def load_network(
    pretrained: str | os.PathLike | None, network: nn.Module | Mapping[str, Any] | None
) -> tuple[nn.Module, dict[str, Any] | None]:
    """Build a network where it is not built yet, and load its weights.

    Args:
        pretrained: a file with its state dict, of a training's checkpoint too; None leaves the weights that it has.
        network: the network, changed in place, or its description; None takes the one in the provenance of the weights.

    Returns:
        The network, and its description; None where the network cannot be built of one.

    Raises:
        InputError: if it is not known what network it is, or the weights are missing, damaged or of another one.
    """
    if isinstance(network, nn.Module):
        described = import_module(_DESCRIPTIONS).describe(network)
    else:
        described = _description_of(pretrained, network)
        network = _build(described, pretrained)
    if pretrained is not None:
        state = read_original(Path(pretrained))
        try:
            load_state(network, state, pretrained)
        except InputError as error:
            raise InputError(f"pretrained: {error}") from error
    return network, described


def _description_of(pretrained: Any, stated: Any) -> dict[str, Any]:
    if stated is not None and not isinstance(stated, Mapping):
        raise InputError(f"teacher_network_def: expected a network, {_EXAMPLE}, got {stated!r}")
    description = stated or record_of(pretrained).get("network")
    if not isinstance(description, Mapping):
        why = "there is no such file"
        if pretrained is not None and Path(pretrained).is_file():
            why = f"{provenance_path(pretrained).name} beside it does not say it, or is not there"
        raise InputError(
            f"pretrained: it is not known of what network the weights {pretrained} are ({why}): give "
            f"teacher_network_def, {_EXAMPLE}"
        )
    return dict(description)


def _build(description: Mapping[str, Any], pretrained: Any) -> nn.Module:
    """Return the network of a description, which may come from anybody: only those of MONAI and this project."""
    try:
        return import_module(_DESCRIPTIONS).build(description)
    except InputError as error:
        reason = str(error).removeprefix("network: ").removesuffix("; give --bundle")
        raise InputError(f"pretrained: the network of {pretrained}: {reason}; give teacher_network_def") from error
