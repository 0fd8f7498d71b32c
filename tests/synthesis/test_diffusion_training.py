"""MONAI's trainer trains a diffusion model."""

from __future__ import annotations

import copy

import ignite.distributed as idist
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from diffusion_trainers import losses_of, make_trainer
from ignite.engine import Events
from integration import tiny_unet
from monai.data import MetaTensor
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from common.synthesis.diffusion_training import (
    DenoisingInferer,
    DenoisingLoss,
    GradientClipping,
    PrepareDiffusion,
    suit_cpu,
)
from common.synthesis.noise_levels import draw_timesteps

SIZE = 16


def gradient_norm(network: nn.Module) -> torch.Tensor:
    return torch.stack([parameter.grad.norm() for parameter in network.parameters()]).norm()


class Recorder(PrepareDiffusion):
    """Keeps what the network and the loss get."""

    def __init__(self, noise_scheduler):
        super().__init__(noise_scheduler)
        self.batches = []

    def __call__(self, *args, **kwargs):
        self.batches.append(super().__call__(*args, **kwargs))
        return self.batches[-1]


class TestPrepareDiffusion:
    @pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
    def test_the_loss_is_the_mean_squared_error_of_noise_or_velocity(self, prediction_type):
        images = torch.rand(4, 3, SIZE, SIZE)
        network, reference = tiny_unet(3), tiny_unet(3)
        prepare_batch = PrepareDiffusion(DDPMScheduler(prediction_type=prediction_type))
        trainer = make_trainer(network, [{"image": images}], prepare_batch=prepare_batch)
        torch.manual_seed(7)
        (loss,) = losses_of(trainer)

        torch.manual_seed(7)
        timesteps = draw_timesteps(prepare_batch.noise_scheduler, 4)
        noise = torch.randn(4, 3, SIZE, SIZE)
        signal = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[timesteps].view(4, 1, 1, 1)
        clean = images * 2 - 1
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
        velocity = signal.sqrt() * noise - (1 - signal).sqrt() * clean
        target = noise if prediction_type == "epsilon" else velocity
        expected = (reference(noisy, timesteps).sample - target).square().mean()
        assert loss == pytest.approx(expected.item(), rel=1e-4)

    def test_metadata_does_not_reach_the_network(self):
        images = MetaTensor(torch.rand(2, 1, SIZE, SIZE), meta={"filename_or_obj": "a.png"})
        noisy, target, (timesteps,), keywords = PrepareDiffusion(DDPMScheduler())({"image": images, "label": None})
        assert not any(isinstance(each, MetaTensor) for each in (noisy, target, timesteps))
        assert noisy.shape == target.shape == images.shape
        assert keywords == {}

    def test_another_kind_of_prediction_is_refused(self):
        with pytest.raises(ValueError, match="prediction_type epsilon or v_prediction, got sample"):
            PrepareDiffusion(DDPMScheduler(prediction_type="sample"))


class TestSuitCpu:
    """Attention by plain products, where these are faster."""

    def attending(self, size: int = SIZE) -> UNet2DModel:
        torch.manual_seed(0)
        return UNet2DModel(
            sample_size=size,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
        )

    def processors(self, network: UNet2DModel) -> set[type]:
        return {type(module.processor) for module in network.modules() if isinstance(module, Attention)}

    def test_what_the_network_predicts_and_how_it_learns_stay_the_same(self):
        images, timesteps, found = torch.rand(2, 1, SIZE, SIZE), torch.tensor([3, 900]), []
        for suited in (False, True):
            network = self.attending()
            if suited:
                suit_cpu(network, "cpu")
            assert self.processors(network) == {AttnProcessor if suited else AttnProcessor2_0}
            prediction = network(images, timesteps).sample
            prediction.square().mean().backward()
            found.append([prediction.detach(), *(weight.grad for weight in network.parameters())])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize(("size", "device"), [(SIZE, "cuda"), (64, "cpu")], ids=["a GPU", "many places"])
    def test_elsewhere_it_stays_as_it_is(self, size, device):
        network = self.attending(size)
        suit_cpu(network, device)
        assert self.processors(network) == {AttnProcessor2_0}


class TestDenoisingLoss:
    def test_of_images_alone_it_is_the_mean_squared_error(self):
        prediction, target = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
        torch.testing.assert_close(DenoisingLoss(3)(prediction, target), nn.MSELoss()(prediction, target))

    def test_the_image_counts_as_much_with_many_structures_as_without(self):
        target = torch.zeros(2, 31, 4, 4)
        image, label = target.clone(), target.clone()
        image[:, :1] = 1
        label[:, 1:] = 1
        assert DenoisingLoss(1)(image, target) == DenoisingLoss(1)(label, target) == 1


