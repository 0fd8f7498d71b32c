"""A diffusion model that starts from the weights of another one."""

from __future__ import annotations

import json
import logging
import os
import shutil

import pytest
import torch
from diffusers import DDPMScheduler
from integration import tiny_unet
from safetensors.torch import load_file, save_file

from common.errors import InputError
from common.synthesis.diffusion_folder import save_pipeline
from common.synthesis.pretrained_diffusion import start_from
from common.teachers import model_files

SIZE = 16
_WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    """A pipeline of three channels, in half precision as the prior is."""
    save_pipeline(tiny_unet(3, seed=1).half(), DDPMScheduler(), tmp_path / "earlier")
    return tmp_path / "earlier"


def predict(network, images):
    with torch.no_grad():
        return network(images, torch.tensor(500)).sample


def test_nothing_is_loaded_without_a_source():
    network = tiny_unet(3)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    start_from(network, DDPMScheduler(), None)
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())


@pytest.mark.parametrize("layout", ["pipeline", "network alone"])
def test_a_network_has_the_weights_of_the_folder(folder, layout, caplog):
    network = tiny_unet(3)
    with caplog.at_level(logging.INFO):
        start_from(network, DDPMScheduler(), folder if layout == "pipeline" else folder / "unet")
    assert "starts from" in caplog.text
    images = torch.rand(2, 3, SIZE, SIZE)
    torch.testing.assert_close(predict(network, images), predict(tiny_unet(3, seed=1).half().float(), images))


def test_grey_images_are_seen_as_equal_channels(folder):
    network = tiny_unet(1)
    start_from(network, DDPMScheduler(), folder)
    grey = torch.rand(2, 1, SIZE, SIZE)
    coloured = predict(tiny_unet(3, seed=1).half().float(), grey.repeat(1, 3, 1, 1))
    torch.testing.assert_close(predict(network, grey), coloured.mean(1, keepdim=True))


@pytest.mark.parametrize("channels", [(3, 2), (1, 3)], ids=["3 to 2", "1 to 3"])
def test_other_numbers_of_channels_are_refused(tmp_path, channels):
    has, wants = channels
    save_pipeline(tiny_unet(has), DDPMScheduler(), tmp_path / "earlier")
    with pytest.raises(InputError, match=f"is for images of {has} channels, and these have {wants}"):
        start_from(tiny_unet(wants), DDPMScheduler(), tmp_path / "earlier")


def test_another_architecture_is_refused_with_the_overrides_for_it(folder):
    path = folder / "unet/config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "block_out_channels": [32, 64], "norm_num_groups": 16}))
    with pytest.raises(InputError) as error:
        start_from(tiny_unet(3), DDPMScheduler(), folder)
    assert "--diffusion_channels '[32, 64]'" in str(error.value)
    assert "--diffusion_def::norm_num_groups 16" in str(error.value)


def test_a_network_of_another_kind_is_refused(folder):
    path = folder / "unet/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": "UNet2DConditionModel"}))
    with pytest.raises(InputError, match="is a UNet2DConditionModel; expected an unconditional UNet2DModel"):
        start_from(tiny_unet(3), DDPMScheduler(), folder)


@pytest.mark.parametrize(
    ("scheduler", "override"),
    [
        ({"prediction_type": "v_prediction"}, "--noise_scheduler::prediction_type epsilon"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "--noise_scheduler::beta_schedule linear"),
        ({"beta_end": 0.01}, "--noise_scheduler::beta_end 0.02"),
    ],
)
def test_a_model_that_learned_from_other_noise_is_refused(folder, scheduler, override):
    with pytest.raises(InputError, match=override):
        start_from(tiny_unet(3), DDPMScheduler(**scheduler), folder)


def cut_weights(folder):
    path = folder / "unet" / _WEIGHTS
    path.write_bytes(path.read_bytes()[:100])


def lose_weights(folder):
    (folder / "unet" / _WEIGHTS).unlink()


def lose_one(folder):
    state = load_file(folder / "unet" / _WEIGHTS)
    save_file({name: weight for name, weight in state.items() if name != "conv_in.bias"}, folder / "unet" / _WEIGHTS)


def spoil_one(folder):
    state = load_file(folder / "unet" / _WEIGHTS)
    save_file({**state, "conv_in.bias": state["conv_in.bias"] * torch.nan}, folder / "unet" / _WEIGHTS)


def pickle_weights(folder):
    lose_weights(folder)
    torch.save(tiny_unet(3).state_dict(), folder / "unet/diffusion_pytorch_model.bin")


def lead_outside(folder):
    other = folder.parent / "elsewhere.safetensors"
    shutil.move(folder / "unet" / _WEIGHTS, other)
    os.symlink(other, folder / "unet" / _WEIGHTS)


def list_as_config(folder):
    (folder / "unet/config.json").write_text("[]")


@pytest.mark.parametrize(
    "damage",
    [shutil.rmtree, cut_weights, lose_weights, lose_one, spoil_one, pickle_weights, lead_outside, list_as_config],
    ids=lambda damage: damage.__name__,
)
def test_damaged_folders_are_refused(folder, damage):
    damage(folder)
    with pytest.raises(InputError):
        start_from(tiny_unet(3), DDPMScheduler(), folder)


def test_code_in_a_folder_does_not_run(folder):
    path = folder / "unet/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoModel": "evil.Evil"}}))
    (folder / "unet/evil.py").write_text("raise SystemExit('code of the folder was run')")
    network = tiny_unet(3)
    start_from(network, DDPMScheduler(), folder)
    assert torch.equal(network.conv_in.weight, tiny_unet(3, seed=1).half().float().conv_in.weight)


def test_a_hub_that_cannot_be_asked_is_named_at_once(monkeypatch):
    monkeypatch.setattr(model_files, "is_reachable", lambda: False)
    with pytest.raises(
        InputError, match=r"'google/ddpm-celebahq-256'.*no such folder, and on the hub config\.json is missing"
    ):
        start_from(tiny_unet(3), DDPMScheduler(), "google/ddpm-celebahq-256")
