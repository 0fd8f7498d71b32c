"""A student says what it was made from, by whatever commands it was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from integration import (
    BUNDLE,
    TINY,
    TINY_STUDENT,
    refused,
    run_in_process,
    run_stage,
    tiny_student,
    with_method,
    write_teacher,
    write_transfer,
)
from torch import nn

from common.files.fingerprints import network_fingerprint
from common.files.provenance import base_name, carried_origin, note_data, note_origin, note_teacher, origin_of
from common.files.weights import load_weights, read_checkpoint, save_weights
from common.pipeline import run
from common.release.evidence import NO_TEACHER, STAND_IN, UNKNOWN, gather
from common.teachers.sam import SamSegmenter
from common.teachers.sam_weights import EMBEDDED_FOLDER


@pytest.fixture
def keys(tiny_phantoms, tmp_path):
    """Settings of stages in a folder with a teacher and a transfer set."""
    write_teacher(tmp_path)
    write_transfer(tmp_path, count=2)
    return {"dataset_dir": tiny_phantoms("drive"), "output_dir": tmp_path, "num_validation": 1, "input_scale": 1}


def told(output_dir: Path) -> tuple[str, str | None]:
    """Return the teacher and the method of the student in a folder, as its release would say."""
    evidence = gather(output_dir / "model.pt", {}, None)
    return evidence.teacher, evidence.method


class TestStages:
    def test_a_student_of_a_fine_tuned_teacher(self, keys):
        run_stage("distill", **keys)
        run_stage("train", **keys)
        assert told(keys["output_dir"]) == (STAND_IN, "task_specific_kd")

    def test_a_student_of_the_stand_in_as_it_is(self, keys, monkeypatch):
        """By the pipeline, without a teacher of its own."""
        monkeypatch.setattr(run, "run_stage", run_in_process)
        shutil.rmtree(keys["output_dir"] / "teacher")
        tiny = {key: TINY[key] for key in ("patch_size", "epochs", "batch_size", "patches_per_epoch", "val_interval")}
        run.run_pipeline(
            str(BUNDLE),
            **{**keys, "output_dir": str(keys["output_dir"]), "dataset_dir": str(keys["dataset_dir"])},
            **{"stages": "distill,train", "overlay": "cpu", "method": "task_agnostic_kd", "pretrained": "embedded"},
            **{**tiny, "network_def": TINY_STUDENT, "num_workers": 0},
        )
        assert told(keys["output_dir"]) == (STAND_IN, "task_agnostic_kd")

    def test_one_from_random_weights_beside_a_distilled_one(self, keys):
        run_stage("distill", **keys)
        run_stage("train", **keys, initial_weights=None)
        assert told(keys["output_dir"]) == (NO_TEACHER, None)

    def test_one_of_another_method_beside_a_teacher(self, keys):
        """Nothing but the pipeline and the study record that there was none."""
        run_stage("distill", with_method("mae"), **keys)
        run_stage("train", **keys)
        assert told(keys["output_dir"]) == (UNKNOWN, None)

    def test_one_that_goes_on_from_a_finished_student_has_its_teacher(self, keys, tmp_path):
        save_weights(
            noted({"teacher": "facebook/sam-vit-base", "fine_tuned": True}, tiny_student()), tmp_path / "other.pt"
        )
        run_stage("train", **keys, initial_weights=tmp_path / "other.pt")
        assert told(keys["output_dir"]) == ("facebook/sam-vit-base", "task_specific_kd")

    def test_what_is_left_to_train_is_not_taken_for_that_of_another_teacher(self, keys):
        run_stage("train", **keys, initial_weights=None)
        run_stage("distill", **keys)
        with refused("checkpoints/train.pt was left by a run with other settings", "teacher was None, now embedded"):
            run_stage("train", **{**keys, "epochs": 2})
        assert told(keys["output_dir"]) == (NO_TEACHER, None)

    def test_one_that_was_cut_off_is_still_what_it_was(self, keys, tmp_path):
        """Its weights come from the checkpoint, and the second run must have started where the first one did."""
        run_stage("train", **keys, initial_weights=None)
        (keys["output_dir"] / "model.pt").unlink()
        save_weights(tiny_student(), tmp_path / "unknown.pt")
        with refused("it began with other weights"):
            run_stage("train", **keys, initial_weights=tmp_path / "unknown.pt")
        run_stage("train", **keys, initial_weights=None)
        assert told(keys["output_dir"]) == (NO_TEACHER, None)


class TestData:
    """Phantoms are known wherever they lie, and nothing else is taken for them."""

    @pytest.mark.parametrize("marked", [True, False])
    def test_of_training_and_of_evaluation(self, marked, keys, tmp_path):
        place = "DRIVE" if marked else "phantoms/DRIVE"
        dataset_dir = shutil.copytree(keys["dataset_dir"], tmp_path / "data" / place)
        if not marked:
            (dataset_dir / "PHANTOMS").unlink()
        for stage in ("train", "evaluate"):
            run_stage(stage, **{**keys, "dataset_dir": dataset_dir, "initial_weights": None})
        summary = json.loads((tmp_path / "evaluation" / "student" / "summary.json").read_text())
        found = gather(tmp_path / "model.pt", summary, None)
        assert (found.phantoms, found.trained_on_phantoms) == (marked, marked)

    def test_that_is_not_read_from_files_is_not_known(self):
        network = noted({"teacher": None, "phantoms": True}, nn.Linear(2, 2))
        note_data(network, [{"image": torch.zeros(1)}])
        assert origin_of(network) == {"teacher": None}

    def test_is_not_handed_on(self, tmp_path):
        save_weights(noted({"teacher": None, "phantoms": True}, nn.Linear(2, 2)), tmp_path / "a.pt")
        assert origin_of(load_weights(nn.Linear(2, 2), tmp_path / "a.pt")).keys() == {"teacher", "initial"}


def noted(origin: dict, network: nn.Module) -> nn.Module:
    note_origin(network, origin)
    return network


class TestOrigin:
    def test_it_goes_to_a_file_and_back(self, tmp_path):
        save_weights(noted({"teacher": "a teacher", "fine_tuned": False}, nn.Linear(2, 2)), tmp_path / "a.pt")
        network = load_weights(nn.Linear(2, 2), tmp_path / "a.pt")
        save_weights(network, tmp_path / "b.pt")
        found = carried_origin(read_checkpoint(tmp_path / "b.pt"))
        assert found.pop("initial")
        assert found == {"teacher": "a teacher", "fine_tuned": False}

    def test_weights_that_say_nothing_replace_what_was_known(self, tmp_path):
        torch.save(dict(nn.Linear(2, 2).state_dict()), tmp_path / "a.pt")
        network = load_weights(load_weights(nn.Linear(2, 2), None), tmp_path / "a.pt")
        assert origin_of(network).keys() == {"initial"}

    def test_a_part_that_is_trained_alone_tells_of_the_whole(self):
        whole = nn.ModuleDict({"encoder": nn.Linear(2, 2), "decoder": nn.Linear(2, 2)})
        note_teacher(nn.Sequential(whole["encoder"]), noted({"base": "a teacher"}, nn.Linear(1, 1)))
        assert origin_of(whole) == {"teacher": "a teacher", "fine_tuned": False}

    def test_of_a_teacher_that_nothing_is_known_of_nothing_is_said(self):
        network = load_weights(nn.Linear(2, 2), None)
        note_teacher(network, nn.Linear(1, 1))
        assert origin_of(network) == {}

    def test_it_is_no_part_of_what_a_network_computes_with(self):
        network = nn.Linear(2, 2)
        before = network_fingerprint(network)
        assert network_fingerprint(noted({"teacher": None}, network)) == before


class TestBase:
    def test_a_copy_of_the_stand_in_is_one_by_any_name(self, tmp_path):
        copy = shutil.copytree(EMBEDDED_FOLDER, tmp_path / "sam-vit-huge")
        assert origin_of(SamSegmenter(str(copy), num_classes=2)) == {"base": "embedded"}

    @pytest.mark.parametrize(
        ("pretrained", "name"),
        [
            ("facebook/sam-vit-base", "facebook/sam-vit-base"),
            ("/home/somebody/medsam_vit_b.pth", "medsam_vit_b.pth"),
            ("~/medsam_vit_b.pth", "medsam_vit_b.pth"),
            ("../medsam_vit_b.pth", "medsam_vit_b.pth"),
            ("a/b/medsam_vit_b.pth", "medsam_vit_b.pth"),
        ],
    )
    def test_it_is_not_told_where_somebody_keeps_it(self, pretrained, name):
        assert base_name(pretrained) == name
