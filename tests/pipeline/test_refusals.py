"""What stages refuse before they train, and what a user sees of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from integration import (
    BUNDLE,
    IMAGE_SIZE,
    load_stage,
    refused,
    run_stage,
    tiny_student,
    write_teacher,
    write_transfer,
)
from PIL import Image

from common.__main__ import main
from common.datasets.drive import DriveDataset
from common.errors import InputError
from common.files.locks import lock_folder, unlock_folder
from common.pipeline import stage_process
from common.pipeline.data import MANIFEST
from common.pipeline.run import run_pipeline
from common.pipeline.stages import TRAINING_STAGES
from common.training import logs


@pytest.fixture
def broken_dir(dataset_dir, tmp_path) -> Path:
    """A copy of the dataset with four issues."""
    broken = Path(shutil.copytree(dataset_dir, tmp_path / "broken"))
    (broken / "training" / "1st_manual" / "21_manual1.gif").unlink()
    label = broken / "training" / "1st_manual" / "22_manual1.gif"
    Image.open(label).convert("L").resize((70, 96)).point(lambda value: 255 * (value > 127)).save(label)
    label = broken / "training" / "1st_manual" / "23_manual1.gif"
    grey = Image.open(label).convert("L")
    grey.putpixel((3, 3), 77)
    grey.save(label)
    image = broken / "test" / "images" / "01_test.tif"
    image.write_bytes(image.read_bytes()[:2000])
    return broken


ISSUES = (
    "4 issues",
    r"21_training\.tif: no label, expected training/1st_manual/21_manual1\.gif",
    r"22_manual1\.gif: is 70 x 96, but its image .* is 80 x 96",
    r"23_manual1\.gif: expected two grey values",
    r"01_test\.tif: cannot be read as an image",
)


def written(folder: Path) -> list[str]:
    """Return what a refused run left in its output folder, besides logs and what it has checked."""
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in paths if path.parts[0] not in ("logs", ".lock", ".pipeline.lock", MANIFEST)]


class TestRefused:
    """Nothing runs and nothing is written, logs aside."""

    def test_a_path_that_monai_has_changed_already(self, tmp_path):
        with pytest.raises(InputError, match=r"output_dir: .*run::2 has ::, which is what MONAI makes of #"):
            logs.start(tmp_path / "run::2", "train")
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("stage", TRAINING_STAGES)
    def test_by_every_training_stage_every_issue_of_the_dataset_at_once(self, stage, broken_dir, tmp_path):
        with refused(*ISSUES):
            load_stage(stage, dataset_dir=broken_dir, output_dir=tmp_path / "run").initialize()
        assert written(tmp_path / "run") == []

    @pytest.mark.parametrize("count", [0, 1])
    def test_a_dataset_with_too_few_images(self, count, tmp_path):
        few = DriveDataset.write_phantoms(tmp_path / "few", num_training=count, num_test=1, image_size=IMAGE_SIZE)
        with refused("training/images: .*(no images|2 complete images needed .*found 1)"):
            load_stage("train", dataset_dir=few, output_dir=tmp_path / "run").initialize()

    @pytest.mark.parametrize(
        ("num_labels", "message"),
        [
            (0, "num_labels: expected a whole number of at least 1, or null, got 0"),
            (4, "num_labels must be between 1 and the 3 training images available, got 4"),
        ],
    )
    def test_a_label_budget_out_of_range(self, num_labels, message, dataset_dir, tmp_path):
        with refused(message):
            load_stage(
                "finetune_teacher", dataset_dir=dataset_dir, output_dir=tmp_path, num_labels=num_labels
            ).initialize()

    @pytest.mark.parametrize(
        ("stage", "size"),
        [
            ("finetune_teacher", {"crop_size": 33}),
            ("train_diffusion", {"sample_size": 36}),
            ("distill", {"crop_size": 40}),
            ("distill", {"crop_size": 64}),
            ("train", {"crop_size": 40}),
            ("train", {"crop_size": 112}),
        ],
    )
    def test_a_size_that_does_not_suit(self, stage, size, dataset_dir, tmp_path):
        write_teacher(tmp_path / "run")
        write_transfer(tmp_path / "run", size=48)
        [(key, value)] = size.items()
        with refused(f"{key}.* {value}"):
            load_stage(
                stage, dataset_dir=dataset_dir, output_dir=tmp_path / "run", initial_weights=None, **size
            ).initialize()
        assert not (tmp_path / "run" / "checkpoints").exists()

    @pytest.mark.parametrize(("stage", "folder"), [("finetune_teacher", "teacher"), ("train_diffusion", "diffusion")])
    def test_a_folder_of_something_else_where_the_result_is_to_be(self, stage, folder, dataset_dir, tmp_path):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lesson.txt").write_text("somebody's", encoding="utf-8")
        with refused(rf"{folder} exists and holds no \w+\.json, so it is not overwritten"):
            load_stage(stage, dataset_dir=dataset_dir, output_dir=tmp_path).initialize()

    @pytest.mark.parametrize("stage", ["inference", "evaluate"])
    def test_a_window_that_does_not_suit_the_student(self, stage, dataset_dir, tmp_path):
        torch.save(tiny_student().state_dict(), tmp_path / "model.pt")
        images = dataset_dir / "test" / "images" if stage == "inference" else dataset_dir
        with refused("crop_size.* 40"):
            run_stage(stage, dataset_dir=images, output_dir=tmp_path, ckpt_path=tmp_path / "model.pt", crop_size=40)

    def test_distilling_without_a_teacher(self, dataset_dir, tmp_path):
        write_transfer(tmp_path)
        with refused("there is no fine-tuned teacher in .*teacher.*: run finetune_teacher first"):
            run_stage("distill", dataset_dir=dataset_dir, output_dir=tmp_path)
        assert not (tmp_path / "distilled.pt").exists()

    def test_distilling_without_a_transfer_set(self, dataset_dir, tmp_path):
        write_teacher(tmp_path)
        with refused("there is no transfer set in .*transfer .*: run synthesize first"):
            run_stage("distill", dataset_dir=dataset_dir, output_dir=tmp_path)
        assert not (tmp_path / "distilled.pt").exists()

    def test_synthesizing_without_a_diffusion_model(self, dataset_dir, tmp_path):
        write_teacher(tmp_path)
        with refused("diffusion does not exist: run train_diffusion first"):
            run_stage("synthesize", dataset_dir=dataset_dir, output_dir=tmp_path)
        assert not (tmp_path / "transfer").exists()

    def test_training_without_the_distilled_weights(self, dataset_dir, tmp_path):
        with refused(r"distilled\.pt does not exist: run distill first"):
            run_stage("train", dataset_dir=dataset_dir, output_dir=tmp_path)
        assert written(tmp_path) == []

    @pytest.mark.parametrize(("stage", "key"), [("train", "initial_weights"), ("evaluate", "ckpt_path")])
    def test_weights_of_another_architecture(self, stage, key, dataset_dir, tmp_path):
        torch.save(tiny_student(hidden_size=48).state_dict(), tmp_path / "other.pt")
        with refused(r"other\.pt holds the weights of another architecture than this ViTSegmenter", "should be"):
            run_stage(stage, dataset_dir=dataset_dir, output_dir=tmp_path / "run", **{key: tmp_path / "other.pt"})
        assert written(tmp_path / "run") == []

    @pytest.mark.parametrize(
        ("stage", "key"), [("train", "initial_weights"), ("evaluate", "ckpt_path"), ("inference", "ckpt_path")]
    )
    def test_weights_that_would_run_code(self, stage, key, trap, dataset_dir, tmp_path):
        path, sprung = trap
        images = dataset_dir / "test" / "images" if stage == "inference" else dataset_dir
        with refused(f"{path.name} was refused: it holds more than tensors and could run code"):
            run_stage(stage, dataset_dir=images, output_dir=tmp_path / "run", **{key: path})
        assert not sprung.exists()
        assert written(tmp_path / "run") == []

    def test_a_left_checkpoint_that_would_run_code(self, trap, dataset_dir, tmp_path):
        path, sprung = trap
        (tmp_path / "run" / "checkpoints").mkdir(parents=True)
        path.rename(tmp_path / "run" / "checkpoints" / "train.pt")
        with refused(r"train\.pt was refused: it holds more than tensors"):
            run_stage("train", dataset_dir=dataset_dir, output_dir=tmp_path / "run", initial_weights=None)
        assert not sprung.exists()


class TestCommandLine:
    """What a user sees: one line that begins with ``error:``, and no traceback."""

    @pytest.fixture(autouse=True)
    def _light_server(self, monkeypatch):
        """Spare the server what these stages do not need."""
        monkeypatch.setattr(stage_process, "_IMPORTS", [stage_process.__name__])

    @staticmethod
    def fail(capfd, *arguments: str | Path, **options: object) -> str:
        """Run a pipeline as the command does, and return what it prints from its error on."""
        with pytest.raises(InputError) as caught:
            run_pipeline(str(BUNDLE), *map(str, arguments), overlay="demo", **options)
        logs.report(caught.type, caught.value, caught.tb)
        out, printed = capfd.readouterr()
        assert "Traceback" not in out + printed, printed
        assert sum(line.startswith("error: ") for line in printed.splitlines()) == 1, printed
        return printed[printed.index("error: ") :]

    def test_a_mistyped_key(self, dataset_dir, tmp_path, monkeypatch, capfd):
        line = ["pipeline", BUNDLE, "--dataset_dir", dataset_dir, "--output_dir", tmp_path / "run", "--epoch", "3"]
        monkeypatch.setattr(sys, "argv", ["common", *map(str, line)])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        with pytest.raises(InputError) as caught:
            main()
        sys.excepthook(caught.type, caught.value, caught.tb)
        assert capfd.readouterr().err.startswith("error: --epoch: none of the stages has this key")
        assert not (tmp_path / "run").exists()

    def test_issues_of_the_dataset_found_by_the_first_stage(self, broken_dir, tmp_path, capfd):
        said = self.fail(capfd, tmp_path / "run", broken_dir)
        assert said.startswith("error: stage finetune_teacher failed (exit code 1): DRIVE in ")
        assert said.count("\n  - ") == 4
        assert "train_diffusion" not in said
        assert written(tmp_path / "run") == []

    def test_a_folder_that_another_run_is_writing_to(self, dataset_dir, tmp_path, capfd):
        lock_folder(tmp_path / "run")
        try:
            said = self.fail(capfd, tmp_path / "run", dataset_dir, stages="finetune_teacher")
        finally:
            unlock_folder(tmp_path / "run")
        assert said == (
            f"error: stage finetune_teacher failed (exit code 1): output_dir: another run is writing to "
            f"{tmp_path / 'run'}; wait until it has ended, or choose another output_dir\n"
        )
