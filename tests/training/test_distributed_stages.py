"""Whole stages under ``torchrun``, with two processes on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from integration import (
    IMAGE_SIZE,
    assert_same,
    load_stage,
    read_state,
    refused,
    run_python,
    stage_command,
    with_method,
    write_transfer,
)
from torch.testing import assert_close

from common.datasets.drive import DriveDataset
from common.distillation.teacher_outputs import output_keys

# A fragment of config that lays each rank's final state aside, before the processes part.
SAVE_RANKS = """
+imports:
- $import os
+finalize:
- "$torch.save({'network': @network.state_dict(), 'optimizer': @optimizer.state_dict(),
  'iteration': @train::trainer.state.iteration}, @output_dir + '/' + @stage + '_rank' + os.environ['RANK'] + '.pt')"
"""

ARTEFACTS = {
    "finetune_teacher": "teacher/teacher.json",
    "train_diffusion": "diffusion/model_index.json",
    "distill": "distilled.pt",
    "train": "model.pt",
}
EPOCHS = 2
STEPS_PER_EPOCH = 2  # six crops, two processes of batch size two


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory) -> Path:
    """The training stages one after the other, each by two processes."""
    folder = tmp_path_factory.mktemp("distributed")
    dataset_dir = DriveDataset.write_phantoms(folder / "DRIVE", num_training=4, num_test=1, image_size=IMAGE_SIZE)
    (folder / "save_ranks.yaml").write_text(SAVE_RANKS)
    output_dir = folder / "run"
    write_transfer(output_dir, count=3)
    for stage in ARTEFACTS:
        overlays = ("demo", folder / "save_ranks.yaml", "multi_gpu")
        settings = {"dataset_dir": dataset_dir, "output_dir": output_dir, "epochs": EPOCHS, "samples_per_epoch": 6}
        done = run_python(
            *("torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=2", "-m"),
            *stage_command(stage, overlays, **settings),
        )
        assert done.returncode == 0, done.stderr[-4000:]
    return output_dir


@pytest.mark.parametrize("stage", ARTEFACTS)
class TestTwoProcesses:
    def test_the_ranks_end_with_equal_weights(self, stage, output_dir):
        first, second = (read_state(output_dir / f"{stage}_rank{rank}.pt") for rank in (0, 1))
        assert first["optimizer"]["state"]
        assert_same(first, second)

    def test_each_rank_takes_its_share_of_the_steps(self, stage, output_dir):
        assert read_state(output_dir / f"{stage}_rank1.pt")["iteration"] == EPOCHS * STEPS_PER_EPOCH
        checkpoint = read_state(output_dir / "checkpoints" / f"{stage}.pt")
        assert (checkpoint["epoch"], checkpoint["iteration"]) == (EPOCHS, EPOCHS * STEPS_PER_EPOCH)

    def test_only_one_of_them_writes(self, stage, output_dir):
        log = (output_dir / "logs" / f"{stage}.log").read_text(encoding="utf-8")
        assert [log.count(f"{stage}: epoch {epoch}/{EPOCHS}") for epoch in (1, 2)] == [1, 1]
        assert (output_dir / ARTEFACTS[stage]).is_file()
        events = (output_dir / "tensorboard" / stage).glob("events*")  # events.out.tfevents.<time>.<host>.<pid>.<count>
        assert len({path.name.split(".")[-2] for path in events}) == 1
        assert [path for path in output_dir.rglob("*") if "partial" in path.name or "outdated" in path.name] == []

    def test_the_checkpoint_carries_no_trace_of_the_wrapper(self, stage, output_dir):
        names = read_state(output_dir / "checkpoints" / f"{stage}.pt")["network"].keys()
        assert not any(name.startswith("module.") for name in names)


def test_contrast_goes_over_both(output_dir, tmp_path):
    """The ranks train one network; what they would learn from their own images alone differs."""
    write_transfer(tmp_path, count=3)
    (tmp_path / "save_ranks.yaml").write_text(SAVE_RANKS)
    overlays = with_method("mocov3", ("demo", tmp_path / "save_ranks.yaml", "multi_gpu"))
    keys = {"dataset_dir": output_dir.parent / "DRIVE", "output_dir": tmp_path, "head_size": 8, "learning_rate": 0.01}
    done = run_python(
        *("torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=2", "-m"),
        *stage_command("distill", overlays, **keys),
    )
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (read_state(tmp_path / f"distill_rank{rank}.pt") for rank in (0, 1))
    assert_same(first["optimizer"], second["optimizer"])
    assert first["iteration"] == EPOCHS * STEPS_PER_EPOCH
    weights = [{k: v for k, v in each["network"].items() if "running_" not in k} for each in (first, second)]
    assert_same(*weights)  # of batch norms without GPUs, each rank has its own statistics, which are of no use
    landed = read_state(tmp_path / "distilled.pt")
    name = "encoder.blocks.0.attn.qkv.weight"
    assert torch.equal(landed[name], first["network"][f"module.encoder.{name}"])


def test_both_run_the_teacher_and_leave_the_outputs_that_one_would(output_dir, tmp_path, caplog):
    """A single process takes these for its own, and has the same ones when it runs the teacher itself."""
    keys = {"dataset_dir": output_dir.parent / "DRIVE", "output_dir": output_dir, "samples_per_epoch": 6}
    found = []
    for folder in (output_dir / "teacher_outputs", tmp_path / "alone"):
        with caplog.at_level("INFO"):
            stage = load_stage("distill", teacher_outputs=folder, **keys)
            found.append(stage.parser.get_parsed_content("train::samples"))
    shared, alone = found
    assert f"{shared.folder}: those of all 6 images are there" in caplog.text
    assert f"{alone.folder}: there are none yet" in caplog.text
    for one, other in zip(shared, alone, strict=True):
        for key in output_keys(["encoder.neck"]):
            assert_close(one[key], other[key], rtol=2e-3, atol=2e-3)  # batches differ in size


def test_the_overlay_without_torchrun_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    dataset_dir = DriveDataset.write_phantoms(tmp_path / "DRIVE", num_training=4, num_test=1, image_size=IMAGE_SIZE)
    stage = load_stage(
        "train", ("demo", "multi_gpu"), dataset_dir=dataset_dir, output_dir=tmp_path / "run", initial_weights=None
    )
    with refused("multi_gpu.yaml needs torchrun: torchrun --standalone"):
        stage.initialize()
    assert not (tmp_path / "run" / "checkpoints").exists()
