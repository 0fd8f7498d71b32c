"""Checkpoints one can resume from, seeds, and a training that stops where it makes no sense; on stages and on toys."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import ignite.handlers
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from integration import (
    IMAGE_SIZE,
    assert_same,
    cut_off,
    environment,
    innermost,
    read_state,
    refused,
    run_stage,
    stage_command,
    trainer_of,
    with_method,
    write_teacher,
    write_transfer,
)
from monai.data import CacheDataset, DataLoader
from monai.transforms import RandScaleIntensityd
from PIL import Image
from torch import nn

from common.datasets.drive import write_phantoms
from common.distillation.methods.momentum_contrast import MomentumEncoder
from common.errors import InputError
from common.training import progress, resuming
from common.training.progress import ProgressReport
from common.training.resuming import ResumableCheckpoint
from common.training.seeds import EpochSeed

ARTEFACTS = {
    "finetune_teacher": ("teacher/adapter_model.safetensors", "teacher/decoder.safetensors"),
    "train_diffusion": ("diffusion/unet/diffusion_pytorch_model.safetensors",),
    "distill": ("distilled.pt",),
    "train": ("model.pt",),
}


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "DRIVE", num_training=4, num_test=1, image_size=IMAGE_SIZE)


def inputs(stage: str, output_dir: Path) -> dict:
    """Put in place what a stage needs, and return the settings that say so."""
    output_dir.mkdir()
    if stage == "distill":
        write_teacher(output_dir)
        write_transfer(output_dir)
    return {"initial_weights": None} if stage == "train" else {}


def read_artefact(path: Path):
    return path.read_bytes() if path.suffix == ".safetensors" else read_state(path)


class TestStages:
    @pytest.mark.parametrize("stage", ARTEFACTS)
    def test_a_stage_that_was_cut_off_ends_with_the_bits_of_one_that_was_not(self, stage, dataset_dir, tmp_path):
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        values = {"dataset_dir": dataset_dir, **inputs(stage, whole), **inputs(stage, cut), "epochs": 3}
        length = trainer_of(run_stage(stage, output_dir=whole, **values)).state.epoch_length
        assert length >= 2

        cut_off(stage, at_iteration=length + 1, output_dir=cut, **values)
        assert not (cut / ARTEFACTS[stage][0]).exists()
        assert read_state(cut / "checkpoints" / f"{stage}.pt")["epoch"] == 1
        again = trainer_of(run_stage(stage, output_dir=cut, **values))

        assert again.state.iteration == 3 * length
        log = (cut / "logs" / f"{stage}.log").read_text(encoding="utf-8")
        assert log.count(f"{stage}: epoch 1/3") == 1
        assert "resuming after epoch 1" in log
        checkpoints = [read_state(folder / "checkpoints" / f"{stage}.pt") for folder in (whole, cut)]
        assert_same(*checkpoints)
        for name in ARTEFACTS[stage]:
            assert_same(read_artefact(whole / name), read_artefact(cut / name))

    @pytest.mark.parametrize("method", ["mae", "mocov3", "task_agnostic_kd"])
    def test_so_does_each_way_to_prepare_the_student(self, method, dataset_dir, tmp_path):
        values = {"dataset_dir": dataset_dir, "overlays": with_method(method), "input_scale": 1, "head_size": 8}
        values |= {"decoder_depth": 1}
        for folder in ("whole", "cut"):
            write_transfer(tmp_path / folder, count=2)
        run_stage("distill", output_dir=tmp_path / "whole", **values)
        cut_off("distill", at_iteration=3, output_dir=tmp_path / "cut", **values)
        assert not (tmp_path / "cut/distilled.pt").exists()
        run_stage("distill", output_dir=tmp_path / "cut", **values)
        assert "resuming after epoch 1" in (tmp_path / "cut/logs/distill.log").read_text(encoding="utf-8")
        for name in ("checkpoints/distill.pt", "distilled.pt"):
            assert_same(*(read_state(tmp_path / folder / name) for folder in ("whole", "cut")))

    def test_what_one_way_to_prepare_the_student_left_no_other_goes_on_with(self, dataset_dir, tmp_path):
        write_teacher(tmp_path)
        write_transfer(tmp_path, count=2)
        values = {"dataset_dir": dataset_dir, "output_dir": tmp_path, "input_scale": 1}
        run_stage("distill", overlays=with_method("task_agnostic_kd"), **values)
        for method in ("task_specific_kd", "mae"):
            with refused("left by a run with other settings"):
                run_stage("distill", overlays=with_method(method), **values)

    def test_a_killed_process_leaves_a_checkpoint_from_which_the_rest_is_the_same(self, dataset_dir, tmp_path):
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        values = {
            **inputs("train", whole),
            **inputs("train", cut),
            "dataset_dir": dataset_dir,
            "patches_per_epoch": 400,
        }
        checkpoint = cut / "checkpoints" / "train.pt"
        command = [sys.executable, "-m", *stage_command("train", output_dir=cut, **values)]
        with subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + 600
            while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            process.kill()
            status = process.wait()
        assert status == -9
        assert read_state(checkpoint)["epoch"] == 1
        assert not (cut / "model.pt").exists()

        run_stage("train", output_dir=cut, **values)
        run_stage("train", output_dir=whole, **values)
        assert "resuming after epoch 1" in (cut / "logs" / "train.log").read_text(encoding="utf-8")
        assert_same(read_state(whole / "model.pt"), read_state(cut / "model.pt"))

    def test_a_finished_stage_started_again_trains_nothing_and_writes_the_same(self, dataset_dir, tmp_path):
        values = {"dataset_dir": dataset_dir, "output_dir": tmp_path, "initial_weights": None}
        run_stage("train", **values)
        before = read_state(tmp_path / "model.pt")
        (tmp_path / "model.pt").unlink()
        run_stage("train", **values)
        assert_same(before, read_state(tmp_path / "model.pt"))
        log = (tmp_path / "logs" / "train.log").read_text(encoding="utf-8")
        assert log.count("train: epoch ") == 2
        assert "nothing is left to train" in log

    @pytest.mark.parametrize(
        "change",
        [
            {"network_def::hidden_size": 48},
            {"epochs": 3},
            {"patches_per_epoch": 8},
            {"learning_rate": 0.004},
            {"split_seed": 1},
            {"loss::lambda_ce": 0.5},
        ],
        ids=["network", "epochs", "length of an epoch", "learning rate", "split", "loss"],
    )
    def test_a_checkpoint_of_other_settings_is_refused(self, change, dataset_dir, tmp_path):
        values = {"dataset_dir": dataset_dir, "output_dir": tmp_path, "initial_weights": None}
        cut_off("train", at_iteration=3, **values)
        checkpoint = tmp_path / "checkpoints" / "train.pt"
        before = checkpoint.read_bytes()
        with refused(str(checkpoint), "left by a run with other settings", "delete it .* or choose another output_dir"):
            run_stage("train", **values, **change)
        assert checkpoint.read_bytes() == before
        assert not (tmp_path / "model.pt").exists()

    def test_a_finished_training_does_not_stand_in_for_one_from_other_weights_or_labels(self, dataset_dir, tmp_path):
        copy = tmp_path / "moved"
        shutil.copytree(dataset_dir, copy)
        values = {"output_dir": tmp_path, "initial_weights": None}
        run_stage("train", dataset_dir=dataset_dir, **values)
        (tmp_path / "model.pt").rename(tmp_path / "other.pt")
        with refused("it began with other weights"):
            run_stage("train", dataset_dir=dataset_dir, **values | {"initial_weights": tmp_path / "other.pt"})
        run_stage("train", dataset_dir=copy, **values)
        for mask in copy.glob("training/1st_manual/*.gif"):
            Image.fromarray(np.asarray(Image.open(mask))[::-1]).save(mask)
        with refused("its images or labels were others"):
            run_stage("train", dataset_dir=copy, **values)

    def test_a_finished_distillation_does_not_stand_in_for_one_from_another_teacher(self, dataset_dir, tmp_path):
        write_teacher(tmp_path)
        write_transfer(tmp_path, count=2)
        values = {"dataset_dir": dataset_dir, "output_dir": tmp_path, "epochs": 1}
        run_stage("distill", **values)
        with refused("loss.supervised_weight was 1, now 0"):
            run_stage("distill", **values, **{"loss::supervised_weight": 0})
        shutil.rmtree(tmp_path / "transfer")
        write_transfer(tmp_path, count=2, seed=1)
        with refused("its images or labels were others"):
            run_stage("distill", **values)
        shutil.rmtree(tmp_path / "checkpoints")
        run_stage("distill", **values, teacher_cache=None)
        for name in ("teacher", "transfer"):
            shutil.rmtree(tmp_path / name)
        write_teacher(tmp_path, seed=1)
        write_transfer(tmp_path, count=2, seed=2)
        with refused("its images or labels were others; its teacher was another"):
            run_stage("distill", **values, teacher_cache=None)

    def test_the_teacher_checkpoint_holds_none_of_the_frozen_encoder(self, dataset_dir, tmp_path):
        run_stage("finetune_teacher", dataset_dir=dataset_dir, output_dir=tmp_path, epochs=1)
        names = read_state(tmp_path / "checkpoints" / "finetune_teacher.pt")["network"]
        encoder = [name for name in names if name.startswith("encoder.")]
        assert encoder
        assert all(".lora_" in name for name in encoder)
        assert any(name.startswith("decoder.") for name in names)

    def test_a_diverging_training_stops_and_says_so(self, dataset_dir, tmp_path):
        values = {"dataset_dir": dataset_dir, "output_dir": tmp_path, "initial_weights": None, "learning_rate": 1e30}
        with pytest.raises(RuntimeError) as caught:
            run_stage("train", **values)
        message = str(innermost(caught.value))
        assert re.match(r"train: the loss is no longer a number at iteration \d", message)
        assert "lower learning_rate" in message
        assert not (tmp_path / "model.pt").exists()


class Toy:
    """A trainer of one linear layer behind a frozen one, with a scripted validation."""

    def __init__(
        self, path: Path, epochs: int = 3, metrics: list[float] | None = None, width: int = 2, resume: bool = True
    ) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))
        self.network[0].requires_grad_(False)
        self.optimizer = torch.optim.SGD(self.network[1].parameters(), lr=0.1, momentum=0.9)
        self.evaluator = SimpleNamespace(state=SimpleNamespace(epoch=0, metrics={}, key_metric_name="dice"))
        self.weights: list[dict] = []  # after each epoch trained here
        self.epochs = epochs
        self.metrics = metrics
        self.engine = Engine(self._step)
        self.engine.add_event_handler(Events.EPOCH_COMPLETED, self._validate)
        self.checkpoint = ResumableCheckpoint(
            path, self.network, {"optimizer": self.optimizer}, self.evaluator if metrics else None, resume=resume
        )
        self.checkpoint.attach(self.engine)

    def _step(self, engine: Engine, batch: torch.Tensor) -> dict:
        self.optimizer.zero_grad()
        loss = self.network(batch).square().mean()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss}

    def _validate(self, engine: Engine) -> None:
        self.weights.append({name: value.clone() for name, value in self.network.state_dict().items()})
        if self.metrics:
            self.evaluator.state.epoch = engine.state.epoch
            self.evaluator.state.metrics = {"dice": self.metrics[engine.state.epoch - 1]}

    def run(self) -> Toy:
        self.engine.run([torch.full((2, 2), 0.5), torch.ones(2, 2)], max_epochs=self.epochs)
        return self


class TestResumableCheckpoint:
    def test_frozen_weights_are_not_saved(self, tmp_path):
        Toy(tmp_path / "toy.pt").run()
        assert read_state(tmp_path / "toy.pt")["network"].keys() == {"1.weight", "1.bias"}

    def test_the_network_ends_with_the_weights_that_did_best(self, tmp_path):
        toy = Toy(tmp_path / "toy.pt", metrics=[0.3, 0.9, 0.5]).run()
        assert_same(dict(toy.network.state_dict()), toy.weights[1])
        assert not torch.equal(toy.weights[1]["1.weight"], toy.weights[2]["1.weight"])

    def test_the_best_weights_survive_an_interruption(self, tmp_path):
        first = Toy(tmp_path / "toy.pt", metrics=[0.9, 0.5, 0.1])
        first.engine.add_event_handler(Events.ITERATION_COMPLETED(once=5), interrupt)
        with pytest.raises(KeyboardInterrupt):
            first.run()
        second = Toy(tmp_path / "toy.pt", metrics=[0.9, 0.5, 0.1]).run()
        assert len(second.weights) == 1
        assert_same(dict(second.network.state_dict()), first.weights[0])

    def test_a_validation_without_a_result_is_no_best_one(self, tmp_path):
        toy = Toy(tmp_path / "toy.pt", metrics=[float("nan"), 0.2, 0.1]).run()
        assert_same(dict(toy.network.state_dict()), toy.weights[1])

    def test_without_validation_the_latest_weights_stay(self, tmp_path):
        toy = Toy(tmp_path / "toy.pt").run()
        assert_same(dict(toy.network.state_dict()), toy.weights[2])

    def test_a_complete_training_is_not_trained_further(self, tmp_path):
        first = Toy(tmp_path / "toy.pt").run()
        second = Toy(tmp_path / "toy.pt").run()
        assert second.weights == []
        assert_same(dict(second.network.state_dict()), first.weights[2])

    def test_a_training_that_must_not_resume_writes_nothing_and_still_ends_with_the_best_weights(self, tmp_path):
        Toy(tmp_path / "toy.pt", epochs=2).run()
        before = (tmp_path / "toy.pt").read_bytes()
        toy = Toy(tmp_path / "toy.pt", metrics=[0.3, 0.9, 0.5], resume=False).run()
        assert len(toy.weights) == 3
        assert_same(dict(toy.network.state_dict()), toy.weights[1])
        assert (tmp_path / "toy.pt").read_bytes() == before

    def test_another_network_is_refused(self, tmp_path):
        Toy(tmp_path / "toy.pt").run()
        with refused("toy.pt was left by a run with other settings", "delete it"):
            Toy(tmp_path / "toy.pt", width=3).run()

    def test_a_damaged_file_is_refused(self, tmp_path):
        Toy(tmp_path / "toy.pt").run()
        whole = (tmp_path / "toy.pt").read_bytes()
        (tmp_path / "toy.pt").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=r"toy\.pt is damaged"):
            Toy(tmp_path / "toy.pt").run()

    def test_a_crash_while_saving_leaves_the_previous_file(self, tmp_path, monkeypatch):
        Toy(tmp_path / "toy.pt", epochs=1).run()
        before = (tmp_path / "toy.pt").read_bytes()

        def half(state: dict, path: Path) -> None:
            Path(path).write_bytes(b"half")
            raise OSError("no space left on device")

        monkeypatch.setattr(torch, "save", half)
        toy = Toy(tmp_path / "other.pt")
        toy.checkpoint.path = tmp_path / "toy.pt"
        with pytest.raises(OSError, match="no space"):
            toy.checkpoint.save(toy.engine)
        assert (tmp_path / "toy.pt").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["toy.pt"]


def interrupt(engine: Engine) -> None:
    raise KeyboardInterrupt


class TestEpochSeed:
    @staticmethod
    def batches(first_epoch: int, last_epoch: int, seed: int = 0) -> list[torch.Tensor]:
        """Return what a trainer sees from one epoch to another: images shuffled, and scaled at random."""
        data = [{"image": torch.full((1, 4), float(index + 1))} for index in range(8)]
        dataset = CacheDataset(data, RandScaleIntensityd("image", factors=0.5, prob=0.7), progress=False)
        loader = DataLoader(dataset, batch_size=2, shuffle=True)
        seen = []

        def step(engine: Engine, batch: dict) -> None:
            seen.append(torch.as_tensor(batch["image"]) + torch.rand(1))  # dropout draws from this generator too

        engine = Engine(step)
        engine.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "epoch", first_epoch - 1))
        EpochSeed(seed, dataset).attach(engine)
        torch.rand(first_epoch)  # whatever came before
        engine.run(loader, max_epochs=last_epoch)
        return seen

    def test_an_epoch_is_the_same_whether_or_not_those_before_it_were_run(self):
        whole, resumed = self.batches(1, 3), self.batches(3, 3)
        assert len(resumed) == 4
        assert_same(whole[8:], resumed)

    def test_epochs_differ_from_each_other(self):
        seen = self.batches(1, 2)
        assert not torch.equal(torch.cat(seen[:4]), torch.cat(seen[4:]))

    def test_seeds_differ_from_each_other(self):
        assert not torch.equal(torch.cat(self.batches(1, 1, seed=0)), torch.cat(self.batches(1, 1, seed=1)))


class TestMomentumEncoder:
    def test_the_average_keeps_more_of_itself_along_half_a_cosine(self):
        encoder = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
        nn.init.zeros_(encoder[0].weight)
        handler = MomentumEncoder(encoder, momentum=0.9)
        found = []

        def step(engine: Engine, batch: float) -> None:
            nn.init.constant_(encoder[0].weight, batch)

        engine = Engine(step)
        handler.attach(engine)
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: found.append(handler.ema_model[0].weight.item())
        )
        values = [1.0, -2.0, 4.0]
        engine.run(values, max_epochs=2)
        expected, average = [], 0.0
        for step_number, value in enumerate(values * 2):
            momentum = 1 - 0.1 * (np.cos(np.pi * step_number / 6) + 1) / 2
            average = momentum * average + (1 - momentum) * value
            expected.append(average)
        assert found == pytest.approx(expected, rel=1e-5)

    def test_its_batch_norms_go_by_the_batch(self):
        encoder = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)).eval()
        average = MomentumEncoder(encoder).ema_model
        assert average.training
        assert average(torch.tensor([[1.0], [3.0]])).mean().item() == pytest.approx(0, abs=1e-6)
        assert not any(p.requires_grad for p in average.parameters())


class TestProgressReport:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_loss_that_is_no_number_stops_the_training(self, value, tmp_path):
        engine = Engine(lambda engine, batch: {"loss": torch.tensor(batch)})
        ProgressReport(tmp_path, "train").attach(engine)
        with pytest.raises(RuntimeError, match="train: the loss is no longer a number at iteration 2"):
            engine.run([1.0, value, 1.0], max_epochs=1)
        assert engine.state.iteration == 2

    def test_it_goes_without_what_is_not_installed_and_says_so_once(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr("common.training.progress.find_spec", lambda name: None)
        for shown in (ignite.handlers.ProgressBar, resuming.TensorBoardStatsHandler):
            monkeypatch.setattr(shown, "attach", lambda *arguments, **options: pytest.fail("attached"))
        progress._has.cache_clear()
        with caplog.at_level("INFO"):
            for _ in range(2):
                trainer = Engine(lambda engine, batch: [{"loss": torch.tensor(0.5)}])
                ProgressReport(tmp_path, "train").attach(trainer)
                trainer.run([0], max_epochs=1)
        progress._has.cache_clear()
        assert caplog.text.count("progress bars are off: tqdm is not installed") == 1
        assert caplog.text.count("TensorBoard's files are off: tensorboard is not installed") == 1
        assert caplog.text.count("train: epoch 1/1, loss 0.5000") == 2
        assert list(tmp_path.iterdir()) == []
