"""What the pipeline runs, in which order and with which keys, and what it refuses before anything runs."""

from __future__ import annotations

import ast
import json
import re
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fake_stages import finish
from integration import BUNDLE, IMAGE_SIZE

from common.datasets.drive import DriveDataset
from common.distillation.methods import METHODS, UNET, Method
from common.errors import InputError
from common.files.phantom_mark import are_phantoms
from common.pipeline import stage_process, stage_run
from common.pipeline.run import run_pipeline
from common.pipeline.stages import STAGES, TRAINING_STAGES


class TestOrder:
    def test_the_stages_run_in_order_each_with_the_keys_it_has(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), num_labels=2, num_images=7)
        assert list(stages.ran) == list(STAGES)
        assert all(stages.overlays_of(stage) == [] for stage in STAGES if stage != "distill")
        assert stages.overlays_of("distill") == ["task_specific_kd"]
        assert [stage for stage in STAGES if stages.value(stage, "num_images") == "7"] == ["synthesize"]
        with_labels = [stage for stage in STAGES if stages.value(stage, "num_labels") == "2"]
        assert sorted(with_labels) == sorted([*TRAINING_STAGES, "synthesize"])
        assert stages.value("train", "dataset_dir") == str(dataset_dir)
        assert stages.value("evaluate_teacher", "subject") == "teacher"

    def test_an_overlay_lies_on_every_stage(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), overlay="cpu")
        assert all(stages.overlays_of(stage)[:1] == ["cpu"] for stage in STAGES)

    def test_without_a_gpu_every_stage_gets_the_overlay_for_it(self, stages, dataset_dir, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir))
        assert all(stages.overlays_of(stage)[:1] == ["cpu"] for stage in STAGES)

    def test_the_folder_of_the_configs_is_the_dataset_where_none_is_given(self, stages, dataset_dir, tmp_path):
        bundle = Path(shutil.copytree(BUNDLE, tmp_path / "own_segmentation"))
        for path in (bundle / "configs").glob("*.yaml"):
            lines = path.read_text(encoding="ascii").splitlines()
            moved = [f"dataset_dir: {dataset_dir}" if line.startswith("dataset_dir: ") else line for line in lines]
            path.write_text("\n".join(moved) + "\n", encoding="ascii")
        run_pipeline(str(bundle), str(tmp_path / "run"))
        assert {stages.value(stage, "dataset_dir") for stage in STAGES} == {str(dataset_dir)}

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
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), student_def={"_target_": "UNet"})
        taking = [stage for stage in STAGES if stages.value(stage, "student_def")]
        assert taking == ["distill", "train", "evaluate_teacher", "evaluate"]

    def test_what_was_made_with_other_settings_is_said_to_be(self, stages, dataset_dir, tmp_path, capsys):
        folders = (str(BUNDLE), str(tmp_path), str(dataset_dir), "train")
        run_pipeline(*folders, epochs=3, overlay="cpu", **{"loss::lambda_ce": 0.5})
        settings = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))["train"]
        assert (settings["epochs"], settings["loss"]["lambda_ce"]) == (3, 0.5)
        for given in ({"epochs": 3}, {"epochs": 4}):
            capsys.readouterr()
            run_pipeline(*folders, **given, overlay="cpu", **{"loss::lambda_ce": 0.5})
            changed = given["epochs"] == 4
            assert ("model.pt exists, made with other settings (epochs was 3, now 4): " in capsys.readouterr().out) == (
                changed
            )
        run_pipeline(*folders)
        said = capsys.readouterr().out
        assert re.search(r"other settings \(\w+ was .*; \w+ was .*; \w+ was .*; and \d+ more\): delete it", said)
        assert list(stages.ran) == ["train"]

    def test_a_run_that_was_moved_has_the_settings_that_it_had(self, stages, dataset_dir, tmp_path, capsys):
        run_pipeline(str(BUNDLE), str(tmp_path / "one"), str(dataset_dir), "train")
        (tmp_path / "one").rename(tmp_path / "other")
        run_pipeline(str(BUNDLE), str(tmp_path / "other"), str(dataset_dir), "train")
        assert "model.pt exists; delete it to run this stage again" in capsys.readouterr().out

    def test_settings_are_known_of_a_pipeline_that_was_killed_when_its_stage_was_done(
        self, stages, dataset_dir, tmp_path, capsys, monkeypatch
    ):
        def killed(stage, *_):
            finish(tmp_path, stage)
            raise InputError(f"stage {stage} failed")

        monkeypatch.setattr("common.pipeline.run.run_one", killed)
        with pytest.raises(InputError, match="stage train failed"):
            run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), "train", epochs=3)
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), "train", epochs=4)
        assert "model.pt exists, made with other settings (epochs was 3, now 4): " in capsys.readouterr().out

    def test_settings_of_a_stage_that_failed_are_not_kept(self, stages, dataset_dir, tmp_path):
        record = tmp_path / "settings.json"
        for before in ("distill", None):
            if before:
                run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), before)
            else:
                record.unlink()
            stages.failing = "train"
            with pytest.raises(InputError, match="stage train failed"):
                run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), "train", epochs=3)
            assert (list(json.loads(record.read_text(encoding="utf-8"))) if before else record.exists()) == (
                ["distill"] if before else False
            )

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
        monkeypatch.setattr(stage_run, "time", SimpleNamespace(time=lambda: next(clock)))  # threads have their own
        for _ in range(2):
            run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), stages="train")
            (tmp_path / "model.pt").unlink()
        assert json.loads((tmp_path / "seconds.json").read_text()) == {"train": 10.0}

    def test_several_processes_only_train(self, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), overlay=["demo", "multi_gpu"])
        assert stages.distributed == list(TRAINING_STAGES)
        assert stages.overlays_of("train") == ["demo", "multi_gpu"]
        assert stages.overlays_of("synthesize") == ["demo"]

    def test_the_demo_writes_its_own_phantoms_once(self, stages, tmp_path, monkeypatch):
        small = {"num_training": 2, "num_test": 1, "image_size": IMAGE_SIZE}
        monkeypatch.setattr(DriveDataset, "write_phantoms", partial(DriveDataset.write_phantoms, **small))
        for _ in range(2):  # a second time, they would be refused
            run_pipeline(str(BUNDLE), str(tmp_path), demo=True)
        assert are_phantoms(tmp_path / "phantoms" / "training" / "images" / "21_training.tif")
        assert stages.value("train", "dataset_dir") == str(tmp_path / "phantoms")
        assert stages.overlays_of("train") == ["demo"]

    def test_the_demo_writes_phantoms_of_the_dataset_that_the_config_names(self, stages, tmp_path, monkeypatch):
        """The name of the folder means nothing."""
        bundle = Path(shutil.copytree(BUNDLE, tmp_path / "ph2_segmentation"))
        written = []
        monkeypatch.setattr(DriveDataset, "write_phantoms", written.append)
        run_pipeline(str(bundle), str(tmp_path / "run"), demo=True, stages="train")
        assert written == [tmp_path / "run" / "phantoms"]


