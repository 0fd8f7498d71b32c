"""Weights that a diffusion model starts from: a folder that diffusers wrote, or a hub id."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import SchedulerMixin, UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from common.errors import InputError
from common.files.checkpoints import check_finite
from common.files.json_files import read_json
from common.files.links import check_no_way_out
from common.synthesis.diffusion_folder import drawn_classes
from common.synthesis.told_augmentation import CLASSES_WEIGHT
from common.teachers.base_names import is_hub_id
from common.teachers.model_files import find_file

logger = logging.getLogger(__name__)

_KEY = "diffusion_pretrained"
_CONFIG, _WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
_SCHEDULER = "scheduler_config.json"
_DAMAGE = (OSError, ValueError, RuntimeError, TypeError, LookupError, AttributeError, SafetensorError)
# What the weights do not depend on, or what is adapted.
_MAY_DIFFER = {"sample_size", "in_channels", "out_channels", "dropout"}
_NOISE = ("num_train_timesteps", "beta_schedule", "prediction_type", "beta_start", "beta_end")
_WITH_BETAS = ("linear", "scaled_linear", "sigmoid")  # schedules to which beta_start and beta_end mean something
_OVERRIDES = {"block_out_channels": "diffusion_channels", "layers_per_block": "diffusion_layers"}


def start_from(
    network: UNet2DModel,
    noise_scheduler: SchedulerMixin,
    pretrained: str | os.PathLike | None,
    image_channels: int | None = None,
) -> None:
    """Give a network the weights of another one of the same architecture, trained with the same noise.

    A network of one channel takes those of three as if its image were grey in all of them: the weights that read
    channels are added up, and those that write them are averaged. Channels of labels start at nothing, and change
    nothing about how the image is drawn, to begin with.

    Args:
        network: changed in place.
        noise_scheduler: of the training that is to come.
        pretrained: a folder that diffusers wrote, of a pipeline or of its network alone, or the hub id of one, such as
            ``google/ddpm-celebahq-256``; None leaves the network as it is.
        image_channels: of the network, those of the image, which come first; None for all.

    Raises:
        InputError: if the weights cannot be found or read, or are of another architecture, number of channels or noise.
    """
    if pretrained is None:
        return
    try:
        config, weights = _find(pretrained, "unet", _CONFIG), _find(pretrained, "unet", _WEIGHTS)
        if config is None or weights is None:
            missing = f"{_WEIGHTS if config else _CONFIG} is missing"
            raise FileNotFoundError(f"no such folder, and on the hub {missing}" if is_hub_id(pretrained) else missing)
        found = read_json(config)
        expected = dict(network.config)
        if found.get("num_class_embeds") is None:  # then it gets classes that change nothing, to begin with
            expected["num_class_embeds"] = None
        _check_architecture(found, expected, pretrained)
        scheduler = _find(pretrained, "scheduler", _SCHEDULER)
        if scheduler is not None:
            _check_noise(read_json(scheduler), noise_scheduler.config, pretrained)
        state = load_file(weights)
        check_finite(state, weights)
        channels = image_channels or network.config.in_channels
        classes = drawn_classes(pretrained) if os.path.isdir(pretrained) else None
        if classes is not None:  # then its channels are those of this network, or it is refused
            _check_classes(classes, network.config.in_channels - channels, pretrained)
            channels = network.config.in_channels
        _load(network, {name: weight.float() for name, weight in state.items()}, pretrained, channels)
    except InputError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"--{_KEY}: no diffusion model could be loaded from '{pretrained}' ({reason}). Expected a folder or hub id "
            f"with {_CONFIG} and {_WEIGHTS} (at its top or in unet/), or null"
        ) from error
    logger.info(f"the diffusion model starts from the weights of {pretrained}")


def _find(source: str | os.PathLike, part: str, name: str) -> Path | None:
    """Return a file of a pipeline's part, or of a network that lies there without a pipeline; None if there is none."""
    for place in (f"{part}/{name}", name):
        if os.path.isdir(source):
            check_no_way_out(source, (place,))
        found = find_file(source, place)
        if found is not None:
            return found
    return None


def _check_architecture(found: Mapping[str, Any], expected: Mapping[str, Any], pretrained: Any) -> None:
    """Refuse another architecture, saying by what overrides the network would have this one."""
    if found.get("_class_name") != "UNet2DModel":
        raise InputError(
            f"--{_KEY}: '{pretrained}' is a {found.get('_class_name')}; expected an unconditional UNet2DModel"
        )
    other = {
        key: found[key]
        for key, value in expected.items()
        if not key.startswith("_") and key not in _MAY_DIFFER and key in found and _plain(found[key]) != _plain(value)
    }
    if other:
        stated = ", ".join(f"{key} {_plain(value)}, not {_plain(expected[key])}" for key, value in other.items())
        raise InputError(
            f"--{_KEY}: '{pretrained}' has another architecture: {stated}. For a network like it give "
            + " ".join(f"--{_OVERRIDES.get(key, f'diffusion_def::{key}')} {_quoted(v)}" for key, v in other.items())
        )


def _check_noise(found: Mapping[str, Any], expected: Mapping[str, Any], pretrained: Any) -> None:
    """Refuse a model that learned to remove other noise, or to predict something else: its weights would mislead."""
    keys = _NOISE if found.get("beta_schedule") in _WITH_BETAS else _NOISE[:3]
    other = {key: found[key] for key in keys if key in found and found[key] != expected.get(key)}
    if other:
        stated = ", ".join(f"{key} {value}, not {expected.get(key)}" for key, value in other.items())
        raise InputError(
            f"--{_KEY}: '{pretrained}' was trained with other noise: {stated}. For the same noise give "
            + " ".join(f"--noise_scheduler::{key} {_quoted(value)}" for key, value in other.items())
        )


def _check_classes(classes: Sequence[str], drawn: int, pretrained: Any) -> None:
    """Refuse weights that draw labels for a network that draws none, or labels of another number of structures."""
    if len(classes) - 1 != drawn:
        raise InputError(
            f"--{_KEY}: '{pretrained}' draws images with labels of {len(classes)} classes ({', '.join(classes)}), and "
            + (f"these are labels of {drawn + 1}" if drawn else "with_labels is false")
        )


def _load(network: UNet2DModel, state: dict[str, Tensor], pretrained: Any, channels: int) -> None:
    found = state["conv_in.weight"].shape[1]
    if (channels, found) == (1, 3):
        state["conv_in.weight"] = state["conv_in.weight"].sum(1, keepdim=True)
        for name in ("conv_out.weight", "conv_out.bias"):
            state[name] = state[name].mean(0, keepdim=True)
    elif channels != found:
        raise InputError(
            f"--{_KEY}: '{pretrained}' is for images of {found} channels, and these have {channels}; 3 can be turned "
            "into 1, and nothing else"
        )
    further = network.config.in_channels - channels
    if further:
        state["conv_in.weight"] = F.pad(state["conv_in.weight"], (0, 0, 0, 0, 0, further))
        state["conv_out.weight"] = F.pad(state["conv_out.weight"], (0, 0, 0, 0, 0, 0, 0, further))
        state["conv_out.bias"] = F.pad(state["conv_out.bias"], (0, further))
    if network.class_embedding is not None and CLASSES_WEIGHT not in state:
        state[CLASSES_WEIGHT] = torch.zeros_like(network.class_embedding.weight)
    network.load_state_dict(state)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _quoted(value: Any) -> str:
    text = str(_plain(value)).replace("'", "")
    return f"'{text}'" if " " in text else text
