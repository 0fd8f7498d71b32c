"""Stages that are cut off go on where they stopped, end with the same bits, and refuse what another run has left."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
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
from PIL import Image

from common.datasets.drive import DriveDataset

ARTEFACTS = {
    "finetune_teacher": ("teacher/adapter_model.safetensors",),
    "train_diffusion": ("diffusion/unet/diffusion_pytorch_model.safetensors",),
    "distill": ("distilled.pt",),
    "train": ("model.pt",),
}


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory) -> Path:
    return DriveDataset.write_phantoms(
        tmp_path_factory.mktemp("data") / "DRIVE", num_training=4, num_test=1, image_size=IMAGE_SIZE
    )


def inputs(stage: str, output_dir: Path) -> dict:
    """Put in place what a stage needs, and return the settings that say so."""
    output_dir.mkdir()
    if stage == "distill":
        write_teacher(output_dir)
        write_transfer(output_dir)
    return {"train": {"initial_weights": None}, "finetune_teacher": {"frozen_share": 0.5}}.get(stage, {})


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
            "samples_per_epoch": 120,
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
            {"student_def::hidden_size": 48},
            {"epochs": 3},
            {"samples_per_epoch": 8},
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
        with refused(r"loss\.terms\.supervised\.weight was 2, now 0"):
            run_stage("distill", **values, **{"loss::terms::supervised::weight": 0})
        shutil.rmtree(tmp_path / "transfer")
        write_transfer(tmp_path, count=2, seed=1)
        with refused("its images or labels were others"):
            run_stage("distill", **values)
        shutil.rmtree(tmp_path / "checkpoints")
        run_stage("distill", **values, teacher_outputs=None)
        for name in ("teacher", "transfer"):
            shutil.rmtree(tmp_path / name)
        write_teacher(tmp_path, seed=1)
        write_transfer(tmp_path, count=2, seed=2)
        with refused("its images or labels were others; its teacher was another"):
            run_stage("distill", **values, teacher_outputs=None)

    def test_the_teacher_checkpoint_holds_none_of_the_frozen_encoder(self, dataset_dir, tmp_path):
        run_stage("finetune_teacher", dataset_dir=dataset_dir, output_dir=tmp_path, epochs=1)
        names = read_state(tmp_path / "checkpoints" / "finetune_teacher.pt")["network"]
        encoder = [name for name in names if ".encoder." in name]
        assert encoder
        assert all(".lora_" in name for name in encoder)
        assert any(".decoder." in name for name in names)

    def test_a_diverging_training_stops_and_says_so(self, dataset_dir, tmp_path):
        values = {"dataset_dir": dataset_dir, "output_dir": tmp_path, "initial_weights": None, "learning_rate": 1e30}
        with pytest.raises(RuntimeError) as caught:
            run_stage("train", **values)
        message = str(innermost(caught.value))
        assert re.match(r"train: the loss is no longer a number at iteration \d", message)
        assert "lower learning_rate" in message
        assert not (tmp_path / "model.pt").exists()
