"""Stage 2: an unconditional diffusion model of the training images.

The model is trained as in DDPM (Ho et al., 2020, arXiv 2006.11239) and sampled with SDE-DPM-Solver++ (Lu et al., 2022,
arXiv 2211.01095). On disk it is a plain diffusers pipeline. Images are float in [0, 1] everywhere; only the diffusion
process itself works in [-1, 1].
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from diffusers import DDPMPipeline, DPMSolverMultistepScheduler, SchedulerMixin, UNet2DModel
from diffusers.utils.torch_utils import randn_tensor
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.engines.workflow import Workflow
from monai.networks.utils import eval_mode
from monai.utils.enums import CommonKeys as Keys
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common.checkpoints import check_replaceable, replace_file, replace_folder
from common.errors import InputError

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


class SampleGridHandler:
    """Write a grid of samples every few epochs, from the same noise each time so that progress can be seen.

    Neither the random state of the training nor the mode of the network changes; in a distributed run rank 0 writes.

    Args:
        network: a ``diffusers.UNet2DModel``, usually the exponential moving average of the one in training.
        noise_scheduler: the training's scheduler; sampling uses the solver that :func:`save_pipeline` would save.
        folder: where ``samples_epoch_0010.png`` and its like go.
        interval: epochs from one grid to the next.
        count: samples in a grid.
        num_inference_steps: denoising steps.
        seed: of the noise.

    Raises:
        ValueError: if ``interval`` or ``count`` is below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        noise_scheduler: SchedulerMixin,
        folder: str | os.PathLike,
        interval: int = 10,
        count: int = 16,
        num_inference_steps: int = 25,
        seed: int = 0,
    ) -> None:
        if interval < 1 or count < 1:
            raise ValueError(f"interval and count must be at least 1, got {interval} and {count}")
        self.network = network
        self.noise_scheduler = noise_scheduler
        self.folder = Path(folder)
        self.interval = interval
        self.count = count
        self.num_inference_steps = num_inference_steps
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Register on a trainer, after any handler that updates the network when an epoch ends."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Engine) -> None:
        """Write the grid of this epoch."""
        if idist.get_rank() != 0:
            return
        unet = _unwrap(self.network)
        images = sample(
            unet,
            _solver(self.noise_scheduler),
            self.count,
            unet.config.sample_size,
            num_inference_steps=self.num_inference_steps,
            generator=torch.Generator().manual_seed(self.seed),
        )
        with replace_file(self.folder / f"samples_epoch_{engine.state.epoch:04d}.png") as path:
            _grid(to_pictures(images)).save(path, format="PNG")


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


def sample(
    unet: UNet2DModel,
    scheduler: SchedulerMixin,
    count: int,
    image_size: int | Sequence[int],
    num_inference_steps: int = 25,
    generator: torch.Generator | None = None,
    batch_size: int = 16,
) -> Tensor:
    """Sample images on the device that the network is on.

    Args:
        unet: the denoising network; left in the mode (train or eval) that it came in.
        scheduler: the solver; a copy of it is used.
        count: images to make.
        image_size: height and width, one number if they are equal.
        num_inference_steps: denoising steps.
        generator: source of the noise, the global one if None. One on the CPU starts from the same noise everywhere.
        batch_size: images denoised together.

    Returns:
        ``(count, C, H, W)`` in [0, 1], on the device of the network.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    scheduler = copy.deepcopy(scheduler)
    batches = []
    with eval_mode(unet):
        for start in range(0, count, batch_size):
            shape = (min(batch_size, count - start), unet.config.in_channels, height, width)
            images = randn_tensor(shape, generator=generator, device=unet.device, dtype=unet.dtype)
            scheduler.set_timesteps(num_inference_steps, device=unet.device)
            for timestep in scheduler.timesteps:
                prediction = unet(images, timestep).sample
                images = scheduler.step(prediction, timestep, images, generator=generator).prev_sample
            batches.append((images / 2 + 0.5).clamp(0, 1))
    return torch.cat(batches)


def _unwrap(network: nn.Module) -> nn.Module:
    return network.module if isinstance(network, DistributedDataParallel) else network


def _solver(noise_scheduler: SchedulerMixin) -> DPMSolverMultistepScheduler:
    """Return the DPM-Solver++ that samples from a model trained with ``noise_scheduler``.

    It is the one that draws fresh noise in each step, which washes out what a model of few images gets wrong: the
    deterministic one carries such errors along, and its samples are grainy.
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


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Turn ``(B, C, W, H)`` in [0, 1], the axis order of MONAI's readers, into grey (C = 1) or RGB (C = 3) pictures."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 3, 2, 1).cpu().numpy()
    return [Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture) for picture in pixels]


def _grid(pictures: Sequence[Image.Image]) -> Image.Image:
    """Lay pictures of one size out in rows, nearly as many as columns."""
    columns = math.ceil(math.sqrt(len(pictures)))
    width, height = pictures[0].size
    grid = Image.new(pictures[0].mode, (columns * width, math.ceil(len(pictures) / columns) * height))
    for index, picture in enumerate(pictures):
        grid.paste(picture, (index % columns * width, index // columns * height))
    return grid