class TestMethods:
    @pytest.mark.parametrize("method", METHODS)
    def test_only_what_the_method_needs_is_run_and_its_config_lies_on_top(self, method, stages, dataset_dir, tmp_path):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), overlay="cpu", method=method, num_labels=1)
        teacher, transfer = {"finetune_teacher", "evaluate_teacher"}, {"train_diffusion", "synthesize"}
        needless = {
            "task_specific_kd": set(),
            "unet_kd": set(),
            "real_images": transfer,
            "labelled_images": transfer,
            "synthetic_images": set(),
            "drawn_labels": set(),
            "scratch": teacher | transfer,
            "unet": {*teacher, *transfer, "distill"},
        }.get(method, teacher)
        assert list(stages.ran) == [stage for stage in STAGES if stage not in needless]
        assert stages.overlays_of("train") == ["cpu"]
        if method != "unet":
            assert stages.overlays_of("distill") == ["cpu", method]
        if "synthesize" in stages.ran:
            assert stages.value("synthesize", "teacher") == ("$None" if "finetune_teacher" in needless else None)
            assert stages.value("train_diffusion", "with_labels") == ("True" if method == "drawn_labels" else None)

    def test_a_method_that_is_added_to_the_table_can_be_run(self, stages, dataset_dir, tmp_path, monkeypatch):
        added = Method(name="dino", title="DINO", config=METHODS["mae"].config, transfer_set=True, prepares="encoder")
        monkeypatch.setitem(METHODS, "dino", added)
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="dino", overlay="demo")
        assert list(stages.ran) == ["train_diffusion", "synthesize", "distill", "train", "evaluate"]
        assert stages.overlays_of("distill") == ["demo", "mae"]

    def test_the_unet_takes_the_place_of_the_student_and_starts_from_nothing(self, stages, dataset_dir, tmp_path):
        other = {"student_def": {"_target_": "Another"}, "student_def::in_channels": 2}
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="unet", **other)
        for stage in ("train", "evaluate"):
            assert ast.literal_eval(stages.value(stage, "student_def")) == UNET
            assert stages.value(stage, "student_def::in_channels") is None
        assert stages.value("train", "initial_weights") == "$None"
        with pytest.raises(InputError, match="has the student of method unet"):
            run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="mae")

    def test_the_unet_that_is_distilled_is_the_student_of_every_stage_and_training_begins_with_it(
        self, stages, dataset_dir, tmp_path
    ):
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="unet_kd", student_def={"_target_": "Other"})
        for stage in ("distill", "train", "evaluate"):
            assert ast.literal_eval(stages.value(stage, "student_def")) == UNET
        assert stages.value("train", "initial_weights") is None, "the configs take distilled.pt"

    @pytest.mark.parametrize("num_labels", [{}, {"num_labels": 3}])
    def test_real_images_are_missed_before_a_teacher_is_trained(self, num_labels, stages, dataset_dir, tmp_path):
        given = next(iter(num_labels.values()), "null")
        run = partial(
            run_pipeline, str(BUNDLE), str(tmp_path), str(dataset_dir), method="real_images", num_validation=1
        )
        with pytest.raises(
            InputError, match=f"^num_labels: {given} takes all 3 training images, .*; give fewer than 3$"
        ):
            run(**num_labels)
        assert stages.ran == {}
        run(num_labels=1)
        assert list(stages.ran) == ["finetune_teacher", "distill", "train", "evaluate_teacher", "evaluate"]
        stages.ran.clear()
        run(**num_labels)
        assert stages.ran == {}, "what is done is not asked for again"

    def test_a_bundle_of_an_earlier_version_is_refused_where_it_would_take_no_real_images(
        self, stages, dataset_dir, tmp_path
    ):
        bundle = Path(shutil.copytree(BUNDLE, tmp_path / "drive_segmentation"))
        distill = bundle / "configs" / "distill.yaml"
        lines = distill.read_text(encoding="ascii").replace(" + @train::beyond", "").splitlines(keepends=True)
        earlier = [line for line in lines if not line.startswith(("beyond_budget:", "  beyond:"))]
        distill.write_text("".join(earlier), encoding="ascii")
        with pytest.raises(InputError, match=r"^beyond_budget: .* is of an earlier version, .* and --overwrite$"):
            run_pipeline(str(bundle), str(tmp_path / "run"), str(dataset_dir), method="real_images", num_labels=1)
        assert stages.ran == {}

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

    def test_no_other_pipeline_comes_in_between(self, stages, dataset_dir, tmp_path, monkeypatch):
        def run_between(arguments: list[str], distributed: bool) -> int:
            with pytest.raises(InputError, match="another run is writing to"):
                run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="scratch", stages="train")
            return stages(arguments, distributed)

        monkeypatch.setattr(stage_process, "run_stage", run_between)
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="mae", stages="distill,train")
        assert list(stages.ran) == ["distill", "train"]
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), method="mae", stages="evaluate")

    def test_what_a_killed_pipeline_left_half_written_goes(self, stages, dataset_dir, tmp_path):
        finish(tmp_path, "train")
        for name in (".lock", ".seconds.json.12-0a1b2c3d.partial"):
            (tmp_path / name).touch()
        run_pipeline(str(BUNDLE), str(tmp_path), str(dataset_dir), stages="train")
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".pipeline.lock", "model.pt"]

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
            ({"overlay": "gpu"}, r"--overlay: .*segmentation has no overlay gpu; there are cpu, demo, multi_gpu$"),
            ({"epoch": 3}, "--epoch: none of the stages has this key; did you mean epochs"),
            ({"overlya": "cpu"}, "--overlya: none of the stages has this key; did you mean overlay"),
            ({"stages": "finetune_teacher", "student_def": {}}, "--student_def: none of the stages has this key"),
            ({"loss::temperatures": 3}, "--loss::temperatures: none of the stages has this key"),
            ({"network_def": {}}, "--network_def: stage distill has no network_def, .* give --student_def$"),
            ({"network_def::depth": 3}, "--network_def::depth: .* give --student_def::depth$"),
            ({"epochs": 0, "lora_rank": "8"}, "lora_rank: .* got '8' .*\nepochs: expected a whole number"),
            ({"train::trainer::max_epochs": 2.5}, "train::trainer::max_epochs: expected a whole number of at least 1"),
            ({"bundle": "docs"}, "docs is not a bundle: expected a folder with configs/"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_by_the_pipeline(self, change, message, stages, dataset_dir, tmp_path):
        values = {"bundle": str(BUNDLE), "output_dir": str(tmp_path / "run"), "dataset_dir": str(dataset_dir), **change}
        with pytest.raises(InputError, match=message):
            run_pipeline(**values)
        assert stages.ran == {}
        assert not (tmp_path / "run").exists()
