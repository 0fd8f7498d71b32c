"""The power of images by octave of spatial frequency."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from common.synthesis.spectrum import power_by_octave

SIZE = 64


def wave(length: float) -> torch.Tensor:
    """Return a grey image of waves of so many pixels."""
    return (0.5 + 0.4 * torch.sin(2 * math.pi * torch.arange(SIZE) / length)).expand(1, 1, SIZE, SIZE)


@pytest.mark.parametrize(("length", "octave"), [(3, 0), (6, 1), (12, 2), (24, 3)])
def test_a_wave_is_in_its_octave(length, octave):
    power = power_by_octave(wave(length))
    assert power.shape == (1, 4)
    assert power.argmax(1).item() == octave


def test_each_channel_counts_by_itself():
    image = torch.cat([wave(3), wave(12), torch.full((1, 1, SIZE, SIZE), 0.3)], dim=1)
    power = power_by_octave(image).view(3, 4)
    assert power.argmax(1)[:2].tolist() == [0, 2]
    assert (power[2] == -6).all()  # nothing but the floor


def test_noise_of_a_known_power_has_it_in_every_octave():
    noise = 0.5 + 0.1 * torch.randn(64, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(power_by_octave(noise).mean(0), torch.full((4,), -2.0), atol=0.1, rtol=0)


def test_blur_takes_the_fine_octaves():
    noise = torch.rand(4, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    blurred = F.avg_pool2d(noise, 5, stride=1, padding=2)
    lost = (power_by_octave(noise) - power_by_octave(blurred)).mean(0)
    assert lost[0] > 1
    assert (lost.diff() < 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 3, 16, 24)])
def test_small_images_have_fewer_octaves(shape):
    assert power_by_octave(torch.rand(shape)).shape == (shape[0], shape[1] * int(math.log2(min(shape[2:])) - 2))
