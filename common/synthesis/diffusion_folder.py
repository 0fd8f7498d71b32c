"""A diffusion model on disk: a folder that plain diffusers loads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMPipeline, DPMSolverMultistepScheduler, SchedulerMixin, UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from common.errors import InputError
from common.files.atomic import atomic_folder, check_replaceable, is_writer, write_json
from common.files.checkpoints import check_finite
from common.files.json_files import read_json
from common.files.links import check_no_way_out
from common.files.weights import unwrap
from common.synthesis.sampling import solver_for
from common.synthesis.told_augmentation import drawing_unchanged

_REMEDY = "run train_diffusion first"
_INDEX = "model_index.json"
_UNET, _WEIGHTS = "unet/config.json", "unet/diffusion_pytorch_model.safetensors"
_SCHEDULER = "scheduler/scheduler_config.json"
_DAMAGE = (OSError, ValueError, RuntimeError, TypeError, LookupError, ArithmeticError, AttributeError, SafetensorError)
_LABELS = "labels.json"  # what the channels after the image's are
_MAX_STEPS = 100_000  # of the noise schedule, which is computed step by step
_CLASSES = {
    "_class_name": "DDPMPipeline",
    "unet": ["diffusers", "UNet2DModel"],
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
}


def check_room(folder: str | os.PathLike) -> None:
    """Refuse a folder that :func:`save_pipeline` would refuse, hours before there is a pipeline to save.

    Raises:
        InputError: if the folder holds something that is not a pipeline.
    """
    check_replaceable(folder, mark=_INDEX)


def save_pipeline(
    network: nn.Module,
    noise_scheduler: SchedulerMixin,
    folder: str | os.PathLike,
    classes: Sequence[str] | None = None,
) -> None:
    """Write a folder that ``diffusers.DiffusionPipeline.from_pretrained`` loads and samples from in few steps.

    The folder appears only when it is complete; an earlier pipeline there is replaced. In a distributed run rank 0
    writes.

    Args:
        network: a ``diffusers.UNet2DModel``, possibly wrapped in ``DistributedDataParallel``; one that was told of
            augmentation is saved as the one that draws images as they are.
        noise_scheduler: the training's scheduler; an SDE-DPM-Solver++ of the same noise schedule is saved.
        folder: where to write.
        classes: names, the background first, of the labels that it draws with the images; None if it draws none.

    Raises:
        InputError: if ``folder`` holds something that is not a pipeline.
    """
    if not is_writer():
        return
    check_room(folder)
    with atomic_folder(folder) as fresh:
        unet = drawing_unchanged(unwrap(network))
        DDPMPipeline(unet=unet, scheduler=solver_for(noise_scheduler)).save_pretrained(fresh)
        if classes is not None:
            write_json(fresh / _LABELS, {"classes": list(classes)})


def drawn_classes(folder: str | os.PathLike) -> list[str] | None:
    """Return the names of the classes of the labels that a pipeline draws, the background first; None if it draws none.

    Raises:
        InputError: if its record of them is damaged.
    """
    path = Path(folder) / _LABELS
    if not path.is_file():
        return None
    check_no_way_out(folder, (_LABELS,))
    try:
        classes = read_json(path)["classes"]
        if len(classes) < 2 or not all(isinstance(name, str) for name in classes):
            raise ValueError(f"expected the names of two or more classes, got {classes}")
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(f"{path} cannot be read ({error}): {_REMEDY}") from error
    return list(classes)


def load_pipeline(folder: str | os.PathLike, in_channels: int | None = None) -> DDPMPipeline:
    """Load a pipeline that :func:`save_pipeline` wrote; nothing is downloaded and no code in the folder runs.

    Only the four files that are written are read: ``DDPMPipeline.from_pretrained`` would also follow an index of
    weights in several files, wherever they are, and would fill the memory with what a config asks for.

    Args:
        folder: the pipeline.
        in_channels: channels that its images must have, without those of their labels; any if None.

    Raises:
        InputError: if the folder is missing, is not such a pipeline or has another number of channels.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: {_REMEDY}")
    check_no_way_out(folder, (_INDEX, _UNET, _WEIGHTS, _SCHEDULER))
    _check_index(folder / _INDEX)
    try:
        unet = _load_unet(read_json(folder / _UNET), folder / _WEIGHTS)
        pipeline = DDPMPipeline(unet=unet, scheduler=_build_scheduler(read_json(folder / _SCHEDULER)))
    except InputError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the pipeline in {folder} cannot be loaded ({reason}): {_REMEDY}") from error
    channels = pipeline.unet.config.in_channels - max(len(drawn_classes(folder) or ()) - 1, 0)
    if in_channels is not None and channels != in_channels:
        raise InputError(
            f"the diffusion model in {folder} makes images of {channels} channels, expected {in_channels}: {_REMEDY}"
        )
    return pipeline


def _load_unet(config: dict[str, Any], weights: Path) -> UNet2DModel:
    """Build a network and load its weights, of which there must be as many as the config says."""
    if not weights.is_file():
        raise FileNotFoundError(f"{_WEIGHTS} is missing")
    state = load_file(weights)
    check_finite(state, weights)
    layers = config["layers_per_block"] * len(config["block_out_channels"])
    if layers > len(state):
        raise ValueError(f"{_UNET} has {layers} layers, but {_WEIGHTS} has {len(state)} tensors")
    with torch.device("meta"):
        unet = UNet2DModel.from_config(config)
    unet.load_state_dict(state, assign=True)
    return unet.eval()


def _build_scheduler(config: dict[str, Any]) -> SchedulerMixin:
    steps = config["num_train_timesteps"]
    if not 1 <= steps <= _MAX_STEPS:
        raise ValueError(f"{_SCHEDULER} has num_train_timesteps: {steps}, expected at most {_MAX_STEPS:,}")
    return DPMSolverMultistepScheduler.from_config(config)


def _check_index(path: Path) -> None:
    """Refuse an index that names anything but the classes that :func:`save_pipeline` saves.

    Raises:
        InputError: if it does, or cannot be read.
    """
    try:
        index = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path.parent} is not a diffusion pipeline, {path.name} is missing or broken: {_REMEDY}"
        ) from error
    found = {name: index.get(name) for name in _CLASSES} if isinstance(index, dict) else index
    if found != _CLASSES:
        raise InputError(f"{path} must name an unconditional pipeline with {_CLASSES}, got {found}: {_REMEDY}")
