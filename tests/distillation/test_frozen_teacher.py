"""What a teacher puts out for an image, averaged over the ways of showing it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from common.distillation.feature_hooks import FeatureHooks
from common.distillation.frozen_teacher import FrozenTeacher
from common.errors import InputError

LAYERS = ("encoder.neck", "encoder.layers.0")


@pytest.fixture
def network(make_teacher) -> nn.Module:
    return make_teacher(input_scale=2)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def run(network) -> Callable[..., dict[str, Tensor]]:
    """Return what gives a teacher's logits and features of one image."""
    hooks = FeatureHooks(network, LAYERS)

    def run_on(image: Tensor, orientations: int) -> dict[str, Tensor]:
        logits, features = FrozenTeacher(hooks, orientations=orientations)(image[None])
        return {"logits": logits[0], **{layer: feature[0] for layer, feature in features.items()}}

    return run_on


def run_plainly(network: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Run a network on one image, without any of what is tested but hooks."""
    hooks = FeatureHooks(network, LAYERS)
    with torch.no_grad():
        logits = network.eval()(image[None])
    features = hooks.pop(image.shape[1:])
    hooks.close()
    return {"logits": logits[0], **{layer: feature[0] for layer, feature in features.items()}}


def test_one_orientation_is_the_image_as_it_is(run, image, network):
    expected = run_plainly(network, image)
    for key, found in run(image, 1).items():
        assert_close(found, expected[key])


def test_two_are_the_image_and_its_mirror_image(run, image, network):
    plain, mirrored = run_plainly(network, image), run_plainly(network, image.flip(1))
    for key, found in run(image, 2).items():
        assert_close(found, (plain[key] + mirrored[key].flip(1)) / 2)


def test_eight_are_all_different_and_moved_back(run, image, network):
    logits, corners = [], set()
    for mirror in (image, image.flip(1)):
        for quarters in range(4):
            shown = mirror.rot90(quarters, (1, 2))
            corners.add((shown[0, 0, 0].item(), shown[0, 0, -1].item()))
            back = run_plainly(network, shown)["logits"].rot90(-quarters, (1, 2))
            logits.append(back if mirror is image else back.flip(1))
    assert len(corners) == 8
    assert_close(run(image, 8)["logits"], torch.stack(logits).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("move", [lambda x: x.flip(1), lambda x: x.flip(2), lambda x: x.rot90(1, (1, 2))])
def test_with_eight_the_outputs_move_with_the_image_and_with_one_they_do_not(move, run, image):
    for key, found in run(image, 8).items():
        assert_close(run(move(image), 8)[key], move(found), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(run(move(image), 1)["logits"], move(run(image, 1)["logits"]), atol=1e-3)


def test_another_number_is_refused(network):
    with pytest.raises(InputError, match=r"teacher_orientations: expected 1 .*, 2 .* or 8 .*, got 4"):
        FrozenTeacher(FeatureHooks(network, []), orientations=4)


def test_it_is_frozen_and_in_eval_mode_and_stays_so(image):
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)).train()
    teacher = FrozenTeacher(FeatureHooks(network, ["0"]))
    logits, features = teacher(image[None])
    assert not any(module.training for module in network.modules())
    assert network[0].num_batches_tracked == 0
    assert not any(p.requires_grad for p in network.parameters())
    assert not logits.requires_grad
    assert_close(features["0"], image[None] / (1 + 1e-5) ** 0.5)


def test_it_runs_under_autocast_if_it_is_to(network, image):
    hooks = FeatureHooks(network, LAYERS)
    exact, rounded = (
        FrozenTeacher(hooks, amp=amp, amp_kwargs={"dtype": torch.bfloat16})(image[None])[1]["encoder.neck"]
        for amp in (False, True)
    )
    assert not torch.equal(exact, rounded.float())
    assert_close(rounded.float(), exact, rtol=0.1, atol=0.1)


def test_its_outputs_may_take_part_in_a_graph(network, image):
    """As those of inference mode may not."""
    logits, _ = FrozenTeacher(FeatureHooks(network, LAYERS))(image[None])
    weight = torch.ones(1, requires_grad=True)
    (weight * logits).sum().backward()
    assert weight.grad.any()


def test_images_and_weights_get_the_memory_format(network, image):
    seen = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    FrozenTeacher(FeatureHooks(network, LAYERS), memory_format=torch.channels_last)(image[None])
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    convolution = network.encoder.neck.conv2.weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
