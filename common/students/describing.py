"""Say what network a student is, so that it can be built again from that and its weights alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import monai.networks.nets
import torch
from torch import nn

from common.errors import InputError
from common.students.vit import ViTSegmenter

_OWN: dict[str, type[nn.Module]] = {ViTSegmenter.__name__: ViTSegmenter}
_ALSO_CALLED = {"spatial_dims": ("dimensions", "ndim")}  # attributes in which MONAI keeps an argument of this name


def describe(network: nn.Module, **hints: Any) -> dict[str, Any] | None:
    """Return what builds a network like this one: ``{"_target_": name of its class, "arguments": {...}}``.

    The arguments are found in the attributes of the network and, where it keeps none of a name, in the hints; whether
    they are right is tried. Nothing is changed, the state of random generators included.

    Args:
        network: on any device.
        hints: what its arguments may be, such as ``in_channels=3``.

    Returns:
        The description, which JSON can hold; None for a network that is neither this project's nor MONAI's, or whose
        arguments cannot be found.
    """
    name = type(network).__name__
    if _class_of(name) is not type(network):
        return None
    arguments = _arguments(network, {"spatial_dims": 2, **hints})
    try:
        with torch.random.fork_rng(devices=[]):
            again = build({"_target_": name, "arguments": arguments})
    except (InputError, TypeError, ValueError):
        return None
    return {"_target_": name, "arguments": arguments} if _structure(again) == _structure(network) else None


def build(description: Mapping[str, Any]) -> nn.Module:
    """Return the network, with random weights, that :func:`describe` described.

    Only networks of this project and of MONAI are built: a description may come from anybody.

    Args:
        description: ``_target_`` and ``arguments``.

    Raises:
        InputError: if it is no description, or the network cannot be built of it.
    """
    name, arguments = description.get("_target_"), description.get("arguments")
    network_class = _class_of(name)
    if network_class is None:
        raise InputError(f"network: {name!r} is not one of this project's or MONAI's networks; give --bundle")
    if not isinstance(arguments, Mapping) or not _is_plain(arguments):
        raise InputError(f"network: the arguments of {name} are not numbers and names; give --bundle")
    try:
        return network_class(**arguments)
    except Exception as error:
        raise InputError(f"network: {name} cannot be built of its arguments ({error}); give --bundle") from error


def _class_of(name: Any) -> type[nn.Module] | None:
    """Return the class of this name that a student may be of."""
    if not isinstance(name, str):
        return None
    found = _OWN.get(name) or getattr(monai.networks.nets, name, None)
    return found if inspect.isclass(found) and issubclass(found, nn.Module) else None


def _arguments(network: nn.Module, hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a network keeps or the hints have, default values included, which may change."""
    found = {}
    kept = _arguments_of_vit(network) if isinstance(network, ViTSegmenter) else {}
    for name in inspect.signature(type(network).__init__).parameters:
        names = (name, *_ALSO_CALLED.get(name, ()))
        values = [kept[name]] if name in kept else [vars(network)[n] for n in names if n in vars(network)]
        values += [hints[name]] if name in hints else []
        plain = [_plain(value) for value in values if _is_plain(_plain(value))]
        if plain:
            found[name] = plain[0]
    return found


def _arguments_of_vit(network: ViTSegmenter) -> dict[str, Any]:
    encoder = network.encoder
    blocks: Any = encoder.blocks
    return {
        "in_channels": encoder.patch_embed.in_channels,
        "num_classes": network.head.out_channels // 4,
        "patch_size": network.patch_size,
        "hidden_size": encoder.patch_embed.out_channels,
        "depth": len(blocks),
        "num_heads": blocks[0].attn.num_heads if len(blocks) else 1,
        "conv_channels": [narrow.out_channels for narrow in reversed(network.narrow)],
        "dropout": network.dropout.p,
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back: lists for tuples."""
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _structure(network: nn.Module) -> list[Any]:
    """Return the modules of a network with their plain settings, and the shapes of its tensors."""
    modules = [(name, type(module), _settings(module)) for name, module in network.named_modules()]
    tensors = [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
    return [modules, tensors]


def _settings(module: nn.Module) -> dict[str, Any]:
    kept = {key: _plain(value) for key, value in vars(module).items() if not key.startswith("_") and key != "training"}
    plain = {key: value for key, value in kept.items() if isinstance(value, (bool, int, float, str, list))}
    return {key: value for key, value in plain.items() if _is_plain(value)}  # DynUNet keeps a list of outputs
