"""Sampling by the solver that is saved with a model."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from diffusion_trainers import losses_of, make_trainer
from integration import tiny_unet
from monai.transforms import LoadImage

from common.synthesis.diffusion_training import PrepareDiffusion
from common.synthesis.pictures import to_pictures
from common.synthesis.sampling import sample, solver_for

SIZE = 16


def test_samples_look_like_the_training_images(tmp_path):
    torch.manual_seed(0)
    network = tiny_unet()
    noise_scheduler = DDPMScheduler(prediction_type="v_prediction")
    images = torch.full((16, 1, SIZE, SIZE), 0.1)
    images[..., : SIZE // 2] = 0.9
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    trainer = make_trainer(
        network, [{"image": images}] * 100, optimizer, prepare_batch=PrepareDiffusion(noise_scheduler)
    )
    losses = losses_of(trainer)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])

    for index, picture in enumerate(to_pictures(sample(network, solver_for(noise_scheduler), 8, SIZE))):
        picture.save(tmp_path / f"{index}.png")
    read = LoadImage(reader="PILReader")  # as distillation does
    pictures = np.stack([read(path) / 255 for path in tmp_path.glob("*.png")])
    first, second = pictures[..., : SIZE // 2].mean((1, 2)), pictures[..., SIZE // 2 :].mean((1, 2))
    assert (first - second > 0.5).all()


class PerfectNetwork(torch.nn.Module):
    """What training on one single image would converge to."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, image, noise_scheduler):
        super().__init__()
        self.clean = image * 2 - 1
        self.noise_scheduler = noise_scheduler
        self.config = SimpleNamespace(in_channels=len(image))

    def forward(self, noisy, timestep):
        signal = self.noise_scheduler.alphas_cumprod[timestep]
        noise = (noisy - signal.sqrt() * self.clean) / (1 - signal).sqrt()
        velocity = signal.sqrt() * noise - (1 - signal).sqrt() * self.clean
        target = noise if self.noise_scheduler.config.prediction_type == "epsilon" else velocity
        return SimpleNamespace(sample=target)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("beta_schedule", ["linear", "squaredcos_cap_v2"])
def test_the_solver_inverts_the_training_noise(prediction_type, beta_schedule):
    noise_scheduler = DDPMScheduler(prediction_type=prediction_type, beta_schedule=beta_schedule)
    image = torch.rand(3, SIZE, SIZE)
    network = PerfectNetwork(image, noise_scheduler)
    (result,) = sample(network, solver_for(noise_scheduler), 1, SIZE)
    torch.testing.assert_close(result, image, atol=1e-3, rtol=0)


def test_the_solver_draws_noise_in_every_step():
    generator, once = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    sample(tiny_unet(), solver_for(DDPMScheduler()), 1, SIZE, num_inference_steps=3, generator=generator)
    torch.randn(1, 1, SIZE, SIZE, generator=once)  # what a deterministic solver starts from
    assert not torch.equal(generator.get_state(), once.get_state())


def test_same_seed_gives_the_same_samples_and_leaves_the_scheduler_alone():
    unet = tiny_unet()
    scheduler = DPMSolverMultistepScheduler()
    first, second, other = (
        sample(unet, scheduler, 3, SIZE, 5, generator=torch.Generator().manual_seed(seed), batch_size=2)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert scheduler.num_inference_steps is None
