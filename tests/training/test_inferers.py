"""Networks that train in bfloat16 on a CPU."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer
from torch import nn

from common.training.inferers import Bfloat16OnCpuInferer


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Conv2d(1, 2, kernel_size=3, padding=1)


@pytest.fixture
def images():
    return torch.rand(2, 1, 8, 8)


def dtypes_within(network: nn.Module) -> list[torch.dtype]:
    seen: list[torch.dtype] = []
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    return seen


def test_the_network_computes_in_it_and_the_loss_has_full_precision(network, images):
    seen = dtypes_within(network)
    outputs = Bfloat16OnCpuInferer(True)(images, network)
    assert (seen, outputs.dtype) == ([torch.bfloat16], torch.float32)
    assert not torch.equal(outputs, network(images))
    torch.testing.assert_close(outputs, network(images), atol=0.02, rtol=0.02)
    outputs.mean().backward()
    assert network.weight.grad.dtype == torch.float32


def test_by_default_it_is_monais_own(network, images):
    seen = dtypes_within(network)
    torch.testing.assert_close(
        Bfloat16OnCpuInferer()(images, network), SimpleInferer()(images, network), atol=0, rtol=0
    )
    assert seen == [torch.float32] * 2


@pytest.mark.parametrize(("device", "expected"), [("cpu", True), ("meta", False)])
def test_elsewhere_than_on_a_cpu_nothing_is_changed(device, expected):
    def network(images):
        return torch.is_autocast_enabled("cpu")

    assert Bfloat16OnCpuInferer(True)(torch.empty(1, device=device), network) is expected


def test_several_outputs_are_left_to_the_loss(images):
    first, second = Bfloat16OnCpuInferer(True)(images, lambda images: (images, images))
    assert first is second is images
