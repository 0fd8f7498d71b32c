"""A diffusion model on disk: a plain diffusers pipeline."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from diffusers import DDPMPipeline, SchedulerMixin
from safetensors import SafetensorError
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from common.errors import InputError
from common.files.atomic import check_replaceable, replace_folder
from common.synthesis.sampling import _solver


def save_pipeline(
    network: nn.Module,
    noise_scheduler: SchedulerMixin,
    folder: str | os.PathLike,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write a folder that ``diffusers.DiffusionPipeline.from_pretrained`` loads and samples from in few steps.

    The folder appears at once and whole; an earlier pipeline there is replaced. In a distributed run rank 0 writes.

    Args:
        network: a ``diffusers.UNet2DModel``, possibly wrapped in ``DistributedDataParallel``.
        noise_scheduler: the training's scheduler; an SDE-DPM-Solver++ of the same noise schedule is saved.
        folder: where to write.
        metadata: anything worth knowing about the training, saved as ``training.json``.

    Raises:
        InputError: if ``folder`` holds something that is no pipeline.
    """
    if idist.get_rank() != 0:
        return
    check_replaceable(folder, mark="model_index.json")
    with replace_folder(folder) as fresh:
        DDPMPipeline(unet=_unwrap(network), scheduler=_solver(noise_scheduler)).save_pretrained(fresh)
        if metadata is not None:
            (fresh / "training.json").write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")


def load_pipeline(folder: str | os.PathLike, in_channels: int | None = None) -> DDPMPipeline:
    """Load a pipeline that :func:`save_pipeline` wrote; nothing is downloaded and no code in the folder runs.

    Args:
        folder: the pipeline.
        in_channels: channels that its images must have, any if None.

    Raises:
        InputError: if the folder is missing, is no such pipeline or has another number of channels.
    """
    folder = Path(folder)
    remedy = "run train_diffusion first, or point diffusion_dir at the folder that it wrote"
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: {remedy}")
    index_path = folder / "model_index.json"
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is no diffusion pipeline, {index_path.name} is missing or broken: {remedy}"
        ) from error
    expected = {
        "_class_name": "DDPMPipeline",  # another one, diffusers before 0.42 would import from the folder
        "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    }
    found = {name: index.get(name) for name in expected} if isinstance(index, dict) else index
    if found != expected:
        raise InputError(f"{index_path} must name an unconditional pipeline with {expected}, got {found}: {remedy}")
    try:
        pipeline = DDPMPipeline.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"the pipeline in {folder} cannot be loaded ({error}): {remedy}") from error
    channels = pipeline.unet.config.in_channels
    if in_channels is not None and channels != in_channels:
        raise InputError(
            f"the diffusion model in {folder} makes images of {channels} channels, expected {in_channels}: {remedy}"
        )
    return pipeline


def _unwrap(network: nn.Module) -> nn.Module:
    return network.module if isinstance(network, DistributedDataParallel) else network
