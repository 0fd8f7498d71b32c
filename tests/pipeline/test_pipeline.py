"""What the pipeline does with bad input, with stages that are done, and with stages that fail."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest
import torch
from integration import (
    BUNDLE,
    IMAGE_SIZE,
    load_stage,
    refused,
    run_python,
    run_stage,
    settings,
    tiny_student,
    write_teacher,
    write_transfer,
)
from PIL import Image

from common.datasets.drive import write_phantoms
from common.errors import InputError
from common.files.provenance import are_phantoms
from common.pipeline import run
from common.pipeline.run import run_pipeline
from common.pipeline.stages import METHODS, STAGES
from common.training import logs

TRAINING = ("finetune_teacher", "train_diffusion", "distill", "train")


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "DRIVE", num_training=4, num_test=2, image_size=IMAGE_SIZE)


@pytest.fixture
def broken_dir(dataset_dir, tmp_path) -> Path:
    """A copy of the dataset with four faults."""
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


FAULTS = (
    "4 faults",
    r"21_training\.tif: no label, expected training/1st_manual/21_manual1\.gif",
    r"22_manual1\.gif: is 70 x 96, but its image .* is 80 x 96",
    r"23_manual1\.gif: expected two grey values",
    r"01_test\.tif: cannot be read as an image",
)


def written(folder: Path) -> list[str]:
    """Return what a refused run left in its output folder, logs aside."""
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in paths if path.parts[0] != "logs"]


class FakeStages:
    """Takes the place of the processes that run stages: notes what would run and writes what each is to leave."""

    def __init__(self, failing: str | None = None, silent: str | None = None) -> None:
        self.failing = failing
        self.silent = silent
        self.ran: dict[str, list[str]] = {}
        self.distributed: list[str] = []

    def __call__(self, arguments: list[str], distributed: bool) -> int:
        stage = Path(self.files_of(arguments)[0]).stem
        output_dir = Path(arguments[arguments.index("--output_dir") + 1])
        if "--subject" in arguments:
            stage = "evaluate_teacher"
        self.ran[stage] = arguments
        if distributed:
            self.distributed.append(stage)
        if stage == self.failing:
            return 3
        if stage != self.silent:
            finish(output_dir, stage)
        return 0

    @staticmethod
    def files_of(command: list[str]) -> list[str]:
        return ast.literal_eval(command[command.index("--config_file") + 1])

    def overlays_of(self, stage: str) -> list[str]:
        return [Path(file).stem for file in self.files_of(self.ran[stage])[1:]]

    def value(self, stage: str, key: str) -> str | None:
        command = self.ran[stage]
        return command[command.index(f"--{key}") + 1] if f"--{key}" in command else None


def finish(output_dir: Path, stage: str) -> None:
    """Write what a stage leaves when it is done."""
    path = output_dir / STAGES[stage]
    path.parent.mkdir(parents=True, exist_ok=True)
    metrics = {name: {"mean": {"mean": 0.25}} for name in ("dice", "iou", "hd95")}
    path.write_text(json.dumps({"metrics": metrics, "parameters": 1234, "milliseconds_per_image": 5.0}))


@pytest.fixture
def stages(monkeypatch) -> FakeStages:
    fake = FakeStages()
    monkeypatch.setattr(run, "run_stage", fake)
    return fake


class TestOrder:
    def test_the_stages_run_in_order_each_with_the_keys_it_has(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), num_labels=2, num_images=7)
        assert list(stages.ran) == list(STAGES)
        assert all(stages.overlays_of(stage) == [] for stage in STAGES if stage != "distill")
        assert stages.overlays_of("distill") == ["task_specific_kd"]
        assert [stage for stage in STAGES if stages.value(stage, "num_images") == "7"] == ["synthesize"]
        with_labels = [stage for stage in STAGES if stages.value(stage, "num_labels") == "2"]
        assert sorted(with_labels) == sorted([*TRAINING, "synthesize"])
        assert stages.value("train", "dataset_dir") == str(dataset_dir)
        assert stages.value("evaluate_teacher", "subject") == "teacher"

    def test_an_overlay_lies_on_every_stage(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), overlay="cpu")
        assert all(stages.overlays_of(stage)[:1] == ["cpu"] for stage in STAGES)

    def test_values_reach_the_stage_as_what_they_were(self, stages, dataset_dir, tmp_path):
        run_pipeline(
            *(str(BUNDLE), str(tmp_path), str(dataset_dir), "distill"),
            feature_pairs={"encoder.neck": "model.0"},
            amp=False,
            unlabelled_dir=None,
        )
        assert ast.literal_eval(stages.value("distill", "feature_pairs")) == {"encoder.neck": "model.0"}
        assert stages.value("distill", "amp") == "False"
        assert stages.value("distill", "unlabelled_dir") == "$None"  # monai.bundle takes None for "not overridden"

    def test_another_student_takes_the_place_of_no_other_network(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), network_def={"_target_": "UNet"})
        assert [stage for stage in STAGES if stages.value(stage, "network_def")] == ["distill", "train", "evaluate"]

    def test_what_is_done_is_skipped_and_said_to_be(self, stages, dataset_dir, tmp_path, capsys):
        for stage in ("finetune_teacher", "train_diffusion"):
            finish(tmp_path, stage)
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir))
        assert list(stages.ran) == list(STAGES)[2:]
        lines = capsys.readouterr().out.splitlines()
        skipped = tmp_path / "teacher" / "teacher.json"
        assert lines[:2] == [
            "[1/7] finetune_teacher",
            f"    skipped: {skipped} exists; delete it to run this stage again",
        ]
        assert sum("skipped: " in line for line in lines) == 2

    def test_chosen_stages_run_in_the_order_of_the_pipeline(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), stages="train, distill")
        assert list(stages.ran) == ["distill", "train"]

    def test_a_stage_that_fails_stops_those_after_it(self, stages, dataset_dir, tmp_path):
        stages.failing = "synthesize"
        with pytest.raises(InputError, match=r"stage synthesize failed \(exit code 3\)"):
            run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir))
        assert list(stages.ran) == ["finetune_teacher", "train_diffusion", "synthesize"]

    def test_a_stage_that_ends_without_its_artefact_stops_those_after_it(self, stages, dataset_dir, tmp_path):
        stages.silent = "distill"
        with pytest.raises(InputError, match=r"stage distill ended without writing .*distilled\.pt"):
            run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), stages="distill,train")
        assert list(stages.ran) == ["distill"]

    def test_the_seconds_of_a_stage_add_up_over_its_runs(self, stages, dataset_dir, tmp_path, monkeypatch):
        clock = iter([100.0, 107.5, 200.0, 202.5])
        monkeypatch.setattr(run.time, "time", lambda: next(clock))
        for _ in range(2):
            run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), stages="train")
            (tmp_path / "model.pt").unlink()
        assert json.loads((tmp_path / "seconds.json").read_text()) == {"train": 10.0}

    def test_several_processes_only_train(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), overlay=["demo", "multi_gpu"])
        assert stages.distributed == list(TRAINING)
        assert stages.overlays_of("train") == ["demo", "multi_gpu"]
        assert stages.overlays_of("synthesize") == ["demo"]

    def test_the_demo_writes_its_own_phantoms_once(self, stages, tmp_path, monkeypatch):
        calls = []

        def write(folder: str) -> None:
            calls.append(folder)
            Path(folder).mkdir(parents=True)

        monkeypatch.setattr(run, "phantom_writer", lambda bundle: write)
        for _ in range(2):
            run_pipeline(str(BUNDLE), str(tmp_path), demo=True)
        assert calls == [str(tmp_path / "phantoms")]
        assert are_phantoms(tmp_path / "phantoms"), "as those that were written before they were marked are not"
        assert stages.value("train", "dataset_dir") == str(tmp_path / "phantoms")
        assert stages.overlays_of("train") == ["demo"]


class TestMethods:
    @pytest.mark.parametrize("method", METHODS)
    def test_only_what_the_method_needs_is_run_and_its_config_lies_on_top(self, method, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), overlay="cpu", method=method)
        teacher, transfer = {"finetune_teacher", "evaluate_teacher"}, {"train_diffusion", "synthesize"}
        needless = {"task_specific_kd": set(), "scratch": teacher | transfer}.get(method, teacher)
        assert list(stages.ran) == [stage for stage in STAGES if stage not in needless]
        assert stages.overlays_of("distill") == ["cpu", method]
        assert stages.overlays_of("train") == ["cpu"]
        if method != "scratch":
            assert stages.value("synthesize", "teacher") == (None if method == "task_specific_kd" else "$None")

    def test_its_keys_can_be_overridden(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="mae", masking_ratio=0.5, num_transfer=3)
        taking = [stage for stage in stages.ran if stages.value(stage, "masking_ratio") == "0.5"]
        assert taking == [stage for stage in stages.ran if stages.value(stage, "num_transfer") == "3"] == ["distill"]

    def test_the_learning_rate_of_other_stages_is_not_that_of_a_paper(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="mae", learning_rate=0.5)
        assert stages.value("train", "learning_rate") == "0.5"
        assert stages.value("distill", "learning_rate") is None

    def test_the_student_of_another_method_is_not_taken_for_its_own(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="mocov3")
        stages.ran.clear()
        for method in ("mae", "task_specific_kd"):
            with pytest.raises(InputError, match=r"output_dir: .* has the student of method mocov3; choose another"):
                run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method=method)
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="mocov3")
        assert stages.ran == {}

    def test_a_student_that_no_method_is_noted_for_is_distilled(self, stages, dataset_dir, tmp_path):
        finish(tmp_path, "distill")
        with pytest.raises(InputError, match=r"has the student of method task_specific_kd; .* for method mae"):
            run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="mae")
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), stages="distill,train")
        assert list(stages.ran) == ["train"]


class TestRefused:
    """Nothing runs and nothing is written."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"dataset_dir": "nowhere"}, "--dataset_dir: nowhere does not exist"),
            ({"dataset_dir": "data #2"}, "--dataset_dir: .*data #2 has a #, which MONAI takes for ::"),
            ({"output_dir": "run#2"}, "--output_dir: .*run#2 has a #"),
            ({"dataset_dir": None}, "--dataset_dir is missing: .* or --demo"),
            ({"demo": True}, "--demo writes its own dataset: leave out --dataset_dir"),
            ({"stages": "distil"}, "there is no stage distil; the stages are finetune_teacher, .*, evaluate"),
            ({"method": "mea"}, "--method: there is no method mea; the methods are task_specific_kd, .*, scratch"),
            (
                {"method": "mae", "stages": "finetune_teacher,distill"},
                "--stages: method mae has no use for finetune_teacher",
            ),
            ({"method": "scratch", "temperature": 3}, "--temperature: none of the stages has this key"),
            ({"overlay": "gpu"}, r"there is no config .*gpu\.yaml; .*'cpu', 'demo'"),
            ({"epoch": 3}, "--epoch: none of the stages has this key; they have .*epochs"),
            ({"stages": "finetune_teacher", "network_def": {}}, "--network_def: none of the stages has this key"),
            ({"loss::temperatures": 3}, "--loss::temperatures: none of the stages has this key"),
            ({"bundle": "tests"}, "tests is no bundle: expected a folder with configs/"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_by_the_pipeline(self, change, message, stages, dataset_dir, tmp_path):
        values = {"bundle": str(BUNDLE), "output_dir": str(tmp_path / "run"), "dataset_dir": str(dataset_dir), **change}
        with pytest.raises(InputError, match=message):
            run_pipeline(**values)
        assert stages.ran == {}
        assert not (tmp_path / "run").exists()

    def test_a_path_that_monai_has_changed_already(self, tmp_path):
        with pytest.raises(InputError, match=r"output_dir: .*run::2 has ::, which is what MONAI makes of #"):
            logs.start(tmp_path / "run::2", "train")
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("stage", TRAINING)
    def test_by_every_training_stage_every_fault_of_the_dataset_at_once(self, stage, broken_dir, tmp_path):
        with refused(*FAULTS):
            load_stage(stage, dataset_dir=broken_dir, output_dir=tmp_path / "run").initialize()
        assert written(tmp_path / "run") == []

    @pytest.mark.parametrize("count", [0, 1])
    def test_a_dataset_with_too_few_images(self, count, tmp_path):
        few = write_phantoms(tmp_path / "few", num_training=count, num_test=1, image_size=IMAGE_SIZE)
        with refused("training/images: .*(no images|2 complete images needed .*found 1)"):
            load_stage("train", dataset_dir=few, output_dir=tmp_path / "run").initialize()

    @pytest.mark.parametrize("num_labels", [0, 4])
    def test_a_label_budget_out_of_range(self, num_labels, dataset_dir, tmp_path):
        with refused(f"num_labels must be between 1 and the 3 training images available, got {num_labels}"):
            load_stage(
                "finetune_teacher", dataset_dir=dataset_dir, output_dir=tmp_path, num_labels=num_labels
            ).initialize()

    @pytest.mark.parametrize(
        ("stage", "patch_size"),
        [
            ("finetune_teacher", 33),
            ("train_diffusion", 36),
            ("distill", 40),
            ("distill", 64),
            ("train", 40),
            ("train", 112),
        ],
    )
    def test_a_patch_size_that_does_not_suit(self, stage, patch_size, dataset_dir, tmp_path):
        write_teacher(tmp_path / "run")
        write_transfer(tmp_path / "run", size=48)
        with refused(f"patch_size.* {patch_size}"):
            load_stage(
                stage, dataset_dir=dataset_dir, output_dir=tmp_path / "run", patch_size=patch_size, initial_weights=None
            ).initialize()
        assert not (tmp_path / "run" / "checkpoints").exists()

    @pytest.mark.parametrize("stage", ["inference", "evaluate"])
    def test_a_window_that_does_not_suit_the_student(self, stage, dataset_dir, tmp_path):
        torch.save(tiny_student().state_dict(), tmp_path / "model.pt")
        images = dataset_dir / "test" / "images" if stage == "inference" else dataset_dir
        with refused("patch_size.* 40"):
            run_stage(stage, dataset_dir=images, output_dir=tmp_path, ckpt_path=tmp_path / "model.pt", patch_size=40)

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
    """What a user sees: one line that begins with ``error:``, no traceback, and an exit code."""

    @staticmethod
    def fail(*arguments: str | Path) -> str:
        done = run_python("common", "pipeline", BUNDLE, *arguments)
        assert done.returncode != 0
        printed = done.stdout + done.stderr
        assert "Traceback" not in printed, printed
        errors = [line for line in printed.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, printed
        return printed[printed.index("error: ") :]

    def test_a_mistyped_key(self, dataset_dir, tmp_path):
        said = self.fail("--dataset_dir", dataset_dir, "--output_dir", tmp_path / "run", "--epoch", "3")
        assert said.startswith("error: --epoch: none of the stages has this key")
        assert not (tmp_path / "run").exists()

    def test_faults_of_the_dataset_found_by_the_first_stage(self, broken_dir, tmp_path):
        values = settings("train", dataset_dir=broken_dir, output_dir=tmp_path / "run")
        arguments = [f"--{key}={values[key]}" for key in ("dataset_dir", "output_dir", "patch_size", "epochs")]
        said = self.fail(*arguments, "--overlay", "demo")
        assert said.startswith("error: DRIVE in ")
        assert said.count("\n  - ") == 4
        assert "stage finetune_teacher failed" in said
        assert "train_diffusion" not in said
        assert written(tmp_path / "run") == []
