"""What the study does with its arguments, with what is finished, with failures and with folders of other studies."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from integration import BUNDLE, BUNDLES

from common.datasets.drive import DriveDataset
from common.distillation.methods import COMPARED, UNET
from common.errors import InputError, StageError
from common.files.atomic import atomic_file
from common.pipeline.data import MANIFEST
from common.study.run import run_study

SHARED = ["shared/diffusion_2labels_seed0", "shared/teacher_2labels_rank4_seed0"]


@pytest.fixture
def dataset_dir(tiny_phantoms) -> Path:
    return tiny_phantoms("drive")


@pytest.fixture
def study(stages, dataset_dir, tmp_path):
    """Return what runs a study with stub stages and returns its folder."""

    def run(**changes: Any) -> Path:
        values = {"methods": "mae,task_specific_kd", "labels": 2, "transfer_sizes": 4, "lora_ranks": 4}
        values |= {"dataset_dir": str(dataset_dir), "overlay": "demo", **changes}
        run_study(str(BUNDLE), str(tmp_path / "study"), **values)
        return tmp_path / "study"

    return run


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestRuns:
    def test_every_run_and_what_it_shares_is_run_once_and_in_order(self, study, stages):
        study()
        student = ("distill", "train", "evaluate")
        assert stages.ran == [
            *((SHARED[0], stage) for stage in ("train_diffusion", "synthesize")),
            *(("runs/mae_2labels_4images_seed0", stage) for stage in student),
            *((SHARED[1], stage) for stage in ("finetune_teacher", "evaluate_teacher")),
            *(("runs/task_specific_kd_2labels_4images_rank4_seed0", stage) for stage in student),
        ]

    def test_a_run_takes_the_shared_transfer_set_and_teacher(self, study):
        folder = study()
        run = folder / "runs/task_specific_kd_2labels_4images_rank4_seed0"
        assert (run / "transfer").resolve() == folder / SHARED[0] / "transfer"
        assert (run / "teacher").resolve() == folder / SHARED[1] / "teacher"
        assert not (folder / "runs/mae_2labels_4images_seed0/teacher").exists()

    def test_stages_get_the_values_of_their_job_and_the_users(self, study, stages):
        study(transfer_sizes="3,4", seeds=1, num_validation=1, epochs=7, copy_threshold=0.4, masking_ratio=0.5)
        drawn = stages.arguments("shared/diffusion_2labels_seed1", "synthesize")
        assert (drawn["--num_images"], drawn["--teacher"], drawn["--num_labels"]) == ("4", "$None", "2")
        taught = stages.arguments("shared/teacher_2labels_rank4_seed1", "finetune_teacher")
        assert (taught["--lora_rank"], taught["--epochs"], taught["--num_validation"]) == ("4", "7", "1")
        distilled = stages.arguments("runs/task_specific_kd_2labels_3images_rank4_seed1", "distill")
        assert (distilled["--num_transfer"], distilled["--seed"], distilled["--split_seed"]) == ("3", "1", "1")
        files = [Path(file).name for file in ast.literal_eval(distilled["--config_file"])]
        assert files == ["distill.yaml", "demo.yaml", "task_specific_kd.yaml"]
        assert drawn["--copy_threshold"] == "0.4"
        assert not {"--copy_threshold", "--masking_ratio"} & distilled.keys()
        assert stages.arguments("runs/mae_2labels_3images_seed1", "distill")["--masking_ratio"] == "0.5"

    def test_the_unet_takes_the_place_of_the_student_and_starts_from_nothing(self, study, stages):
        study(methods="unet,scratch", student_def={"_target_": "Another"}, **{"student_def::in_channels": 2})
        for stage in ("train", "evaluate"):
            given = stages.arguments("runs/unet_2labels_seed0", stage)
            assert ast.literal_eval(given["--student_def"]) == UNET
            assert "--student_def::in_channels" not in given
        assert stages.arguments("runs/unet_2labels_seed0", "train")["--initial_weights"] == "$None"
        assert "Another" in stages.arguments("runs/scratch_2labels_seed0", "train")["--student_def"]

    def test_the_folder_says_what_it_holds(self, study, dataset_dir):
        folder = study(labels=[2, 3], num_validation=1)
        assert read(folder / "study.json") == {
            "bundle": "drive_segmentation",
            "dataset_dir": str(dataset_dir),
            "phantoms": False,
            "overlay": ["demo"],
            "overrides": {"num_validation": 1},
            "methods": ["mae", "task_specific_kd"],
            "labels": [2, 3],
            "transfer_sizes": [4],
            "lora_ranks": [4],
            "seeds": [0],
            "num_images": 4,
            "grids": [
                {
                    "methods": ["mae", "task_specific_kd"],
                    "labels": [2, 3],
                    "transfer_sizes": [4],
                    "lora_ranks": [4],
                    "seeds": [0],
                }
            ],
        }
        run = folder / "runs/mae_3labels_4images_seed0"
        about = {"method": "mae", "num_labels": 3, "transfer_size": 4, "lora_rank": None, "seed": 0}
        assert read(run / "run.json") == about
        assert read(run / "seconds.json").keys() == {"distill", "train", "evaluate"}
        teacher = folder / "shared/teacher_3labels_rank4_seed0"
        assert read(teacher / "shared.json") == {"num_labels": 3, "lora_rank": 4, "seed": 0}

    def test_the_dataset_is_read_once_for_all_jobs(self, study):
        folder = study()
        checked = read(folder / MANIFEST)
        assert checked["files"]
        jobs = [*SHARED, "runs/mae_2labels_4images_seed0", "runs/task_specific_kd_2labels_4images_rank4_seed0"]
        assert all(read(folder / job / MANIFEST) == checked for job in jobs)

    def test_what_only_training_needs_is_deleted_when_a_run_is_finished(self, study):
        run = study() / "runs/mae_2labels_4images_seed0"
        left = {path.name for path in run.iterdir()}
        assert left & {"checkpoints", "teacher_outputs"} == set()
        assert {"distilled.pt", "model.pt", "evaluation", "output.log"} <= left

    def test_phantoms_are_written_with_the_demo(self, study, monkeypatch):
        small = partial(DriveDataset.write_phantoms, num_training=4, num_test=1, image_size=(96, 80))
        monkeypatch.setattr(DriveDataset, "write_phantoms", small)
        folder = study(dataset_dir=None, overlay=None, demo=True, methods="scratch")
        assert (folder / "phantoms" / "training" / "images").is_dir()
        record = read(folder / "study.json")
        assert (record["phantoms"], record["overlay"], record["dataset_dir"]) == (True, ["demo"], "phantoms")
        moved = folder.rename(folder.with_name("moved"))
        run_study(str(BUNDLE), str(moved), demo=True, methods="scratch", labels=2, dry_run=True)

    def test_values_not_given_are_those_of_the_bundle(self, study):
        folder = study(transfer_sizes=None, lora_ranks=None)
        record = read(folder / "study.json")
        assert (record["transfer_sizes"], record["lora_ranks"], record["seeds"]) == ([64], [64], [0])

    @pytest.mark.parametrize(("pretrained", "rank"), [("embedded", 64), ("facebook/sam-vit-base", 32)])
    def test_also_where_they_depend_on_the_teacher(self, study, capsys, pretrained, rank):
        study(methods="task_specific_kd", lora_ranks=None, overlay="cpu", pretrained=pretrained, dry_run=True)
        assert f"rank{rank}_" in capsys.readouterr().out


class TestAgain:
    def test_what_is_finished_is_skipped(self, study, stages, capsys):
        study()
        count = len(stages.journal)
        folder = study()
        assert len(stages.journal) == count
        assert (
            f"study of drive_segmentation in {folder}: 2 of 2 runs finished; left: nothing" in capsys.readouterr().out
        )

    def test_a_larger_grid_adds_what_is_missing(self, study, stages):
        study(methods="mae")
        before = stages.ran
        folder = study(methods="scratch,mae", labels="3,2")
        assert list(dict.fromkeys(job for job, _ in stages.ran[len(before) :])) == [
            "runs/scratch_3labels_seed0",
            "shared/diffusion_3labels_seed0",
            "runs/mae_3labels_4images_seed0",
            "runs/scratch_2labels_seed0",
        ]
        record = read(folder / "study.json")
        assert (record["methods"], record["labels"]) == (["mae", "scratch"], [2, 3])
        study(methods="scratch,mae", labels="3,2")
        assert [(grid["methods"], grid["labels"]) for grid in read(folder / "study.json")["grids"]] == [
            (["mae"], [2]),
            (["scratch", "mae"], [3, 2]),
        ]

    def test_the_first_lora_rank_stays_the_one_to_compare_with(self, study):
        study(methods="task_specific_kd", lora_ranks="8,4")
        folder = study(methods="task_specific_kd", lora_ranks=2)
        assert read(folder / "study.json")["lora_ranks"] == [8, 4, 2]

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"epochs": 4}, "--epochs was 3, now 4"),
            ({"unlabelled_dir": None}, "--unlabelled_dir was not given, now None"),
            ({"num_validation": 1}, "--num_validation was not given, now 1"),
            ({"overlay": "cpu"}, "overlay was demo, now cpu"),
            ({"dataset_dir": str(BUNDLES)}, f"dataset_dir was .*, now {BUNDLES}"),
        ],
    )
    def test_other_settings_are_refused_and_named(self, changes, expected, study, tmp_path):
        study(epochs=3)
        before = files_of(tmp_path / "study")
        with pytest.raises(InputError, match=f"holds a study with other settings.*{expected}"):
            study(**{"epochs": 3, **changes})
        assert files_of(tmp_path / "study") == before

    def test_a_config_that_was_edited_is_refused_and_its_key_named(self, study, stages, dataset_dir, tmp_path):
        bundle = Path(shutil.copytree(BUNDLE, tmp_path / BUNDLE.name))
        values = {"dataset_dir": str(dataset_dir), "methods": "scratch", "labels": 2}
        run_study(str(bundle), str(tmp_path / "study"), **values)
        config = bundle / "configs" / "train.yaml"
        config.write_text(config.read_text().replace("learning_rate: 0.0005", "learning_rate: 0.05"))
        with pytest.raises(InputError, match=r"train: learning_rate was 0\.0005, now 0\.05"):
            run_study(str(bundle), str(tmp_path / "study"), **values)

    def test_another_bundle_is_refused(self, study, tiny_phantoms, tmp_path):
        study()
        with pytest.raises(InputError, match="bundle was drive_segmentation, now ph2_segmentation"):
            run_study(
                str(BUNDLES / "ph2_segmentation"),
                str(tmp_path / "study"),
                dataset_dir=str(tiny_phantoms("ph2")),
                labels=2,
                overlay="demo",
            )

    def test_a_transfer_set_that_was_drawn_does_not_grow(self, study):
        study(num_images=6)
        study(num_images=6, transfer_sizes="4,6")
        study(transfer_sizes=5)
        with pytest.raises(InputError, match="were drawn with 6 images, and one of 7 would not begin with the same"):
            study(transfer_sizes="4,7")
        with pytest.raises(InputError, match="were drawn with 6 images, and one of 8 would not"):
            study(num_images=8)

    def test_a_transfer_set_that_was_not_drawn_yet_may(self, study, stages):
        study(methods="scratch")
        study(transfer_sizes="4,7")
        assert stages.arguments(SHARED[0], "synthesize")["--num_images"] == "7"


class TestFailures:
    def test_a_run_that_fails_does_not_stop_the_others_and_is_reported_with_its_log(self, study, stages, tmp_path):
        failed = "runs/mae_2labels_4images_seed0"
        stages.plan(failing=[f"{failed}:train"])
        log = tmp_path / "study" / failed / "output.log"
        with pytest.raises(InputError) as caught:
            study()
        assert str(caught.value).splitlines() == [
            "1 job is not finished; the same command tries again",
            f"  {failed}: failed: stage train failed (exit code 1): the stage was told to fail; see {log}",
        ]
        assert "error: stage train failed (exit code 1): the stage was told to fail" in log.read_text()
        assert ("runs/task_specific_kd_2labels_4images_rank4_seed0", "evaluate") in stages.ran
        assert (failed, "evaluate") not in stages.ran

    def test_runs_without_what_they_share_are_not_run(self, study, stages):
        stages.plan(failing=[f"{SHARED[1]}:finetune_teacher"])
        with pytest.raises(InputError) as caught:
            study(transfer_sizes="3,4")
        runs = [f"runs/task_specific_kd_2labels_{size}images_rank4_seed0" for size in (3, 4)]
        lines = str(caught.value).splitlines()
        assert lines[0] == "3 jobs are not finished; the same command tries again"
        assert lines[2:] == [f"  {run}: not run: {SHARED[1]} is missing" for run in runs]
        assert not {job for job, _ in stages.ran} & set(runs)
        assert ("runs/mae_2labels_4images_seed0", "evaluate") in stages.ran

    def test_the_same_command_tries_again(self, study, stages):
        stages.plan(failing=["runs/mae_2labels_4images_seed0:train"])
        with pytest.raises(InputError):
            study()
        count = len(stages.journal)
        stages.plan(failing=[])
        study()
        assert [(step["job"], step["stage"]) for step in stages.journal[count:]] == [
            ("runs/mae_2labels_4images_seed0", "train"),
            ("runs/mae_2labels_4images_seed0", "evaluate"),
        ]

    def test_an_error_of_an_earlier_run_is_not_shown_for_this_one(self, study, stages, monkeypatch):
        run = "runs/mae_2labels_4images_seed0"
        stages.plan(failing=[f"{run}:train"])
        with pytest.raises(InputError):
            study()
        stages.plan(failing=[])
        monkeypatch.setattr("common.pipeline.run.results_table", lambda folder: {}["no such key"])
        with pytest.raises(InputError, match=f"{run}: failed: KeyError: 'no such key'; see"):
            study()

    def test_an_interrupted_study_says_how_to_go_on(self, study, stages, monkeypatch):
        def interrupt(arguments, distributed):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("common.pipeline.stage_process.run_stage", interrupt)
            with pytest.raises(StageError, match="interrupted; the same command goes on from there"):
                study()
        study()
        assert len(stages.ran) == 2 + 2 + 3 + 3


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"methods": "mae,moco"}, "--methods: there is no method 'moco'; the methods are task_specific_kd, "),
            ({"methods": []}, "--methods: is empty"),
            ({"labels": ""}, "--labels: is empty; expected one value or several, such as --labels 5,10"),
            ({"labels": None}, "--labels is missing"),
            ({"labels": (2, 0)}, "--labels: expected whole numbers of at least 1, got 0"),
            ({"labels": 2.5}, r"--labels: expected whole numbers of at least 1, got 2\.5"),
            ({"labels": "2,many"}, "--labels: expected whole numbers of at least 1, got 'many'"),
            ({"labels": (2, 99)}, "--labels: 99 is more than the 7 training images that there are with seed 0"),
            (
                {"methods": "mae,real_images", "labels": (2, 7)},
                "--labels: 7 are all training images that there are with seed 0, which leaves none for real_images; ",
            ),
            ({"unlabelled_length": 3}, "--unlabelled_length: the study sets this key; give nothing: "),
            ({"labelled_length": 3}, "--labelled_length: the study sets this key; give nothing: "),
            ({"transfer_sizes": ()}, "--transfer_sizes: is empty"),
            ({"lora_ranks": "0"}, "--lora_ranks: expected whole numbers of at least 1"),
            ({"seeds": -1}, "--seeds: expected whole numbers of at least 0"),
            ({"num_images": 3}, "--num_images 3: is less than the largest of --transfer_sizes, 4"),
            ({"num_labels": 3}, "--num_labels: the study sets this key; give --labels"),
            ({"min_confidence": 0.5}, "--min_confidence: the study sets this key; give nothing: a transfer set"),
            ({"epoch": 3}, "--epoch: none of the stages has this key"),
            ({"overlay": "gpu"}, r"--overlay: .* has no overlay gpu; there "),
            ({"preset": "fast"}, "--preset: there is no .*; the presets are cpu, few_labels, .*, transfer_set"),
            ({"launcher": "slurm"}, "--launcher: expected local or ray, got 'slurm'"),
            ({"num_gpus": 1}, "--num_cpus and --num_gpus are of --launcher ray"),
            ({"launcher": "ray", "num_cpus": 0}, "--num_cpus: expected a number above 0, got 0"),
            ({"dataset_dir": None}, "--dataset_dir is missing"),
            ({"dataset_dir": "/nowhere"}, "--dataset_dir: /nowhere does not exist"),
            ({"demo": True}, "--demo writes its own dataset"),
        ],
    )
    def test_wrong_arguments_are_named_before_anything_runs(self, changes, expected, study, stages):
        with pytest.raises(InputError, match=expected):
            study(**changes)
        assert stages.journal == []

    def test_a_cluster_without_ray(self, study, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(InputError, match=r"--launcher ray needs Ray: pip install .*\[ray\]"):
            study(launcher="ray")

    def test_every_issue_of_the_dataset_is_listed_before_anything_runs(self, study, stages, dataset_dir, tmp_path):
        broken = Path(shutil.copytree(dataset_dir, tmp_path / "broken"))
        for number in (21, 22):
            (broken / "training" / "1st_manual" / f"{number}_manual1.gif").unlink()
        with pytest.raises(InputError, match="2 issues"):
            study(dataset_dir=str(broken))
        assert stages.journal == []

    def test_a_folder_that_is_no_study_is_left_alone(self, study, stages, tmp_path):
        (tmp_path / "study").mkdir()
        (tmp_path / "study" / "thesis.txt").write_text("mine")
        with pytest.raises(InputError, match="holds files but no study"):
            study()
        assert files_of(tmp_path / "study") == {"thesis.txt": b"mine"}

    def test_a_file_is_no_study(self, study, tmp_path):
        (tmp_path / "study").write_text("mine")
        with pytest.raises(InputError, match="study: is a file; name a folder"):
            study()

    def test_a_folder_that_cannot_be_written_to(self, stages, dataset_dir, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"output_dir .*file/study: .*file is a file; name a folder"):
            run_study(str(BUNDLE), str(tmp_path / "file" / "study"), str(dataset_dir), labels=2, overlay="demo")

    def test_a_damaged_record(self, study):
        path = study() / "study.json"
        with atomic_file(path) as fresh:
            fresh.write_text(path.read_text()[:40])
        with pytest.raises(InputError, match=r"study\.json is damaged"):
            study()

    @pytest.mark.parametrize(
        ("name", "key", "value"),
        [
            ("study.json", "overrides", 7),
            ("study.json", "labels", 2),
            ("study.json", "grids", [7]),
            ("study.json", "grids", [{}]),
            ("settings.json", "train", 7),
        ],
    )
    def test_a_record_with_values_of_another_kind(self, study, name, key, value):
        path = study() / name
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**content, key: value}), encoding="utf-8")
        with pytest.raises(InputError, match=name):
            study()


class TestDryRun:
    def test_it_shows_the_plan_and_writes_nothing(self, study, stages, tmp_path, capsys):
        study(dry_run=True)
        assert not (tmp_path / "study").exists()
        assert [line.split() for line in capsys.readouterr().out.splitlines()][:2] == [
            [SHARED[0], "train_diffusion,", "synthesize"],
            ["runs/mae_2labels_4images_seed0", "distill,", "train,", "evaluate"],
        ]

    def test_it_shows_what_is_finished_and_how_long_the_rest_will_take(self, study, tmp_path, capsys):
        folder = study()
        before = files_of(folder)
        capsys.readouterr()
        study(dry_run=True, seeds="0,1")
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.endswith("  finished") for line in lines) == 4
        assert lines[-1].startswith(f"study of drive_segmentation in {folder}: 2 of 4 runs finished; ")
        assert "left: 2 runs and 2 shared jobs, about " in lines[-1]
        assert files_of(folder) == before


@pytest.mark.usefixtures("stages")
class TestPresets:
    @pytest.mark.parametrize("bundle", sorted(BUNDLES.iterdir()), ids=lambda path: path.name)
    def test_quick_fits_the_phantoms_of_every_bundle(self, bundle, tmp_path, capsys, monkeypatch, tiny_phantoms):
        dataset_dir = tiny_phantoms(bundle.name.removesuffix("_segmentation"))
        run_study(str(bundle), str(tmp_path / "s"), str(dataset_dir), preset="quick", labels=[2], dry_run=True)
        out = capsys.readouterr().out
        assert all(f"runs/{method}_2labels" in out for method in COMPARED)

    def test_quick_has_no_more_labels_than_the_phantoms_with_the_fewest_images(self, tmp_path, capsys):
        """Those of DRIVE, as ``--demo`` writes them; the others have more."""
        DriveDataset.write_phantoms(str(tmp_path / "phantoms"), image_size=(96, 80))
        run_study(str(BUNDLE), str(tmp_path / "s"), str(tmp_path / "phantoms"), preset="quick", dry_run=True)
        assert "runs/task_specific_kd_7labels_64images_rank64_seed0" in capsys.readouterr().out
        with pytest.raises(InputError, match="8 is more than the 7 training images that there are"):
            run_study(str(BUNDLE), str(tmp_path / "s"), str(tmp_path / "phantoms"), preset="quick", labels=8)

    @pytest.mark.parametrize("bundle", sorted(BUNDLES.iterdir()), ids=lambda path: path.name)
    def test_paper_has_label_budgets_for_every_bundle(self, bundle, tmp_path, capsys):
        run_study(str(bundle), str(tmp_path / "study"), demo=True, preset="paper", dry_run=True)
        out = capsys.readouterr().out
        assert "0 of 126 runs finished" in out
        if bundle.name == "kidneyus_segmentation":
            assert "runs/task_specific_kd_80labels_1000images" in out

    @pytest.mark.parametrize("bundle", sorted(BUNDLES.iterdir()), ids=lambda path: path.name)
    def test_cpu_has_small_settings_that_every_bundle_takes(self, bundle, tmp_path, capsys, tiny_phantoms):
        dataset_dir = tiny_phantoms(bundle.name.removesuffix("_segmentation"))
        run_study(
            str(bundle), str(tmp_path / "s"), str(dataset_dir), preset="cpu", labels=[2], num_validation=1, dry_run=True
        )
        assert "runs/task_specific_kd_2labels_256images_rank32_seed2" in capsys.readouterr().out
        run_study(str(bundle), str(tmp_path / "s"), demo=True, preset="cpu", dry_run=True)
        budgets = 2 if bundle.name in ("drive_segmentation", "chaos_segmentation") else 3
        assert f"0 of {budgets * len(COMPARED) * 3} runs finished" in capsys.readouterr().out

    @pytest.mark.parametrize("bundle", sorted(BUNDLES.iterdir()), ids=lambda path: path.name)
    @pytest.mark.parametrize(
        ("preset", "runs"),
        [
            ("few_labels", ["real_images_2labels", "unet_kd_2labels_256images", "task_specific_kd_2labels_256images"]),
            (
                "transfer_set",
                ["labelled_images_2labels", "real_images_2labels", "drawn_labels_2labels_1000images"]
                + [f"task_specific_kd_2labels_{size}images" for size in (100, 300, 1000)],
            ),
        ],
    )
    def test_others_compare_what_lite_medsam_teaches(self, bundle, preset, runs, tmp_path, capsys, tiny_phantoms):
        dataset_dir = tiny_phantoms(bundle.name.removesuffix("_segmentation"))
        options = {"preset": preset, "labels": [2], "num_validation": 1, "dry_run": True}
        run_study(str(bundle), str(tmp_path / "s"), str(dataset_dir), **options)
        out = capsys.readouterr().out
        assert all(f"runs/{run}_rank32_seed2" in out for run in runs)

    def test_what_is_given_comes_before_the_preset(self, study, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text("labels: [1, 2, 3]\nmethods: [scratch]\nepochs: 9\n")
        record = read(study(preset=str(path), methods=None, labels=2) / "study.json")
        assert (record["labels"], record["methods"], record["overrides"]) == ([2], ["scratch"], {"epochs": 9})

    def test_a_preset_may_have_values_by_dataset(self, study, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text(
            "methods: [scratch]\n"
            "seeds: {ph2: [7]}\n"
            "crop_size: {drive: 48, others: 32}\n"
            "epochs: {ph2: 4, others: 9}\n"
            "student_def: {_target_: UNet}\n"
        )
        record = read(study(preset=str(path), methods=None) / "study.json")
        assert record["seeds"] == [0], "those are of another dataset"
        assert record["overrides"] == {"crop_size": 48, "epochs": 9, "student_def": {"_target_": "UNet"}}
