"""What makes two trainings the same: where they begin, what they learn from and whom, and the settings of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine
from torch import nn

from common.files.fingerprints import data_digest, network_fingerprint, plain_settings, state_digest
from common.files.weights import unwrap

_HASHED = {
    "first weights": "it began with other weights",
    "data": "its images or labels were others",
    "teacher": "its teacher was another",
}


def describe_training(engine: Engine, network: nn.Module, teacher: nn.Module | None = None) -> dict[str, Any]:
    """Return what a training is made of, before it begins.

    Args:
        engine: a trainer. The ``data`` of its loader's dataset is hashed, or has a ``fingerprint`` of its own; of its
            ``loss_function``, if that is a module, plain settings count.
        network: what is trained.
        teacher: whom it learns from.

    Returns:
        Hashes, numbers and strings by name, for :func:`check_same`.
    """
    made_of: dict[str, Any] = {"first weights": state_digest(unwrap(network).state_dict())}
    data = getattr(getattr(engine.state.dataloader, "dataset", None), "data", None)
    if data is not None:
        made_of["data"] = getattr(data, "fingerprint", None) or data_digest(data)
    if teacher is not None:
        made_of["teacher"] = network_fingerprint(teacher)
    loss = getattr(engine, "loss_function", None)
    if isinstance(loss, nn.Module):
        for path, module in loss.named_modules():
            name = ".".join(["loss", *filter(None, [path])])
            made_of |= {f"{name}.{key}": value for key, value in plain_settings(module).items()}
    return made_of


def check_same(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Compare two descriptions.

    Raises:
        ValueError: naming all that differs.
    """
    differing = [
        _HASHED.get(name) or f"{name} was {saved.get(name)}, now {current.get(name)}"
        for name in [*current, *(saved.keys() - current.keys())]
        if saved.get(name) != current.get(name)
    ]
    if differing:
        raise ValueError("; ".join(differing))
