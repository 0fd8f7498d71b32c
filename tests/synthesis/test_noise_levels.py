"""Training and drawing keep to the noise levels at which shapes come to be."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from integration import tiny_unet

from common.synthesis.diffusion_training import PrepareDiffusion
from common.synthesis.noise_levels import draw_timesteps, noise_levels, solving_timesteps
from common.synthesis.sampling import sample, solver_for

SCHEDULES = [
    DDPMScheduler(beta_schedule=schedule, prediction_type="v_prediction")
    for schedule in ("linear", "squaredcos_cap_v2")
]
each_schedule = pytest.mark.parametrize("scheduler", SCHEDULES, ids=lambda scheduler: scheduler.config.beta_schedule)


@each_schedule
def test_a_noise_level_is_the_noise_beside_an_image_of_full_size(scheduler):
    image, noise = torch.ones(1, 1, 1, 1), torch.randn(1, 1, 100, 100)
    for timestep in (10, 500, 900):
        timesteps = torch.tensor([timestep])
        signal = scheduler.add_noise(image, torch.zeros(1), timesteps)
        noisy = scheduler.add_noise(torch.zeros(1), noise, timesteps)
        assert (noisy / signal).std() / noise.std() == pytest.approx(noise_levels(scheduler)[timestep].item(), rel=1e-4)


def test_timesteps_are_drawn_where_diffusers_has_moved_the_schedule_to_a_gpu():
    class OnGpu:
        def cpu(self):
            return SCHEDULES[0].alphas_cumprod

    scheduler = SimpleNamespace(alphas_cumprod=OnGpu())
    assert draw_timesteps(scheduler, 4).device.type == "cpu"
    assert len(solving_timesteps(scheduler, 5)) == 5


@each_schedule
@pytest.mark.parametrize(("median", "spread"), [(0.3, 1.2), (0.8, 0.6)])
def test_levels_of_a_training_are_distributed_log_normally(scheduler, median, spread):
    torch.manual_seed(0)
    logarithms = noise_levels(scheduler)[draw_timesteps(scheduler, 20000, median, spread)].log()
    assert logarithms.median() == pytest.approx(math.log(median), abs=0.05)
    low, high = logarithms.quantile(0.159), logarithms.quantile(0.841)
    assert (high - low) / 2 == pytest.approx(spread, rel=0.05)


def test_every_timestep_is_a_training_one_however_far_the_levels_reach():
    timesteps = draw_timesteps(SCHEDULES[0], 1000, median=1.0, spread=100)
    assert timesteps.min() == 0
    assert timesteps.max() == 999


def test_a_batch_is_noised_to_the_levels_that_are_asked_for():
    prepare = PrepareDiffusion(SCHEDULES[1], noise_median=2.0, noise_spread=0.01)
    _, _, (timesteps,), _ = prepare({"image": torch.rand(8, 1, 4, 4)})
    assert noise_levels(SCHEDULES[1])[timesteps].numpy() == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("wrong", [{"noise_median": 0}, {"noise_spread": -1.0}, {"noise_median": math.inf}])
def test_numbers_that_are_no_distribution_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be positive and finite"):
        PrepareDiffusion(SCHEDULES[0], **wrong)


@each_schedule
def test_drawing_begins_in_noise_alone_and_ends_where_it_cannot_be_seen(scheduler):
    timesteps = solving_timesteps(scheduler, 20)
    levels = noise_levels(scheduler)[timesteps]
    assert len(timesteps) == 20
    assert timesteps == sorted(timesteps, reverse=True)
    assert levels[0] == pytest.approx(12, rel=0.1)
    assert levels[-1] == pytest.approx(0.03, rel=0.1)
    assert (levels < 2).sum() >= 8, "shapes come to be there"


def test_a_sample_takes_as_many_evaluations_as_are_asked_for():
    network = tiny_unet()
    seen = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(int(inputs[1])))
    sample(network, solver_for(SCHEDULES[1]), 1, 16, num_inference_steps=20)
    assert seen == solving_timesteps(SCHEDULES[1], 20)