class TestDenoisingInferer:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_the_loss_has_full_precision_whatever_the_network_has(self, dtype):
        network, seen = tiny_unet(), []
        network.register_forward_hook(lambda module, inputs, output: seen.append(output.sample.dtype))
        with torch.autocast("cpu", dtype=dtype):
            prediction = DenoisingInferer()(torch.rand(2, 1, SIZE, SIZE), network, torch.tensor([3, 900]))
        assert seen == [dtype]
        assert prediction.dtype == torch.float32

    @pytest.mark.parametrize("bfloat16_on_cpu", [True, False])
    def test_the_network_computes_in_bfloat16_where_that_is_asked_for(self, bfloat16_on_cpu):
        network, seen = tiny_unet(), []
        network.register_forward_hook(lambda module, inputs, output: seen.append(output.sample.dtype))
        images, timesteps = torch.rand(2, 1, SIZE, SIZE), torch.tensor([3, 900])
        prediction = DenoisingInferer(bfloat16_on_cpu)(images, network, timesteps)
        assert seen == [torch.bfloat16 if bfloat16_on_cpu else torch.float32]
        assert prediction.dtype == torch.float32
        torch.testing.assert_close(prediction, network(images, timesteps).sample, atol=0.05, rtol=0.05)


class TestGradientClipping:
    def test_the_norm_of_all_gradients_is_clipped(self):
        network = tiny_unet()
        batches = [{"image": torch.rand(2, 1, SIZE, SIZE)}]
        make_trainer(network, batches, loss_function=lambda p, t: 1e4 * (p - t) ** 2).run()
        assert gradient_norm(network) == pytest.approx(1.0, rel=1e-3)

    def test_smaller_gradients_stay_as_they_are(self):
        networks = [tiny_unet(), tiny_unet()]
        for network, handlers in zip(networks, ([GradientClipping(1e6)], []), strict=True):
            torch.manual_seed(0)
            make_trainer(network, [{"image": torch.zeros(2, 1, SIZE, SIZE)}], train_handlers=handlers).run()
        clipped, plain = (gradient_norm(network) for network in networks)
        assert clipped == plain

    @pytest.mark.parametrize("accumulation_steps", [1, 2])
    def test_scaled_gradients_are_clipped_by_their_true_size(self, accumulation_steps, monkeypatch):
        """With the scaler that MONAI's trainer has on a GPU; that it is made for the CPU alone is changed."""
        monkeypatch.setattr(torch.cuda.amp, "GradScaler", lambda: torch.amp.GradScaler("cpu", init_scale=2.0**10))
        batches = [{"image": torch.rand(2, 1, SIZE, SIZE)} for _ in range(5)]
        networks = [tiny_unet(), tiny_unet()]
        for network, amp in zip(networks, (False, True), strict=True):
            torch.manual_seed(0)
            optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
            trainer = make_trainer(
                network, batches, optimizer, amp=amp, accumulation_steps=accumulation_steps, max_epochs=2
            )
            trainer.run()
            assert (trainer.scaler is not None) == amp
        for plain, scaled in zip(*(network.parameters() for network in networks), strict=True):
            torch.testing.assert_close(plain, scaled, rtol=1e-3, atol=1e-4)
        assert not torch.equal(networks[0].conv_in.weight, tiny_unet().conv_in.weight)

    @pytest.mark.parametrize("max_norm", [0, -1])
    def test_a_norm_that_is_not_positive_is_refused(self, max_norm):
        with pytest.raises(ValueError, match="max_norm must be positive"):
            GradientClipping(max_norm)


class TestAccumulation:
    def test_four_small_batches_make_the_step_of_a_large_one(self):
        images = torch.rand(4, 1, SIZE, SIZE)
        network = tiny_unet()
        expected = copy.deepcopy(network)
        recorder = Recorder(DDPMScheduler())
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        small = [{"image": image[None]} for image in images]
        make_trainer(network, small, optimizer, accumulation_steps=4, prepare_batch=recorder).run()

        noisy, target = (torch.cat([batch[index] for batch in recorder.batches]) for index in (0, 1))
        timesteps = torch.cat([batch[2][0] for batch in recorder.batches])
        large = torch.optim.SGD(expected.parameters(), lr=1.0)
        nn.functional.mse_loss(expected(noisy, timesteps).sample, target).backward()
        assert gradient_norm(expected) > 1
        nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
        large.step()
        for ours, theirs in zip(network.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)

    def test_gradients_are_clipped_once_for_each_step_of_the_optimizer(self, monkeypatch):
        events = []
        original = nn.utils.clip_grad_norm_
        monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *args: (events.append("clip"), original(*args))[1])
        network = tiny_unet()
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
        optimizer.register_step_post_hook(lambda *args: events.append("step"))
        batches = [{"image": torch.rand(1, 1, SIZE, SIZE)}] * 5
        trainer = make_trainer(network, batches, optimizer, accumulation_steps=2, max_epochs=2)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: events.append("epoch"))
        trainer.run()
        assert events == [*["clip", "step"] * 3, "epoch"] * 2  # two of two batches, and what is left


def test_network_wrapped_for_distributed_training_is_trained(tmp_path):
    idist.initialize("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        network = tiny_unet()
        make_trainer(DistributedDataParallel(network), [{"image": torch.rand(2, 1, SIZE, SIZE)}]).run()
    finally:
        idist.finalize()
    assert not torch.equal(network.conv_in.weight, tiny_unet().conv_in.weight)
