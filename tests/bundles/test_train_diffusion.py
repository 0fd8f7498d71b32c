"""The diffusion model of a bundle starts from the weights of another one."""

from __future__ import annotations

import logging

import pytest
import torch
from integration import BUNDLES, read_state, refused, run_stage
from torch.testing import assert_close

from common.synthesis.diffusion_folder import drawn_classes, load_pipeline
from common.synthesis.prior import pretraining

CHANNELS = [8, 8, 8, 16]


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "_CHANNELS", CHANNELS)
        pretraining.pretrain_diffusion(
            str(folder / "model"), steps=1, pictures=4, image_size=32, batch_size=2, num_workers=0
        )
    return folder / "model"


def run(name, prior, tiny_phantoms, tmp_path, **changes):
    """Train for so little that the weights stay where they started."""
    values = {"bundle": BUNDLES / f"{name}_segmentation", "dataset_dir": tiny_phantoms(name), "output_dir": tmp_path}
    values |= {"diffusion_pretrained": str(prior), "diffusion_channels": CHANNELS, "diffusion_layers": 1}
    values |= {"epochs": 1, "samples_per_epoch": 2, "batch_size": 2, "learning_rate": 1e-8, "sample_size": 32}
    run_stage("train_diffusion", **{**values, **changes})
    return load_pipeline(tmp_path / "diffusion").unet


@pytest.mark.parametrize("name", ["ph2", "busi"])
@pytest.mark.parametrize("bfloat16_on_cpu", [True, False])
def test_it_has_its_weights_and_grey_images_the_sum_of_colours(name, prior, tiny_phantoms, tmp_path, bfloat16_on_cpu):
    unet = run(name, prior, tiny_phantoms, tmp_path, bfloat16_on_cpu=bfloat16_on_cpu)
    first = load_pipeline(prior).unet.float()
    expected = first.conv_in.weight if name == "ph2" else first.conv_in.weight.sum(1, keepdim=True)
    assert_close(unet.conv_in.weight, expected, atol=1e-5, rtol=0)
    assert_close(unet.mid_block.resnets[0].conv1.weight, first.mid_block.resnets[0].conv1.weight, atol=1e-5, rtol=0)


def test_another_width_is_refused_with_what_to_give(prior, tiny_phantoms, tmp_path):
    with refused(r"block_out_channels \[8, 8, 8, 16\].*--diffusion_channels '\[8, 8, 8, 16\]'"):
        run("ph2", prior, tiny_phantoms, tmp_path, diffusion_channels=[8, 8, 8, 8])
    assert not (tmp_path / "diffusion").exists()


@pytest.mark.parametrize("name", ["chaos", "drive", "ph2"])
def test_the_network_is_told_of_augmentation_and_what_is_saved_needs_not_be(name, prior, tiny_phantoms, tmp_path):
    unet = run(name, prior, tiny_phantoms, tmp_path, augmentation=0.5, diffusion_pretrained=None, sample_interval=1)
    assert unet.config.num_class_embeds is None
    assert len(list((tmp_path / "samples").iterdir())) == 1


def test_one_that_is_told_starts_from_one_that_was_not(prior, tiny_phantoms, tmp_path):
    unet = run("ph2", prior, tiny_phantoms, tmp_path, augmentation=0.5)
    first = load_pipeline(prior).unet.float()
    assert_close(unet.time_embedding.linear_2.bias, first.time_embedding.linear_2.bias, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["chaos", "drive", "ph2"])
def test_the_weights_of_most_use_are_kept(name, tiny_phantoms, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run_stage(
        "train_diffusion", bundle=BUNDLES / f"{name}_segmentation", dataset_dir=tiny_phantoms(name),
        output_dir=tmp_path, keep_usable=True, sample_interval=1, epochs=2,
    )  # fmt: skip
    assert [f"after epoch {epoch} " in caplog.text for epoch in (1, 2)] == [True, True]
    state = read_state(tmp_path / "checkpoints/train_diffusion.pt")
    kept = state["usable"]["weights"] or state["ema"]
    saved = load_pipeline(tmp_path / "diffusion").unet.state_dict()
    assert all(torch.equal(saved[name], kept[name]) for name in saved)


def test_all_options_go_together(prior, tiny_phantoms, tmp_path):
    values = {"augmentation": 0.5, "with_labels": True, "keep_usable": True, "sample_interval": 1}
    unet = run("ph2", prior, tiny_phantoms, tmp_path, **values, samples_per_epoch=16, batch_size=8)
    assert (unet.config.in_channels, unet.config.num_class_embeds) == (4, None)
    assert drawn_classes(tmp_path / "diffusion") == ["background", "lesion"]
    first = load_pipeline(prior).unet.float()
    assert_close(unet.conv_in.weight[:, :3], first.conv_in.weight, atol=1e-5, rtol=0)
