"""A diffusion model on disk."""

from __future__ import annotations

import json
import shutil
from functools import partial

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, DPMSolverMultistepScheduler
from integration import tiny_unet
from torch.nn.parallel import DistributedDataParallel

from common.errors import InputError
from common.synthesis.diffusion_folder import load_pipeline, save_pipeline
from common.synthesis.noise_levels import solving_timesteps
from common.synthesis.sampling import sample

SIZE = 16


@pytest.fixture
def model_dir(tmp_path):
    save_pipeline(tiny_unet(), DDPMScheduler(), tmp_path / "diffusion")
    return tmp_path / "diffusion"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_plain_diffusers_samples_the_same_images_from_the_folder_at_the_same_noise_levels(
    tmp_path, channels, prediction_type, monkeypatch
):
    unet = tiny_unet(channels)
    save_pipeline(unet, DDPMScheduler(prediction_type=prediction_type), tmp_path / "model")
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    assert isinstance(pipeline.scheduler, DPMSolverMultistepScheduler)
    assert pipeline.scheduler.config.prediction_type == prediction_type
    at_ours = partial(pipeline.scheduler.set_timesteps, timesteps=solving_timesteps(pipeline.scheduler, 10))
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.scheduler, "set_timesteps", lambda count: at_ours())
        theirs = pipeline(batch_size=2, generator=torch.Generator().manual_seed(1), num_inference_steps=10)
    assert theirs.images[0].size == (SIZE, SIZE)

    images = sample(unet, pipeline.scheduler, 2, SIZE, 10, generator=torch.Generator().manual_seed(1))
    assert images.shape == (2, channels, SIZE, SIZE)
    assert images.min() >= 0
    assert images.max() <= 1
    ours = (images * 255).round().byte().permute(0, 2, 3, 1).squeeze(-1).numpy()
    np.testing.assert_array_equal(ours, np.stack([np.asarray(image) for image in theirs.images]))


@pytest.mark.parametrize("beta_schedule", ["linear", "squaredcos_cap_v2"])
def test_the_solver_that_is_saved_is_that_of_the_training_noise(tmp_path, beta_schedule):
    noise_scheduler = DDPMScheduler(beta_schedule=beta_schedule)
    save_pipeline(tiny_unet(), noise_scheduler, tmp_path / "model")
    loaded = load_pipeline(tmp_path / "model").scheduler
    torch.testing.assert_close(loaded.alphas_cumprod, noise_scheduler.alphas_cumprod)
    assert loaded.config.algorithm_type == "sde-dpmsolver++"


def test_saved_folder_holds_safetensors_only_and_replaces_an_earlier_one(tmp_path, model_dir):
    (model_dir / "stale.txt").write_text("from an earlier run")
    unet = tiny_unet(seed=1)
    save_pipeline(unet, DDPMScheduler(), model_dir)
    names = {str(path.relative_to(model_dir)) for path in model_dir.rglob("*") if path.is_file()}
    assert names == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }
    assert torch.equal(load_pipeline(model_dir).unet.conv_in.weight, unet.conv_in.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["diffusion"]


def test_the_network_inside_the_wrapper_of_distributed_training_is_saved(tmp_path):
    idist.initialize("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        network = tiny_unet()
        save_pipeline(DistributedDataParallel(network), DDPMScheduler(), tmp_path / "model")
    finally:
        idist.finalize()
    assert torch.equal(load_pipeline(tmp_path / "model").unet.conv_in.weight, network.conv_in.weight)


def break_index(folder):
    (folder / "model_index.json").unlink()


def name_foreign_class(folder):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "unet": ["my_module", "UNet2DModel"]}))


def name_foreign_pipeline(folder):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": ["evil", "Evil"]}))
    (folder / "evil.py").write_text("raise SystemExit('code of the folder was run')")


def truncate_weights(folder):
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def pickle_weights(folder):
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    path.unlink()
    torch.save(tiny_unet().state_dict(), path.with_suffix(".bin"))


@pytest.mark.parametrize(
    "damage",
    [shutil.rmtree, break_index, name_foreign_class, name_foreign_pipeline, truncate_weights, pickle_weights],
    ids=lambda f: f.__name__,
)
def test_folder_that_is_no_pipeline_is_refused_with_advice(model_dir, damage):
    damage(model_dir)
    with pytest.raises(InputError, match="run train_diffusion"):
        load_pipeline(model_dir)


def test_other_number_of_channels_is_refused(model_dir):
    with pytest.raises(InputError, match="1 channels, expected 3"):
        load_pipeline(model_dir, in_channels=3)
    assert load_pipeline(model_dir, in_channels=1).unet.config.in_channels == 1


def test_folders_of_the_user_are_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/me.png").write_bytes(b"precious")
    with pytest.raises(InputError, match="photos"):
        save_pipeline(tiny_unet(), DDPMScheduler(), tmp_path / "photos")
    assert (tmp_path / "photos/me.png").read_bytes() == b"precious"
