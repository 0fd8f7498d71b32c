"""What a release knows of its student, and says: teacher, data, settings, metrics; never more than that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from integration import refused
from students import PLAIN_STUDENT, bundle_of, change_json, write_student
from torch import nn

from common.files.provenance import state_digest
from common.files.weights import save_weights
from common.release import release_bundle
from common.release.evidence import NO_TEACHER, STAND_IN, UNKNOWN, gather
from common.training.resuming import ResumableCheckpoint

SAM = "facebook/sam-vit-base"


@pytest.fixture
def weights(tmp_path) -> Path:
    return write_student("drive", tmp_path / "run")


def record(folder: Path, method: str | None = None, pretrained: str | None = None, distilled: bool = True) -> None:
    """Leave what the stages left before weights said what they were made from."""
    if method:
        (folder / "method.json").write_text(json.dumps({"method": method}))
    if pretrained:
        (folder / "teacher").mkdir()
        (folder / "teacher" / "teacher.json").write_text(json.dumps({"pretrained": pretrained}))
    if distilled:
        save_weights(nn.Linear(2, 2), folder / "distilled.pt")


def note(weights: Path, **origin) -> None:
    """Write weights again, as those of a student of this origin."""
    state = torch.load(weights, weights_only=True)
    state.origin = origin
    torch.save(state, weights)


def started_from(distilled: Path) -> dict[str, str]:
    """Return the origin of a student that was made from weights that say nothing."""
    return {"initial": state_digest(torch.load(distilled, weights_only=True))}


class TestTeacher:
    @pytest.mark.parametrize(
        ("origin", "expected"),
        [
            ({"teacher": SAM, "fine_tuned": True}, (SAM, "task_specific_kd")),
            ({"teacher": SAM, "fine_tuned": False}, (SAM, "task_agnostic_kd")),
            ({"teacher": "embedded", "fine_tuned": True}, (STAND_IN, "task_specific_kd")),
            ({"teacher": "embedded", "fine_tuned": False}, (STAND_IN, "task_agnostic_kd")),
            ({"teacher": None}, (NO_TEACHER, None)),
            ({"initial": "of weights from elsewhere"}, (UNKNOWN, None)),
            ({}, (UNKNOWN, None)),
        ],
    )
    def test_it_is_what_the_weights_say(self, origin, expected, weights):
        note(weights, **origin)
        found = gather(weights, {}, None)
        assert (found.teacher, found.method) == expected

    @pytest.mark.parametrize("origin", [{"teacher": None}, {"initial": "of weights from elsewhere"}])
    def test_what_lies_in_the_folder_is_not_taken_for_its_own(self, origin, weights):
        """As of one that was trained from random weights, or from others, where a distilled one is as well."""
        record(weights.parent, "task_specific_kd", SAM)
        note(weights, **origin)
        assert gather(weights, {}, None).teacher == (NO_TEACHER if "teacher" in origin else UNKNOWN)
        note(weights)
        assert gather(weights, {}, None).teacher == UNKNOWN

    @pytest.mark.parametrize(
        ("method", "pretrained", "expected"),
        [
            ("scratch", None, NO_TEACHER),
            ("mae", None, NO_TEACHER),
            ("mocov3", None, NO_TEACHER),
            ("task_specific_kd", SAM, SAM),
            ("task_specific_kd", "embedded", STAND_IN),
            ("task_specific_kd", "/home/somebody/weights/medsam_vit_b.pth", "medsam_vit_b.pth"),
            ("task_specific_kd", "weights/sam_vit_b_01ec64.pth", "weights/sam_vit_b_01ec64.pth"),
            (None, SAM, UNKNOWN),
        ],
    )
    def test_records_of_the_pipeline_count_for_what_started_from_its_student(
        self, method, pretrained, expected, weights
    ):
        record(weights.parent, method, pretrained)
        note(weights, **started_from(weights.parent / "distilled.pt"))
        found = gather(weights, {}, None)
        assert (found.teacher, found.method) == (expected, method)

    def test_the_user_may_say_what_is_not_recorded(self, weights):
        assert gather(weights, {}, "facebook/sam-vit-huge").teacher == "facebook/sam-vit-huge"

    def test_the_user_may_not_say_otherwise(self, weights):
        note(weights, teacher="embedded", fine_tuned=True)
        with refused("--teacher facebook/sam-vit-base", "'embedded'", "leave it out"):
            gather(weights, {}, SAM)
        assert gather(weights, {}, "embedded").teacher == STAND_IN

    @pytest.mark.parametrize("stated", [None, SAM])
    def test_older_weights_beside_a_stand_in_are_not_released_without_a_word(self, stated, weights):
        record(weights.parent, "task_specific_kd", "embedded")
        with refused("--teacher: .* stand-in", "--teacher embedded or --teacher none"):
            gather(weights, {}, stated)
        assert gather(weights, {}, "embedded").teacher == STAND_IN
        assert gather(weights, {}, "none").teacher == NO_TEACHER

    def test_older_weights_beside_a_student_of_an_unknown_teacher_are_not_either(self, weights):
        record(weights.parent, "task_agnostic_kd")
        with refused("--teacher: .* a student of a teacher that is not recorded", "--teacher embedded, or"):
            gather(weights, {}, None)
        for stated in ("embedded", SAM, "none"):
            assert gather(weights, {}, stated).teacher == stated

    @pytest.mark.parametrize("stated", [None, "none"])
    def test_a_teacher_that_is_not_recorded_has_to_be_said(self, stated, weights):
        record(weights.parent, "task_agnostic_kd")
        note(weights, **started_from(weights.parent / "distilled.pt"))
        with refused("--teacher: .* was distilled, but what its teacher was is not recorded"):
            gather(weights, {}, stated)
        assert gather(weights, {}, "embedded").teacher == STAND_IN

    def test_a_damaged_record_is_no_record(self, weights):
        record(weights.parent, "task_specific_kd", SAM)
        note(weights, **started_from(weights.parent / "distilled.pt"))
        (weights.parent / "teacher" / "teacher.json").write_text("{")
        with refused("teacher.json is damaged"):
            gather(weights, {}, None)


class TestTeacherOfACell:
    """Of a study whose weights do not say what they were made from; its record says it."""

    @pytest.fixture
    def cell(self, tmp_path) -> Callable[..., Path]:
        def write(method: str, overrides: dict, config: dict, phantoms: bool = False) -> Path:
            study = tmp_path / "study"
            weights = write_student("drive", study / "cells" / method)
            (weights.parent / "cell.json").write_text(json.dumps({"method": method}))
            record = {"bundle": "drive_segmentation", "overrides": overrides, "phantoms": phantoms}
            (study / "study.json").write_text(json.dumps(record))
            (study / "settings.json").write_text(json.dumps({f"distill {method}": config}))
            return weights

        return write

    @pytest.mark.parametrize("method", ["task_specific_kd", "task_agnostic_kd"])
    @pytest.mark.parametrize(
        ("overrides", "config", "expected"),
        [
            ({"pretrained": "embedded"}, {"pretrained": SAM}, STAND_IN),
            ({}, {"pretrained": "embedded"}, STAND_IN),
            ({}, {"pretrained": SAM}, SAM),
        ],
    )
    def test_it_is_what_the_study_was_run_with(self, method, overrides, config, expected, cell):
        found = gather(cell(method, overrides, config), {}, None)
        assert (found.teacher, found.method) == (expected, method)

    @pytest.mark.parametrize("method", ["scratch", "mae", "mocov3", "unet"])
    def test_methods_without_one_have_none(self, method, cell):
        assert gather(cell(method, {"pretrained": "embedded"}, {}), {}, None).teacher == NO_TEACHER

    @pytest.mark.parametrize("method", ["task_specific_kd", "task_agnostic_kd"])
    def test_without_the_study_it_has_to_be_said(self, method, cell):
        weights = cell(method, {"pretrained": "embedded"}, {})
        (weights.parents[2] / "study.json").unlink()
        with refused("was distilled, but what its teacher was is not recorded"):
            gather(weights, {}, None)

    @pytest.mark.parametrize("phantoms", [True, False])
    def test_older_phantoms_are_known_by_the_study(self, phantoms, cell):
        found = gather(cell("scratch", {}, {}, phantoms), {}, None)
        expected = True if phantoms else None
        assert (found.phantoms, found.trained_on_phantoms) == (expected, expected)

    def test_what_was_trained_in_it_later_is_another_student(self, cell):
        weights = cell("task_specific_kd", {"pretrained": SAM}, {})
        note(weights, teacher=None)
        assert gather(weights, {}, None).teacher == NO_TEACHER


class TestCard:
    @pytest.fixture
    def card(self, weights, release):
        def write(**options) -> str:
            folder = release("drive", weights, **options)
            metadata = json.loads((folder / "configs" / "metadata.json").read_text())
            return (folder / "docs" / "README.md").read_text(), metadata

        return write

    def test_a_stand_in_is_called_one(self, weights, card):
        note(weights, teacher="embedded", fine_tuned=True)
        text, metadata = card()
        assert "- **Teacher**: **a stand-in**" in text
        assert text.startswith("# Retinal vessel segmentation, distilled from a stand-in teacher\n")
        assert "stand-in teacher" in metadata["description"]
        for claim in (text, metadata["name"], metadata["description"]):
            assert "distilled from SAM" not in claim
            assert "distilled from a Segment Anything Model" not in claim

    def test_a_published_model_is_named(self, weights, card):
        note(weights, teacher=SAM, fine_tuned=True)
        text, metadata = card()
        assert f"- **Teacher**: {SAM}." in text
        assert f"distilled from {SAM}, fine-tuned with LoRA" in " ".join(text.split())
        assert metadata["name"] == f"Retinal vessel segmentation, distilled from {SAM}"

    def test_one_that_the_user_states_is_not_said_to_have_been_fine_tuned(self, card):
        text, _ = card(teacher=SAM)
        assert f"distilled from {SAM}, and fine-tuned on labelled images" in " ".join(text.split())
        assert "LoRA" not in text.split("## Data")[0]

    @pytest.mark.parametrize(("origin", "said"), [({}, "unknown"), ({"teacher": None}, "none")])
    def test_without_a_record_no_teacher_is_claimed(self, origin, said, weights, card):
        record(weights.parent, "task_specific_kd", SAM)
        note(weights, **origin)
        text, metadata = card()
        assert metadata["name"] == "Retinal vessel segmentation"
        assert f"- **Teacher**: {said}" in text
        assert "distilled from" not in text.split("## References")[0]

    @pytest.mark.parametrize(
        ("phantoms", "data", "measured"),
        [
            (True, "- **Data**: **phantoms**: images drawn by a program", "Measured on 5 phantoms, which are drawn"),
            (False, "- **Data**: DRIVE, ", "Measured on 5 held-out cases: mean"),
            (None, "was not recorded.", "held-out cases (whether real ones or phantoms, drawn by a program, was not"),
        ],
    )
    def test_phantoms_are_called_phantoms_and_nothing_else_is(self, phantoms, data, measured, weights, card):
        (weights.parent / "phantoms").mkdir()  # says nothing
        if phantoms is not None:
            change_json(weights.parent / "evaluation" / "student" / "summary.json", phantoms=phantoms)
            note(weights, teacher=None, phantoms=phantoms)
        text = " ".join(card()[0].split())
        assert data in text.split("| setting |")[0]
        assert measured in text
        assert ("of no use on real images" in text) == (phantoms is True)

    def test_what_it_was_trained_on_and_what_it_was_measured_on_are_two_things(self, weights, card):
        change_json(weights.parent / "evaluation" / "student" / "summary.json", phantoms=False)
        note(weights, teacher=None, phantoms=True)
        text = " ".join(card()[0].split())
        assert "- **Data**: **phantoms**" in text
        assert "Measured on 5 held-out cases: mean" in text

    def test_the_user_may_say_what_it_was_trained_on(self, card):
        assert "20 photographs of our clinic (as stated" in card(trained_on="20 photographs of our clinic")[0]

    def test_metrics_are_those_of_the_summary(self, weights, card):
        summary = json.loads((weights.parent / "evaluation" / "student" / "summary.json").read_text())
        text, metadata = card()
        for name in ("dice", "iou", "hd95"):
            mean = summary["metrics"][name]["vessel"]["mean"]
            assert metadata["eval_metrics"][f"vessel_{name}"] == pytest.approx(mean, abs=1e-4)
        assert f"| vessel | {summary['metrics']['dice']['vessel']['mean']:.3f} ± " in text
        assert "Cases without a distance, since prediction or label is empty: vessel (1)" in text

    def test_settings_of_the_training_are_told_if_it_ended_in_these_weights(self, weights, card):
        write_checkpoint(weights, num_labels=5, seed=7, learning_rate=0.001)
        text, _ = card()
        assert "| labelled training images | 5 |" in text
        assert "| seed of the training | 7 |" in text
        assert "fine-tuning were not recorded" not in " ".join(text.split())

    def test_settings_of_another_training_are_not(self, weights, card):
        write_checkpoint(weights, num_labels=5)
        write_student("drive", weights.parent, seed=3)
        text, _ = card()
        assert "labelled training images | 5" not in text
        assert "were not recorded" in text

    def test_it_says_how_to_run_and_what_for(self, card):
        text, _ = card()
        for heading in ("Data", "Preprocessing", "Network", "How to run it", "Intended use", "References", "License"):
            assert f"\n## {heading}\n" in text
        assert "monailabel start_server" in text
        assert "--config_file configs/inference.yaml" in text
        assert max(map(len, text.splitlines())) <= 200


def write_checkpoint(weights: Path, **settings) -> None:
    """Leave the checkpoint that training to these weights would leave."""
    state = torch.load(weights, weights_only=True)
    best = {"metric": 0.5, "epoch": 1, "network": state}
    content = {"best": best, "network": state, "epoch": 2, "iteration": 4, "settings": {"epochs": 2, **settings}}
    assert content.keys() >= {"best", "network", "settings"}, ResumableCheckpoint.__doc__
    (weights.parent / "checkpoints").mkdir()
    torch.save(content, weights.parent / "checkpoints" / "train.pt")


class TestMetadata:
    def metadata_of(self, folder: Path) -> dict:
        return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))

    def test_what_a_source_says_stays(self, weights, release):
        metadata = self.metadata_of(release("drive", weights))
        for key in ("authors", "copyright", "data_source", "intended_use", "references", "schema"):
            assert metadata[key]

    def test_a_version_goes_into_the_changelog(self, weights, release):
        metadata = self.metadata_of(release("drive", weights, version="0.2.0", changes="more labels"))
        assert metadata["version"] == "0.2.0"
        assert next(iter(metadata["changelog"].items())) == ("0.2.0", "more labels")
        assert "0.1.0" in metadata["changelog"]

    def test_packages_are_those_that_it_needs(self, tmp_path, release):
        metadata = self.metadata_of(release("chaos", write_student("chaos", tmp_path / "chaos")))
        needed = {"einops", "fire", "nibabel", "pillow", "pydicom", "pytorch-ignite", "pyyaml"}
        assert metadata["required_packages_version"].keys() == needed
        assert metadata["pytorch_version"] == torch.__version__.split("+")[0]
        assert "optional_packages_version" not in metadata, "MONAI would take it for the required ones"

    def test_classes_are_those_of_the_task(self, tmp_path, release):
        weights = write_student("kidneyus", tmp_path / "kidney", task="capsule", annotator=1)
        folder = release("kidneyus", weights)
        pred = self.metadata_of(folder)["network_data_format"]["outputs"]["pred"]
        assert pred["num_channels"] == 2
        assert pred["channel_def"] == {"0": "background", "1": "kidney"}
        metadata = self.metadata_of(folder)
        assert metadata["label_classes"] == "single channel data, 0 is background, 1 is kidney"
        assert metadata["task"] == "Segmentation of kidney in B-mode ultrasound"
        assert "| task | capsule |" in (folder / "docs" / "README.md").read_text()

    def test_images_are_those_of_the_modality(self, tmp_path, release):
        settings = {"modality": "ct", "window": [-160, 240], "percentiles": [1, 99]}
        metadata = self.metadata_of(release("chaos", write_student("chaos", tmp_path / "chaos", **settings)))
        assert metadata["network_data_format"]["inputs"]["image"]["modality"] == "CT"
        assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "liver"}
        assert metadata["image_classes"].startswith("axial slice of a CT volume")

    def test_another_network_is_called_by_its_name(self, tmp_path, release):
        unet = {
            "_target_": "UNet",
            "spatial_dims": 2,
            "in_channels": 3,
            "out_channels": 2,
            "channels": [4, 8, 8],
            "strides": [2, 2],
        }
        metadata = self.metadata_of(release("ph2", write_student("ph2", tmp_path / "unet", unet), network_def=unet))
        assert metadata["description"].startswith("A UNet (")
        assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == ["16*n", "16*n"]

    def test_a_network_for_one_size_promises_no_other(self, tmp_path):
        """With its exports, since these promise sizes too."""
        unetr = {
            "_target_": "UNETR", "spatial_dims": 2, "in_channels": 3, "out_channels": 2, "img_size": [64, 64],
            "feature_size": 4, "hidden_size": 24, "mlp_dim": 48, "num_heads": 2,
        }  # fmt: skip
        weights = write_student("ph2", tmp_path / "unetr", unetr)
        folder = release_bundle(str(bundle_of("ph2")), str(weights), tmp_path / "dist", network_def=unetr)
        formats = self.metadata_of(folder)["network_data_format"]
        assert formats["inputs"]["image"]["spatial_shape"] == formats["outputs"]["pred"]["spatial_shape"] == [64, 64]
        text = " ".join((folder / "docs" / "README.md").read_text().split())
        assert "of 64 x 64 pixels" in text
        assert "they agree to 1e-4, for batches of any size." in text
        images = torch.rand(3, 3, 64, 64)
        session = onnxruntime.InferenceSession(folder / "models" / "model.onnx", providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape[1:] == [3, 64, 64]
        found = torch.from_numpy(session.run(None, {"image": images.numpy()})[0])
        expected = torch.jit.load(folder / "models" / "model.ts")(images).detach()
        assert float((found - expected).abs().max()) < 1e-4
        assert float(expected.std()) > 0.01, "a test of nothing"

    def test_a_network_for_large_images_promises_no_small_ones(self, tmp_path, release):
        deep = {
            "_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 2,
            "channels": [4, 4, 4, 4, 4, 4], "strides": [2, 2, 2, 2, 2],
        }  # fmt: skip
        metadata = self.metadata_of(release("ph2", write_student("ph2", tmp_path / "unet", deep), network_def=deep))
        shape = metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
        assert shape == [64, 64], "five halvings leave nothing of 16 pixels"

    def test_a_network_of_other_classes_is_refused(self, tmp_path, release):
        with refused("network_def", "tells 3 classes apart, but there are 2"):
            definition = {**PLAIN_STUDENT, "num_classes": 3}
            release("drive", write_student("drive", tmp_path / "three", definition), network_def=definition)
