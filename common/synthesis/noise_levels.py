"""At which noise levels a diffusion model learns, and at which it draws (Karras et al., 2022, arXiv 2206.00364: EDM).

A level is the standard deviation of the noise in units of the image, whose pixels are in [-1, 1]: sigma in EDM. Where
timesteps are drawn alike, half of a training with the cosine schedule is spent on levels above 1, at which little more
than the colour of an image can be told. Shapes come to be at levels near the contrast of the images.
"""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

MEDIAN, SPREAD = 0.3, 1.2  # of training: EDM, table 1, exp(P_mean) and P_std
_HIGHEST, _LOWEST = 12.0, 0.03  # of drawing: above, an image has no part in what is seen; below, noise cannot be seen
_CURVE = 5.0  # rho in EDM, equation 5, where it is 7: more steps at high levels


def noise_levels(scheduler: DDPMScheduler | DPMSolverMultistepScheduler) -> Tensor:
    """Return the noise level of each training timestep, ``(num_train_timesteps,)``, rising, on the CPU."""
    signal = scheduler.alphas_cumprod.cpu()  # diffusers' add_noise leaves it on the device of the images
    return ((1 - signal) / signal).sqrt()


def draw_timesteps(
    scheduler: DDPMScheduler | DPMSolverMultistepScheduler, count: int, median: float = MEDIAN, spread: float = SPREAD
) -> Tensor:
    """Return training timesteps whose noise levels are distributed log-normally.

    Args:
        scheduler: with the noise of the training.
        count: how many.
        median: of the noise levels.
        spread: standard deviation of their logarithm.

    Returns:
        ``(count,)``, on the CPU.
    """
    return _nearest_timesteps(scheduler, median * (spread * torch.randn(count)).exp())


def solving_timesteps(scheduler: DDPMScheduler | DPMSolverMultistepScheduler, count: int) -> list[int]:
    """Return the training timesteps that a solver goes through, the noisiest first.

    Args:
        scheduler: with the noise of the training.
        count: steps; fewer are returned where two would fall on the same timestep.
    """
    first, last = _HIGHEST ** (1 / _CURVE), _LOWEST ** (1 / _CURVE)
    levels = torch.linspace(first, last, count) ** _CURVE
    return sorted(set(_nearest_timesteps(scheduler, levels).tolist()), reverse=True)


def _nearest_timesteps(scheduler: DDPMScheduler | DPMSolverMultistepScheduler, levels: Tensor) -> Tensor:
    known = noise_levels(scheduler).log()
    between = (known[1:] + known[:-1]) / 2
    return torch.searchsorted(between, levels.to(known.dtype).log())
