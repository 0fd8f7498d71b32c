"""MONAI's trainer as the configs set it up for a diffusion model."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import nn

from common.synthesis.diffusion_training import DenoisingInferer, GradientClipping, PrepareDiffusion


def make_trainer(network, batches, optimizer=None, **changes) -> SupervisedTrainer:
    arguments = {
        "device": "cpu",
        "max_epochs": 1,
        "train_data_loader": batches,
        "network": network,
        "loss_function": nn.MSELoss(),
        "optimizer": optimizer or torch.optim.Adam(network.parameters(), lr=1e-3),
        "prepare_batch": PrepareDiffusion(DDPMScheduler()),
        "inferer": DenoisingInferer(),
        "train_handlers": [GradientClipping()],
    }
    return SupervisedTrainer(**{**arguments, **changes})


def losses_of(trainer: SupervisedTrainer) -> list[float]:
    losses = []
    trainer.add_event_handler(
        IterationEvents.LOSS_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].item())
    )
    trainer.run()
    return losses
