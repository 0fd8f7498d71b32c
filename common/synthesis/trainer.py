"""Train an unconditional diffusion model (Ho et al., 2020, arXiv 2006.11239)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import SchedulerMixin
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.engines.workflow import Workflow
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn

MAX_GRADIENT_NORM = 1.0


def prepare_image(
    batchdata: dict[str, Any], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> Tensor:
    """Return the images of a batch on ``device``; unlike MONAI's default, ask for no label and drop the metadata."""
    images = batchdata[Keys.IMAGE]
    if isinstance(images, MetaTensor):
        images = images.as_tensor()
    return images.to(device=device, non_blocking=non_blocking, **kwargs)


class DiffusionTrainer(SupervisedTrainer):
    """Train a denoising network on images alone.

    Each iteration noises the images to random timesteps and regresses what ``noise_scheduler.config.prediction_type``
    names: the noise (``epsilon``) or the velocity (``v_prediction``; Salimans and Ho, 2022, arXiv 2202.00512).
    ``engine.state.output`` holds the images, the target (under ``label``), the prediction and the loss.

    Args:
        device: where to train.
        max_epochs: epochs to train for.
        train_data_loader: yields dictionaries whose ``image`` is ``(B, C, H, W)`` in [0, 1].
        network: takes noisy images and timesteps ``(B,)``, returns an object with a ``sample`` like the images, as
            ``diffusers.UNet2DModel`` does; may be wrapped in ``DistributedDataParallel``.
        optimizer: of the network's parameters; the norm of their gradient is clipped at 1.
        noise_scheduler: a ``diffusers.DDPMScheduler``.
        loss_function: of prediction and target, the mean squared error if None.
        prepare_batch: returns the images of a batch on the device.
        kwargs: any other argument of :class:`monai.engines.SupervisedTrainer`. With ``amp`` the network runs under
            autocast on any type of device; ``amp_kwargs={"dtype": torch.bfloat16}`` needs no loss scaling.

    Raises:
        ValueError: if the scheduler has another ``prediction_type``, or ``accumulation_steps`` is asked for.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Any,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        noise_scheduler: SchedulerMixin,
        loss_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        prepare_batch: Callable[..., Tensor] = prepare_image,
        **kwargs: Any,
    ) -> None:
        prediction_type = noise_scheduler.config.prediction_type
        if prediction_type not in ("epsilon", "v_prediction"):
            raise ValueError(
                f"noise_scheduler must have prediction_type epsilon or v_prediction, got {prediction_type}"
            )
        if kwargs.get("accumulation_steps", 1) != 1:
            raise ValueError("DiffusionTrainer does not accumulate gradients: leave accumulation_steps at 1")
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=nn.MSELoss() if loss_function is None else loss_function,
            prepare_batch=prepare_batch,
            **kwargs,
        )
        self.noise_scheduler = noise_scheduler

    def run(self) -> None:
        """Train, or go on from the previous state."""
        device_type = self.state.device.type
        dtype = self.amp_kwargs.get("dtype", torch.get_autocast_dtype(device_type))
        self.scaler = torch.amp.GradScaler(device_type, enabled=self.amp and dtype == torch.float16)
        Workflow.run(self)  # MONAI's Trainer.run would make a CUDA scaler whatever the device and dtype

    def _iteration(self, engine: DiffusionTrainer, batchdata: dict[str, Any]) -> dict[str, Tensor]:
        images = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        noisy, timesteps, target = engine.diffuse(images * 2 - 1)
        engine.state.output = {Keys.IMAGE: images, Keys.LABEL: target}

        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=engine.optim_set_to_none)
        with torch.autocast(images.device.type, enabled=engine.amp, **engine.amp_kwargs):
            prediction = engine.inferer(noisy, engine.network, timesteps).sample
        engine.state.output[Keys.PRED] = prediction
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        loss = engine.loss_function(prediction.float(), target).mean()
        engine.state.output[Keys.LOSS] = loss
        engine.fire_event(IterationEvents.LOSS_COMPLETED)

        engine.scaler.scale(loss).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(engine.network.parameters(), MAX_GRADIENT_NORM)
        engine.scaler.step(engine.optimizer)
        engine.scaler.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def diffuse(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noise each image to a timestep of its own.

        Args:
            images: ``(B, C, H, W)`` in [-1, 1].

        Returns:
            noisy images, timesteps ``(B,)``, and what the network has to predict, shaped like the images.
        """
        scheduler = self.noise_scheduler
        timesteps = torch.randint(scheduler.config.num_train_timesteps, images.shape[:1], device=images.device)
        noise = torch.randn_like(images)
        noisy = scheduler.add_noise(images, noise, timesteps)
        if scheduler.config.prediction_type == "epsilon":
            return noisy, timesteps, noise
        return noisy, timesteps, scheduler.get_velocity(images, noise, timesteps)
