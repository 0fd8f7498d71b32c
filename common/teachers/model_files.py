"""Files of models in the format of transformers: in a folder, or on the hub, of which nothing else is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from common.errors import InputError
from common.files.checkpoints import check_finite
from common.files.json_files import read_json
from common.files.links import check_no_way_out
from common.teachers.base_names import is_hub_id
from common.teachers.hub import is_reachable
from common.teachers.original_checkpoints import check_fit

CONFIG, WEIGHTS = "config.json", "model.safetensors"

DAMAGE = (
    OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError, ImportError, ArithmeticError,
    SafetensorError, StrictDataclassError,
)  # fmt: skip
"""What damaged or hostile files bring about in transformers, safetensors and the check of a config's values."""

_POSITIONS = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")


def find_file(pretrained: str | os.PathLike, name: str, local_files_only: bool = False) -> Path | None:
    """Return a file of a folder, or of a model of the hub; None where there is none, or the hub cannot be asked.

    Args:
        pretrained: a folder, or a hub id.
        name: of the file.
        local_files_only: do not ask the hub, but take what is on this machine.
    """
    if is_hub_id(pretrained):
        options = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
        local_files_only = local_files_only or not is_reachable()
        found = cached_file(str(pretrained), name, local_files_only=local_files_only, **options)
        return Path(found) if found else None
    path = Path(pretrained) / name
    return path if path.is_file() else None


def model_type(pretrained: Any, local_files_only: bool = False) -> str | None:
    """Return what the config of weights calls their architecture; None where there is no config that says so.

    Args:
        pretrained: a folder, a hub id, or a config of transformers.
        local_files_only: see :func:`find_file`.
    """
    if not isinstance(pretrained, (str, os.PathLike)):
        return getattr(pretrained, "model_type", None)
    path = find_file(pretrained, CONFIG, local_files_only)
    try:
        content = read_json(path) if path else {}
    except (OSError, ValueError):
        return None
    return content.get("model_type") if isinstance(content, dict) else None


def read_model(pretrained: str | os.PathLike, model_types: Sequence[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config and the weights of a model, read in :func:`explained`.

    Args:
        pretrained: a folder, or a hub id.
        model_types: what the config may call the architecture.

    Raises:
        InputError: if there is no such model, it is of another architecture, or its weights are not finite.
        OSError, ValueError, SafetensorError: if a file is missing or damaged.
    """
    if os.path.isdir(pretrained):
        check_no_way_out(Path(pretrained), (CONFIG, WEIGHTS))
    kind = model_type(pretrained)
    if kind is None and is_hub_id(pretrained):
        raise InputError(
            f"the hub gave no {CONFIG} of {pretrained}: check its name and your connection, or give a folder with the "
            "model"
        )
    if kind not in model_types:
        raise InputError(
            f"{pretrained} has no {CONFIG} with a model_type among {', '.join(model_types)} (it has {kind or 'none'})"
        )
    weights = find_file(pretrained, WEIGHTS)
    if weights is None:
        raise FileNotFoundError(f"{WEIGHTS} is missing")
    state = load_file(weights)
    check_finite(state, weights)
    config = find_file(pretrained, CONFIG)
    assert config is not None  # the model type is from it
    return read_json(config), state


@contextmanager
def explained(what: str, pretrained: str | os.PathLike) -> Iterator[None]:
    """Say in one line which weights could not be loaded, and why.

    Args:
        what: was to be loaded, such as ``backbone``.
        pretrained: where from.

    Raises:
        InputError: for whatever damaged or hostile files bring about.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"pretrained: {error}") from error
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"pretrained: no {what} could be loaded from '{pretrained}' ({reason})") from error


def stated_architecture(kind: type[PreTrainedConfig], content: dict[str, Any]) -> dict[str, Any]:
    """Return what the content of a config says of the architecture, and nothing else of it, nor of its parts."""
    known, common = kind().to_dict(), PreTrainedConfig().to_dict().keys()
    return {
        key: value
        for key, value in content.items()
        if key in known and key not in common and not key.endswith("_config")
    }


def fill(kind: type[PreTrainedModel], config: PreTrainedConfig, weights: dict[str, Any], misfit: str) -> Any:
    """Return a SAM, or its kin, with these weights, in eval mode.

    They are compared with the architecture before it takes any memory.

    Args:
        kind: the model's class.
        config: its architecture.
        weights: by the model's names; the frequencies of positions may be there once, and are needed twice.
        misfit: what to say before how many weights differ, and which.

    Raises:
        InputError: if any is missing, unknown or of another shape.
    """
    for name, other in (_POSITIONS, _POSITIONS[::-1]):
        if other in weights:
            weights.setdefault(name, weights[other])
    with torch.device("meta"):
        model = kind(config)
    check_fit(weights, model.state_dict(), misfit)
    model.load_state_dict({name: value.float().clone() for name, value in weights.items()}, assign=True)
    return model.eval()
