"""Pre-train a prior: a small diffusion model, taught on procedural pictures of every dataset's kind.

``train_diffusion.yaml`` starts from it by ``--diffusion_pretrained``. The noise and the objective are the same there,
and the network is, with ``--diffusion_channels 32,64,96,128 --diffusion_layers 1``.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from monai.utils import set_determinism
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from common.errors import InputError
from common.files.atomic import write_json
from common.synthesis.diffusion_folder import check_room, load_pipeline, save_pipeline
from common.synthesis.diffusion_training import DenoisingInferer, PrepareDiffusion, suit_cpu
from common.synthesis.prior.scene_pictures import ScenePictures
from common.training.processes import has_bfloat16

_CHANNELS = [32, 64, 96, 128]
_HALVED = 0.5  # share of the batches that are seen at half the size, so that the network knows both
_LARGEST = 192  # pixels, of which crops of a fundus still lie within it
_TRAINING = "training.json"


def pretrain_diffusion(
    output_dir: str,
    initial_dir: str | None = None,
    steps: int = 4000,
    pictures: int = 8000,
    image_size: int = 64,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    ema_momentum: float = 0.002,
    seed: int = 0,
    num_workers: int = 2,
) -> None:
    """Pre-train a diffusion model for others to start from, and write it as a folder of diffusers.

    Args:
        output_dir: folder to write the pipeline and ``training.json`` to.
        initial_dir: such a folder to go on from, on other pictures with another ``seed``; None starts from nothing.
        steps: optimiser steps.
        pictures: pictures to draw; each is seen several times, mirrored, at the full or half the size.
        image_size: height and width in pixels, divisible by 16 and at most 192.
        batch_size: pictures in a step.
        learning_rate: AdamW's peak, reached after 5 % of the steps and followed by a cosine.
        ema_momentum: share that each step has in the averaged weights, which are written.
        seed: of pictures, noise and initial weights.
        num_workers: processes that draw pictures.

    Raises:
        InputError: if there is no such folder in ``initial_dir``, ``output_dir`` holds something else, or
            ``image_size`` is none of these.
    """
    if not 16 <= image_size <= _LARGEST or image_size % 16:
        raise InputError(f"--image_size: expected a multiple of 16 up to {_LARGEST}, got {image_size}")
    folder = Path(output_dir)
    check_room(folder)
    set_determinism(seed=seed)
    started, history, recent = time.time(), [], []
    settings = {
        "steps": steps, "pictures": pictures, "image_size": image_size, "batch_size": batch_size,
        "learning_rate": learning_rate, "ema_momentum": ema_momentum, "seed": seed,
    }  # fmt: skip
    network, earlier = _go_on_from(Path(initial_dir)) if initial_dir else (_new_network(image_size), None)
    noise_scheduler = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    prepare, inferer = PrepareDiffusion(noise_scheduler), DenoisingInferer(bfloat16_on_cpu=has_bfloat16())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    drawn = _draw(ScenePictures(pictures, image_size, seed), num_workers)
    suit_cpu(network, device)
    network.to(device, memory_format=torch.channels_last).train()
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - ema_momentum))
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=max(steps, 1), pct_start=0.05, cycle_momentum=False, final_div_factor=100
    )
    progress = tqdm(range(1, steps + 1), desc="pre-training", mininterval=10)
    for step in progress:
        images = _random_batch(drawn, batch_size)
        noisy, target, timesteps, _ = prepare({"image": images}, device)
        loss = F.mse_loss(inferer(noisy, network, *timesteps), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        recent.append(loss.item())
        if step % 100 == 0 or step == steps:
            history.append({"step": step, "loss": round(sum(recent) / len(recent), 4)})
            progress.write(str(history[-1]))
            recent = []
    minutes = round((time.time() - started) / 60, 1)
    save_pipeline(averaged.module.half(), noise_scheduler, folder)
    write_json(folder / _TRAINING, {**settings, "minutes": minutes, "history": history, "earlier": earlier})


def _new_network(image_size: int) -> UNet2DModel:
    return UNet2DModel(
        sample_size=image_size,
        in_channels=3,
        out_channels=3,
        block_out_channels=_CHANNELS,
        down_block_types=["DownBlock2D"] * 3 + ["AttnDownBlock2D"],
        up_block_types=["AttnUpBlock2D"] + ["UpBlock2D"] * 3,
        layers_per_block=1,
        norm_num_groups=8,
    )


def _go_on_from(folder: Path) -> tuple[UNet2DModel, dict]:
    """Return the model in a folder that :func:`pretrain_diffusion` wrote, and how it was made."""
    if not (folder / _TRAINING).is_file():
        raise InputError(f"--initial_dir: there is no {_TRAINING} in {folder}; expected what pretrain_diffusion wrote")
    return load_pipeline(folder).unet.float(), json.loads((folder / _TRAINING).read_text(encoding="utf-8"))


def _draw(pictures: ScenePictures, num_workers: int) -> Tensor:
    """Return all pictures, uint8 of shape ``(N, 3, W, H)``."""
    loader = DataLoader(pictures, batch_size=50, num_workers=num_workers)
    return torch.cat(list(tqdm(loader, desc="drawing pictures", mininterval=10)))


def _random_batch(drawn: Tensor, batch_size: int) -> Tensor:
    """Return pictures ``(B, 3, W, H)`` in [0, 1], half of them mirrored, all at the full or all at half the size."""
    images = drawn[torch.randint(len(drawn), (batch_size,))].float() / 255
    mirrored = torch.rand(batch_size, 1, 1, 1) < 0.5
    images = torch.where(mirrored, images.flip(2), images)
    return F.avg_pool2d(images, 2) if torch.rand(()) < _HALVED else images
