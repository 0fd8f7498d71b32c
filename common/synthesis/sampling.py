"""Draw samples from a diffusion model (SDE-DPM-Solver++; Lu et al., 2022, arXiv 2211.01095)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, SchedulerMixin, UNet2DModel
from diffusers.utils.torch_utils import randn_tensor
from monai.networks.utils import eval_mode
from torch import Tensor

from common.synthesis.noise_levels import solving_timesteps


def sample(
    unet: UNet2DModel,
    scheduler: SchedulerMixin,
    count: int,
    image_size: int | Sequence[int],
    num_inference_steps: int = 20,
    generator: torch.Generator | None = None,
    batch_size: int = 16,
) -> Tensor:
    """Sample images on the device that the network is on.

    Args:
        unet: the denoising network; left in the mode (train or eval) that it came in.
        scheduler: the solver; a copy of it is used.
        count: images to make.
        image_size: height and width, one number if they are equal.
        num_inference_steps: denoising steps; DPM-Solver++ takes them at the noise levels that
            :func:`~common.synthesis.noise_levels.solving_timesteps` chooses, others as diffusers spaces them.
        generator: source of the noise, the global one if None. One on the CPU starts from the same noise everywhere.
        batch_size: images denoised together.

    Returns:
        ``(count, C, H, W)`` in [0, 1], on the device of the network.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    scheduler = copy.deepcopy(scheduler)
    steps: dict[str, Any] = {"num_inference_steps": num_inference_steps}
    if isinstance(scheduler, DPMSolverMultistepScheduler):
        steps = {"timesteps": solving_timesteps(scheduler, num_inference_steps)}
    batches = []
    with eval_mode(unet):
        for start in range(0, count, batch_size):
            shape = (min(batch_size, count - start), unet.config.in_channels, height, width)
            images = randn_tensor(shape, generator=generator, device=unet.device, dtype=unet.dtype)
            scheduler.set_timesteps(**steps, device=unet.device)
            for timestep in scheduler.timesteps:
                prediction = unet(images, timestep).sample
                images = scheduler.step(prediction, timestep, images, generator=generator).prev_sample
            batches.append((images / 2 + 0.5).clamp(0, 1))
    return torch.cat(batches)


def solver_for(noise_scheduler: SchedulerMixin) -> DPMSolverMultistepScheduler:
    """Return the DPM-Solver++ that samples from a model trained with ``noise_scheduler``.

    It is the stochastic solver: the fresh noise of each step covers the errors of a model that was trained on few
    images. The deterministic solver keeps them, and its samples are grainy.
    """
    config = noise_scheduler.config
    changes: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++"}
    if config.get("clip_sample"):
        # The solver has no clip_sample. Dynamic thresholding does the same when its ceiling is 1, and a model of pixels
        # needs it: at the first steps the error of the predicted image is that of the noise times a hundred.
        changes |= {"thresholding": True, "sample_max_value": 1.0}
    if config.beta_schedule == "squaredcos_cap_v2":
        changes["lambda_min_clipped"] = -5.1  # diffusers: critical for the cosine schedule, which ends in pure noise
    return DPMSolverMultistepScheduler.from_config(config, **changes)
