"""Augmentation that the diffusion model is told of."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusion_trainers import losses_of, make_trainer
from integration import tiny_unet
from monai.data import DataLoader, Dataset, list_data_collate
from monai.data.utils import set_rnd
from monai.transforms import Compose, EnsureTyped, RandAffined

from common.synthesis.diffusion_folder import load_pipeline, save_pipeline
from common.synthesis.pretrained_diffusion import start_from
from common.synthesis.told_augmentation import CHANGED_KEY, NUM_CLASSES, RandChangeAndTelld, drawing_unchanged

SIZE = 16


def told_unet(channels: int = 1) -> UNet2DModel:
    config = {name: value for name, value in tiny_unet(channels).config.items() if not name.startswith("_")}
    torch.manual_seed(3)
    return UNet2DModel(**config | {"num_class_embeds": NUM_CLASSES}).eval()


def changing(prob: float) -> RandChangeAndTelld:
    turn = RandAffined(keys="image", prob=1, rotate_range=3.14, padding_mode="reflection")
    return RandChangeAndTelld("image", Compose([turn]), prob)


@pytest.fixture
def image():
    return torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


class TestRandChangeAndTelld:
    def test_it_says_which_images_it_changed(self, image):
        transform = changing(0.5)
        transform.set_random_state(0)
        drawn = [transform({"image": image}) for _ in range(200)]
        assert 70 < sum(each[CHANGED_KEY] for each in drawn) < 130
        for each in drawn:
            assert torch.equal(torch.as_tensor(each["image"]), image) == (each[CHANGED_KEY] == 0)

    def test_a_seed_fixes_what_is_changed_and_how(self, image):
        transform = changing(0.5)

        def draw(seed):
            set_rnd(Compose([transform]), seed)
            return torch.stack([torch.as_tensor(transform({"image": image})["image"]) for _ in range(8)])

        assert torch.equal(draw(1), draw(1))
        assert not torch.equal(draw(1), draw(2))


def test_changed_and_unchanged_images_go_into_one_batch_in_any_order(image):
    """As the configs have it: what a transform turns comes with metadata, and a batch cannot have both."""
    keep = EnsureTyped(keys="image", track_meta=False)
    turn = RandAffined(keys="image", prob=1, rotate_range=3.14, padding_mode="reflection")
    transform = RandChangeAndTelld("image", Compose([turn, keep]), 0.5)
    transform.set_random_state(0)
    items = [transform({"image": image}) for _ in range(16)]
    items.sort(key=lambda item: -item[CHANGED_KEY])
    assert {item[CHANGED_KEY] for item in items} == {0, 1}
    for order in (items, items[::-1]):
        assert list_data_collate(order)["image"].shape == (16, 1, SIZE, SIZE)


class TestDrawingUnchanged:
    def test_a_network_without_classes_stays_as_it_is(self):
        network = tiny_unet()
        assert drawing_unchanged(network) is network

    def test_it_predicts_what_the_network_predicts_for_images_as_they_are(self, image):
        network, noisy, timesteps = told_unet(), torch.stack([image] * 3), torch.tensor([1, 500, 990])
        with torch.no_grad():
            expected = network(noisy, timesteps, torch.zeros(3, dtype=torch.long)).sample
            changed = network(noisy, timesteps, torch.ones(3, dtype=torch.long)).sample
            found = drawing_unchanged(network)(noisy, timesteps).sample
        torch.testing.assert_close(found, expected)
        assert not torch.allclose(changed, expected)

    def test_the_network_in_training_does_not_change(self):
        network = told_unet().train()
        before = {name: weight.clone() for name, weight in network.state_dict().items()}
        drawing_unchanged(network)
        assert network.training
        assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())

    def test_plain_diffusers_draws_from_what_is_saved(self, tmp_path):
        save_pipeline(told_unet(), DDPMScheduler(), tmp_path / "diffusion")
        pipeline = load_pipeline(tmp_path / "diffusion", 1)
        assert pipeline.unet.config.num_class_embeds is None
        drawn = pipeline(batch_size=1, num_inference_steps=2, output_type="np").images
        assert drawn.shape == (1, SIZE, SIZE, 1)


def test_a_model_learns_that_changed_images_are_others():
    """Images as they are are white and changed ones black: the network that is told draws the white ones."""
    torch.manual_seed(0)
    network = told_unet().train()
    items = [{"image": torch.full((1, SIZE, SIZE), float(i % 2 == 0)), CHANGED_KEY: i % 2} for i in range(16)]
    trainer = make_trainer(network, DataLoader(Dataset(items), batch_size=16), max_epochs=60)
    losses = losses_of(trainer)
    assert losses[-1] < losses[0]
    noisy, timesteps = torch.zeros(1, 1, SIZE, SIZE), torch.tensor([950])
    noise_scheduler = DDPMScheduler()
    with torch.no_grad():
        white = drawing_unchanged(network.eval())(noisy, timesteps).sample
        black = network(noisy, timesteps, torch.ones(1, dtype=torch.long)).sample
    # The noise that is found in a grey image is what is missing of the image that was meant.
    assert noise_scheduler.config.prediction_type == "epsilon"
    assert white.mean() < black.mean()


def test_a_prior_that_knows_no_classes_begins_without_a_difference(tmp_path, image):
    save_pipeline(tiny_unet(seed=1), DDPMScheduler(), tmp_path / "prior")
    network = told_unet()
    start_from(network, DDPMScheduler(), tmp_path / "prior")
    noisy, timesteps = torch.stack([image] * 2), torch.tensor([500, 500])
    with torch.no_grad():
        told = network(noisy, timesteps, torch.tensor([0, 1])).sample
        plain = tiny_unet(seed=1)(noisy, timesteps).sample
    torch.testing.assert_close(told, plain)
