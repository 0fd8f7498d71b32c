"""What MONAI's ``SupervisedTrainer`` needs to train a diffusion model (Ho et al., 2020, arXiv 2006.11239)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers import SchedulerMixin, UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn

from common.synthesis import noise_levels
from common.synthesis.told_augmentation import CHANGED_KEY
from common.training.inferers import Bfloat16OnCpuInferer

_FEW_PLACES = 256


class PrepareDiffusion:
    """Noises the images of a batch, each to a random timestep of its own; the ``prepare_batch`` of a trainer.

    Their noise levels are distributed log-normally, see :mod:`~common.synthesis.noise_levels`. The target is what
    ``noise_scheduler.config.prediction_type`` names: the noise (``epsilon``) or the velocity (``v_prediction``;
    Salimans and Ho, 2022, arXiv 2202.00512).

    Args:
        noise_scheduler: a ``diffusers.DDPMScheduler``.
        noise_median: median of the noise levels; higher for images of more contrast.
        noise_spread: standard deviation of their logarithm.

    Raises:
        ValueError: if the scheduler has another ``prediction_type``, or a number is not positive.
    """

    def __init__(
        self,
        noise_scheduler: SchedulerMixin,
        noise_median: float = noise_levels.MEDIAN,
        noise_spread: float = noise_levels.SPREAD,
    ) -> None:
        prediction_type = noise_scheduler.config.prediction_type
        if prediction_type not in ("epsilon", "v_prediction"):
            raise ValueError(
                f"noise_scheduler must have prediction_type epsilon or v_prediction, got {prediction_type}"
            )
        for name, value in (("noise_median", noise_median), ("noise_spread", noise_spread)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")
        self.noise_scheduler = noise_scheduler
        self.noise_median, self.noise_spread = noise_median, noise_spread

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...], dict[str, Any]]:
        """Return noisy images, the target shaped like them, and what else the network is called with.

        Args:
            batchdata: its ``image`` is ``(B, C, H, W)`` in [0, 1]; ``changed``, where it has that, is the class
                ``(B,)`` of each, see :mod:`~common.synthesis.told_augmentation`.
            device: where to train.
            non_blocking: whether the copy to the device may be asynchronous.
            kwargs: any other argument of ``Tensor.to``.

        Returns:
            noisy images and target ``(B, C, H, W)``, the timesteps and, where there are any, the classes ``(B,)`` as
            positional arguments, and no keyword arguments.
        """
        images = batchdata[Keys.IMAGE]
        if isinstance(images, MetaTensor):
            images = images.as_tensor()
        images = images.to(device=device, non_blocking=non_blocking, **kwargs) * 2 - 1
        scheduler = self.noise_scheduler
        timesteps = noise_levels.draw_timesteps(scheduler, len(images), self.noise_median, self.noise_spread)
        timesteps = timesteps.to(images.device)
        noise = torch.randn_like(images)
        noisy = scheduler.add_noise(images, noise, timesteps)
        is_epsilon = scheduler.config.prediction_type == "epsilon"
        target = noise if is_epsilon else scheduler.get_velocity(images, noise, timesteps)
        classes = (batchdata[CHANGED_KEY].to(images.device),) if CHANGED_KEY in batchdata else ()
        return noisy, target, (timesteps, *classes), {}


class DenoisingInferer(Bfloat16OnCpuInferer):
    """Calls a diffusers network and takes the tensor out of its output, in float32 so that the loss has no less.

    Args:
        bfloat16_on_cpu: compute in bfloat16 where images are on a CPU.
    """

    def __init__(self, bfloat16_on_cpu: bool = False) -> None:
        super().__init__(bfloat16_on_cpu)

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Return what the network predicts.

        Args:
            inputs: noisy images ``(B, C, H, W)``.
            network: returns an object with a ``sample`` like the images, as ``diffusers.UNet2DModel`` does.
            args: the timesteps ``(B,)``, and the classes where the network takes any.
            kwargs: for the network.
        """
        if self.applies_to(inputs):
            inputs = inputs.contiguous(memory_format=torch.channels_last)  # in which it is faster
        return super().__call__(inputs, network, *args, **kwargs).sample.float()


class DenoisingLoss(nn.Module):
    """Mean squared error of the image's channels, plus that of the label's where there are any.

    By itself, so that the image counts as much with a label of many structures, most of them empty, as without one.

    Args:
        image_channels: of the network, those of the image, which come first.
    """

    def __init__(self, image_channels: int) -> None:
        super().__init__()
        self.image_channels = image_channels

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``(B, C, H, W)``."""
        squares = (prediction - target).square()
        image, label = squares[:, : self.image_channels], squares[:, self.image_channels :]
        return image.mean() + label.mean() if label.shape[1] else image.mean()


def suit_cpu(network: UNet2DModel, device: str | torch.device) -> None:
    """Let a network on a CPU attend to few places by plain products.

    PyTorch's fused attention, diffusers' choice, takes a fifth of a training step there, for the 64 places of images of
    64 pixels. With more than 256, plain products would take too much memory, and the network stays as it is.

    Args:
        network: changed in place.
        device: where it is trained.
    """
    side = network.config.sample_size // 2 ** (len(network.config.block_out_channels) - 1)
    if torch.device(device).type != "cpu" or side**2 > _FEW_PLACES:
        return
    for module in network.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())


class GradientClipping:
    """Clips the norm of all gradients together before each step of the optimizer; neither MONAI nor ignite has this.

    Args:
        max_norm: the highest norm.

    Raises:
        ValueError: if ``max_norm`` is not positive.
    """

    def __init__(self, max_norm: float = 1.0) -> None:
        if not 0 < max_norm < math.inf:
            raise ValueError(f"max_norm must be positive and finite, got {max_norm}")
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Register on a ``SupervisedTrainer``."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: SupervisedTrainer) -> None:
        """Clip, unless the trainer goes on accumulating gradients."""
        if not _steps_now(engine):
            return
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)  # the scaler notes this and does not do it again
        nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_norm)


def _steps_now(engine: SupervisedTrainer) -> bool:
    """Say whether the optimizer steps in this iteration; MONAI's trainer decides so, and does not say it."""
    length, iteration = engine.state.epoch_length, engine.state.iteration
    if length is not None:
        iteration = (iteration - 1) % length + 1
    return iteration % engine.accumulation_steps == 0 or iteration == length
