"""A diffusion model on disk: a folder that plain diffusers loads."""

from __future__ import annotations

import json
import os
from pathlib import Path

from diffusers import DDPMPipeline, SchedulerMixin
from safetensors import SafetensorError
from torch import nn

from common.errors import InputError
from common.files.atomic import atomic_folder, check_replaceable, is_writer
from common.files.weights import unwrap
from common.synthesis.sampling import solver_for

_REMEDY = "run train_diffusion first"
_CLASSES = {
    "_class_name": "DDPMPipeline",  # another one, diffusers before 0.42 would import from the folder
    "unet": ["diffusers", "UNet2DModel"],
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
}


def save_pipeline(network: nn.Module, noise_scheduler: SchedulerMixin, folder: str | os.PathLike) -> None:
    """Write a folder that ``diffusers.DiffusionPipeline.from_pretrained`` loads and samples from in few steps.

    The folder appears only when it is complete; an earlier pipeline there is replaced. In a distributed run rank 0
    writes.

    Args:
        network: a ``diffusers.UNet2DModel``, possibly wrapped in ``DistributedDataParallel``.
        noise_scheduler: the training's scheduler; an SDE-DPM-Solver++ of the same noise schedule is saved.
        folder: where to write.

    Raises:
        InputError: if ``folder`` holds something that is not a pipeline.
    """
    if not is_writer():
        return
    check_replaceable(folder, mark="model_index.json")
    with atomic_folder(folder) as fresh:
        DDPMPipeline(unet=unwrap(network), scheduler=solver_for(noise_scheduler)).save_pretrained(fresh)


def load_pipeline(folder: str | os.PathLike, in_channels: int | None = None) -> DDPMPipeline:
    """Load a pipeline that :func:`save_pipeline` wrote; nothing is downloaded and no code in the folder runs.

    Args:
        folder: the pipeline.
        in_channels: channels that its images must have, any if None.

    Raises:
        InputError: if the folder is missing, is not such a pipeline or has another number of channels.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: {_REMEDY}")
    _check_index(folder / "model_index.json")
    try:
        pipeline = DDPMPipeline.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"the pipeline in {folder} cannot be loaded ({error}): {_REMEDY}") from error
    channels = pipeline.unet.config.in_channels
    if in_channels is not None and channels != in_channels:
        raise InputError(
            f"the diffusion model in {folder} makes images of {channels} channels, expected {in_channels}: {_REMEDY}"
        )
    return pipeline


def _check_index(path: Path) -> None:
    """Refuse an index that names anything but the classes that :func:`save_pipeline` saves.

    Raises:
        InputError: if it does, or cannot be read.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path.parent} is not a diffusion pipeline, {path.name} is missing or broken: {_REMEDY}"
        ) from error
    found = {name: index.get(name) for name in _CLASSES} if isinstance(index, dict) else index
    if found != _CLASSES:
        raise InputError(f"{path} must name an unconditional pipeline with {_CLASSES}, got {found}: {_REMEDY}")
