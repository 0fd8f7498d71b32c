"""Stage 2: training, saving and loading the diffusion model."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, DPMSolverMultistepScheduler
from ignite.engine import Engine, Events
from integration import tiny_unet
from monai.handlers import from_engine
from monai.transforms import LoadImage
from PIL import Image
from torch.nn.parallel import DistributedDataParallel

from common.errors import InputError
from common.synthesis.folder import load_pipeline, save_pipeline
from common.synthesis.pictures import SampleGridHandler, to_pictures
from common.synthesis.sampling import sample
from common.synthesis.trainer import DiffusionTrainer

SIZE = 16


def trainer_of(network, batches, noise_scheduler, learning_rate=1e-3, **kwargs) -> DiffusionTrainer:
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    return DiffusionTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        noise_scheduler=noise_scheduler,
        **kwargs,
    )


def losses_of(trainer: DiffusionTrainer) -> list[float]:
    losses = []
    read_loss = from_engine(["loss"], first=True)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(read_loss(engine.state.output)))
    trainer.run()
    return [float(loss) for loss in losses]


@pytest.fixture
def model_dir(tmp_path):
    save_pipeline(tiny_unet(), DDPMScheduler(), tmp_path / "diffusion")
    return tmp_path / "diffusion"


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_loss_is_the_mean_squared_error_of_noise_or_velocity(prediction_type):
    images = torch.rand(4, 3, SIZE, SIZE)
    network = tiny_unet(3)
    reference = tiny_unet(3)
    trainer = trainer_of(network, [{"image": images}], DDPMScheduler(prediction_type=prediction_type))
    torch.manual_seed(7)
    (loss,) = losses_of(trainer)

    torch.manual_seed(7)
    timesteps = torch.randint(1000, (4,))
    noise = torch.randn(4, 3, SIZE, SIZE)
    signal = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[timesteps].view(4, 1, 1, 1)
    clean = images * 2 - 1
    noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
    velocity = signal.sqrt() * noise - (1 - signal).sqrt() * clean
    target = noise if prediction_type == "epsilon" else velocity
    expected = (reference(noisy, timesteps).sample - target).square().mean()
    assert loss == pytest.approx(expected.item(), rel=1e-4)


def test_gradient_norm_is_clipped_at_one():
    network = tiny_unet()
    trainer = trainer_of(
        network,
        [{"image": torch.rand(2, 1, SIZE, SIZE)}],
        DDPMScheduler(),
        loss_function=lambda p, t: 1e4 * (p - t) ** 2,
    )
    trainer.run()
    norm = torch.stack([parameter.grad.norm() for parameter in network.parameters()]).norm()
    assert norm == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_amp_lowers_the_precision_of_the_network_and_not_of_the_loss(dtype):
    network = tiny_unet()
    before = network.conv_out.weight.clone()
    seen = []

    def loss_function(prediction, target):
        seen.append(prediction.dtype)
        return torch.nn.functional.mse_loss(prediction, target)

    trainer = trainer_of(
        network,
        [{"image": torch.rand(2, 1, SIZE, SIZE)}],
        DDPMScheduler(),
        loss_function=loss_function,
        amp=True,
        amp_kwargs={"dtype": dtype},
    )
    trainer.run()
    assert trainer.state.output[0]["pred"].dtype == dtype
    assert seen == [torch.float32]
    assert trainer.scaler.is_enabled() == (dtype == torch.float16)
    assert not torch.equal(network.conv_out.weight, before)


def test_trainer_refuses_what_it_does_not_do():
    with pytest.raises(ValueError, match="prediction_type"):
        trainer_of(tiny_unet(), [], DDPMScheduler(prediction_type="sample"))
    with pytest.raises(ValueError, match="accumulation_steps"):
        trainer_of(tiny_unet(), [], DDPMScheduler(), accumulation_steps=2)


def test_samples_look_like_the_training_images(tmp_path):
    torch.manual_seed(0)
    network = tiny_unet()
    noise_scheduler = DDPMScheduler(prediction_type="v_prediction")
    images = torch.full((16, 1, SIZE, SIZE), 0.1)
    images[..., : SIZE // 2] = 0.9
    losses = losses_of(trainer_of(network, [{"image": images}] * 60, noise_scheduler, learning_rate=1e-2))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])

    save_pipeline(network, noise_scheduler, tmp_path / "model")
    pipeline = load_pipeline(tmp_path / "model")
    for index, picture in enumerate(to_pictures(sample(pipeline.unet, pipeline.scheduler, 8, SIZE))):
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
def test_saved_solver_inverts_the_training_noise(tmp_path, prediction_type, beta_schedule):
    noise_scheduler = DDPMScheduler(prediction_type=prediction_type, beta_schedule=beta_schedule)
    save_pipeline(tiny_unet(), noise_scheduler, tmp_path / "model")
    image = torch.rand(3, SIZE, SIZE)
    network = PerfectNetwork(image, noise_scheduler)
    (result,) = sample(network, load_pipeline(tmp_path / "model").scheduler, 1, SIZE)
    torch.testing.assert_close(result, image, atol=1e-3, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_plain_diffusers_samples_the_same_images_from_the_folder(tmp_path, channels, prediction_type):
    unet = tiny_unet(channels)
    save_pipeline(unet, DDPMScheduler(prediction_type=prediction_type), tmp_path / "model", metadata={"epochs": 3})
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    assert isinstance(pipeline.scheduler, DPMSolverMultistepScheduler)
    assert pipeline.scheduler.config.prediction_type == prediction_type
    theirs = pipeline(batch_size=2, generator=torch.Generator().manual_seed(1), num_inference_steps=25)
    assert theirs.images[0].size == (SIZE, SIZE)

    images = sample(unet, pipeline.scheduler, 2, SIZE, generator=torch.Generator().manual_seed(1))
    assert images.shape == (2, channels, SIZE, SIZE)
    assert images.min() >= 0
    assert images.max() <= 1
    ours = (images * 255).round().byte().permute(0, 2, 3, 1).squeeze(-1).numpy()
    np.testing.assert_array_equal(ours, np.stack([np.asarray(image) for image in theirs.images]))
    assert json.loads((tmp_path / "model/training.json").read_text()) == {"epochs": 3}


def test_saved_solver_draws_noise_in_every_step(model_dir):
    pipeline = load_pipeline(model_dir)
    generator, once = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    sample(pipeline.unet, pipeline.scheduler, 1, SIZE, num_inference_steps=3, generator=generator)
    torch.randn(1, 1, SIZE, SIZE, generator=once)  # what a deterministic solver starts from
    assert not torch.equal(generator.get_state(), once.get_state())


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


def test_network_wrapped_for_distributed_training_is_trained_and_saved(tmp_path):
    idist.initialize("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        network = tiny_unet()
        before = network.conv_in.weight.clone()
        wrapped = DistributedDataParallel(network)
        trainer_of(wrapped, [{"image": torch.rand(2, 1, SIZE, SIZE)}], DDPMScheduler()).run()
        save_pipeline(wrapped, DDPMScheduler(), tmp_path / "model")
    finally:
        idist.finalize()
    assert not torch.equal(network.conv_in.weight, before)
    assert torch.equal(load_pipeline(tmp_path / "model").unet.conv_in.weight, network.conv_in.weight)


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


@pytest.mark.parametrize("training", [True, False])
def test_sample_grid_disturbs_neither_random_state_nor_mode(tmp_path, training):
    unet = tiny_unet(3).train(training)
    engine = Engine(lambda engine, batch: None)
    handler = SampleGridHandler(unet, DDPMScheduler(), tmp_path, interval=2, count=5, num_inference_steps=3)
    handler.attach(engine)
    state = torch.get_rng_state()
    engine.run([0], max_epochs=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training == training for module in unet.modules())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples_epoch_0002.png", "samples_epoch_0004.png"]
    with Image.open(tmp_path / "samples_epoch_0002.png") as grid:
        assert (grid.mode, grid.size) == ("RGB", (3 * SIZE, 2 * SIZE))
    # the weights did not change between the two epochs, so neither did the samples
    first, second = (path.read_bytes() for path in tmp_path.iterdir())
    assert first == second


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
