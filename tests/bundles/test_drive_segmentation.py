"""The DRIVE bundle from end to end, on phantoms."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from integration import (
    CONFIGS,
    IMAGE_SIZE,
    contained,
    read_state,
    refused,
    run_stage,
    settings,
    tiny_student,
    write_transfer,
)
from monai.bundle import ConfigWorkflow
from monai.inferers import sliding_window_inference
from PIL import Image

from common.datasets.drive import write_phantoms
from common.networks.vit import ViTSegmenter
from common.pipeline import STAGES

TEST_CASES = ["01_test", "02_test"]

# The size of these is height x width; none is square, and no two axes or directions of the content look alike.
SIZES = {"wide": (40, 70), "tall.v2": (66, 34), "small": (20, 23), "many": (96, 150)}


def lopsided_image(height: int, width: int) -> np.ndarray:
    """Return an RGB image with red in one corner region that no flip or transposition maps to itself."""
    pixels = np.random.default_rng(height).integers(0, 100, (height, width, 3), np.uint8)
    pixels[: height // 4, : width // 2, 0] = 255
    pixels[height // 2 :, -3:, 0] = 255
    return pixels


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, size in SIZES.items():
        Image.fromarray(lopsided_image(*size)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def red_detector(tmp_path: Path) -> dict:
    """A network that calls a pixel foreground where red is above one half, as settings of the inference stage."""
    network = torch.nn.Conv2d(3, 2, kernel_size=1)
    weight = torch.zeros(2, 3, 1, 1)
    weight[1, 0] = 1
    torch.save({"weight": weight, "bias": torch.tensor([0.5, 0.0])}, tmp_path / "red.pt")
    network.load_state_dict(read_state(tmp_path / "red.pt"))
    definition = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 1}
    return {"network_def": definition, "ckpt_path": tmp_path / "red.pt", "device": torch.device("cpu")}


def read_masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in folder.glob("*.png")}


class TestPipeline:
    def test_every_stage_leaves_its_artefact(self, pipeline_run):
        output_dir = pipeline_run.output_dir
        expected = [
            *STAGES.values(),
            "teacher/adapter_model.safetensors",
            "teacher/decoder.safetensors",
            "diffusion/unet/diffusion_pytorch_model.safetensors",
            "transfer/contact_sheet.png",
            "samples/samples_epoch_0002.png",
            *(f"transfer/images/{index:06d}.png" for index in range(1, 5)),
            *(f"evaluation/{subject}/metrics.csv" for subject in ("teacher", "student")),
        ]
        assert [name for name in expected if not (output_dir / name).is_file()] == []
        leftovers = [path for path in output_dir.rglob("*") if "partial" in path.name or "outdated" in path.name]
        assert leftovers == []

    def test_every_stage_has_a_log_and_every_training_tensorboard_events(self, pipeline_run):
        for stage in ("finetune_teacher", "train_diffusion", "distill", "train"):
            log = (pipeline_run.output_dir / "logs" / f"{stage}.log").read_text(encoding="utf-8")
            assert log.count(f"{stage}: epoch 2/2, ") == 1
            assert list((pipeline_run.output_dir / "tensorboard" / stage).glob("events.out.tfevents.*"))
        assert (pipeline_run.output_dir / "logs" / "synthesize.log").is_file()
        assert "on 2 images" in (pipeline_run.output_dir / "logs" / "evaluate.log").read_text(encoding="utf-8")

    @pytest.mark.parametrize("subject", ["teacher", "student"])
    def test_every_test_case_is_in_metrics_summary_and_overlays(self, pipeline_run, subject):
        folder = pipeline_run.output_dir / "evaluation" / subject
        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["case"], row["class"]) for row in rows] == [(case, "vessel") for case in TEST_CASES]
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        assert summary["subject"] == subject
        assert summary["cases"] == 2
        assert summary["metrics"].keys() == {"dice", "iou", "hd95"}
        dice = [float(row["dice"]) for row in rows]
        assert summary["metrics"]["dice"]["vessel"]["mean"] == pytest.approx(np.mean(dice), abs=1e-5)
        iou = [float(row["iou"]) for row in rows]
        assert iou == pytest.approx([value / (2 - value) for value in dice], abs=1e-4)
        assert sorted(path.stem for path in (folder / "overlays").iterdir()) == TEST_CASES

    def test_the_metrics_are_those_of_the_network_inside_the_field_of_view(self, pipeline_run):
        """Dice by hand: predict on (C, H, W) arrays, compare inside the mask, without any of the configs."""
        network = ViTSegmenter().eval()
        network.load_state_dict(read_state(pipeline_run.output_dir / "model.pt"))
        by_hand = []
        for case in ("01", "02"):
            folder = pipeline_run.dataset_dir / "test"
            image = np.asarray(Image.open(folder / "images" / f"{case}_test.tif"))
            label = np.asarray(Image.open(folder / "1st_manual" / f"{case}_manual1.gif").convert("L")) > 0
            fov = np.asarray(Image.open(folder / "mask" / f"{case}_test_mask.gif").convert("L")) > 0
            predicted = predict(network, image) == 1
            by_hand.append(2 * (predicted & label & fov).sum() / ((predicted & fov).sum() + (label & fov).sum()))
        with (pipeline_run.output_dir / "evaluation" / "student" / "metrics.csv").open(newline="") as file:
            reported = [float(row["dice"]) for row in csv.DictReader(file)]
        assert reported == pytest.approx(by_hand, abs=2e-3)

    def test_the_results_of_teacher_and_student_are_printed(self, pipeline_run):
        lines = pipeline_run.first.splitlines()
        summary = json.loads((pipeline_run.output_dir / STAGES["evaluate"]).read_text(encoding="utf-8"))
        row = next(line.split() for line in lines if line.startswith("student "))
        assert row[1] == f"{summary['metrics']['dice']['mean']['mean']:.3f}"
        assert row[4] == f"{sum(p.numel() for p in ViTSegmenter().parameters()):,}"
        assert any(line.startswith("teacher ") for line in lines)
        assert f"student:  {pipeline_run.output_dir / 'model.pt'}" in lines

    def test_a_second_call_skips_every_stage(self, pipeline_run):
        assert "skipped" not in pipeline_run.first
        assert pipeline_run.second.count("skipped: ") == len(STAGES)
        assert pipeline_run.first.splitlines()[-3:] == pipeline_run.second.splitlines()[-3:]

    def test_the_seconds_of_every_stage_are_noted(self, pipeline_run):
        seconds = json.loads((pipeline_run.output_dir / "seconds.json").read_text(encoding="utf-8"))
        assert seconds.keys() == STAGES.keys()
        assert min(seconds.values()) > 0

    def test_plain_diffusers_samples_from_the_diffusion_folder(self, pipeline_run):
        pipeline = DiffusionPipeline.from_pretrained(pipeline_run.output_dir / "diffusion", local_files_only=True)
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(batch_size=2, num_inference_steps=2, output_type="np").images
        assert images.shape == (2, 32, 32, 3)

    def test_masks_of_the_shipped_student_are_those_computed_by_hand(self, pipeline_run, photographs, tmp_path):
        network = ViTSegmenter().eval()
        network.load_state_dict(read_state(pipeline_run.output_dir / "model.pt"))
        run_stage(
            "inference",
            (),
            network_def={"_target_": "common.networks.vit.ViTSegmenter"},
            dataset_dir=photographs,
            ckpt_path=pipeline_run.output_dir / "model.pt",
            output_dir=tmp_path / "masks",
            device=torch.device("cpu"),
        )
        for name, size in SIZES.items():
            mask = np.asarray(Image.open(tmp_path / "masks" / f"{name}_mask.png"))
            by_hand = predict(network, lopsided_image(*size))
            assert mask.shape == size
            assert (mask == by_hand).mean() > 0.999


def predict(network: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """Return class ids (H, W) of an image (H, W, 3). The network was trained on images with their axes swapped."""
    pixels = torch.tensor(image / 255, dtype=torch.float32).permute(2, 0, 1)
    swapped = pixels.transpose(1, 2)[None]
    with torch.no_grad():
        logits = sliding_window_inference(swapped, (32, 32), 4, network, overlap=0.5, mode="gaussian")
    return logits.argmax(1)[0].T.numpy()


class TestInference:
    def test_masks_lie_on_their_images_whatever_the_size(self, photographs, red_detector, tmp_path):
        run_stage("inference", (), dataset_dir=photographs, output_dir=tmp_path / "masks", **red_detector)
        masks = read_masks(tmp_path / "masks")
        assert masks.keys() == {f"{name}_mask.png" for name in SIZES}
        for name, size in SIZES.items():
            expected = (lopsided_image(*size)[..., 0] > 127).astype(np.uint8)
            np.testing.assert_array_equal(masks[f"{name}_mask.png"], expected)

    def test_one_file_makes_one_mask(self, photographs, red_detector, tmp_path):
        run_stage("inference", (), dataset_dir=photographs / "tall.v2.png", output_dir=tmp_path / "one", **red_detector)
        masks = read_masks(tmp_path / "one")
        assert list(masks) == ["tall.v2_mask.png"]
        np.testing.assert_array_equal(masks["tall.v2_mask.png"], lopsided_image(66, 34)[..., 0] > 127)

    def test_grey_and_transparent_pictures_are_taken_as_rgb(self, red_detector, tmp_path):
        (tmp_path / "mixed").mkdir()
        grey = lopsided_image(40, 70)[..., 0]
        Image.fromarray(grey).save(tmp_path / "mixed" / "grey.png")
        Image.fromarray(lopsided_image(40, 70)).convert("RGBA").save(tmp_path / "mixed" / "transparent.png")
        run_stage("inference", (), dataset_dir=tmp_path / "mixed", output_dir=tmp_path / "masks", **red_detector)
        for mask in read_masks(tmp_path / "masks").values():
            np.testing.assert_array_equal(mask, grey > 127)

    def test_an_unreadable_image_is_named_and_stops_no_other(self, photographs, red_detector, tmp_path, caplog):
        whole = (photographs / "wide.png").read_bytes()
        (photographs / "broken.png").write_bytes(whole[: len(whole) // 2])
        (photographs / "notes.txt").write_text("not an image, and not called one")
        with caplog.at_level(logging.ERROR):
            run_stage("inference", (), dataset_dir=photographs, output_dir=tmp_path / "masks", **red_detector)
        assert read_masks(tmp_path / "masks").keys() == {f"{name}_mask.png" for name in SIZES}
        log = (tmp_path / "masks" / "logs" / "inference.log").read_text(encoding="utf-8")
        assert str(photographs / "broken.png") in log
        assert "1 of the images could not be read" in log
        assert "notes.txt" not in log

    def test_images_whose_masks_would_overwrite_each_other_are_refused(self, photographs, red_detector, tmp_path):
        Image.fromarray(lopsided_image(8, 9)).save(photographs / "wide.tif")
        with refused("several images named wide", "rename"):
            run_stage("inference", (), dataset_dir=photographs, output_dir=tmp_path / "masks", **red_detector)
        assert read_masks(tmp_path / "masks") == {}

    def test_a_folder_without_images_is_refused(self, red_detector, tmp_path):
        (tmp_path / "nothing").mkdir()
        with refused("nothing holds no readable image"):
            run_stage("inference", (), dataset_dir=tmp_path / "nothing", output_dir=tmp_path, **red_detector)

    def test_a_folder_that_does_not_exist_is_refused(self, red_detector, tmp_path):
        with refused("nowhere does not exist"):
            run_stage("inference", (), dataset_dir=tmp_path / "nowhere", output_dir=tmp_path, **red_detector)


def test_another_student_is_distilled_by_overriding_network_and_feature_pairs(pipeline_run, tmp_path):
    shutil.copytree(pipeline_run.output_dir / "teacher", tmp_path / "teacher")
    write_transfer(tmp_path)
    unet = {
        "_target_": "UNet",
        "spatial_dims": 2,
        "in_channels": 3,
        "out_channels": 2,
        "channels": [4, 8, 16],
        "strides": [2, 2],
    }
    pairs = {"encoder.neck": "model.1.submodule.1"}
    dataset = {"dataset_dir": pipeline_run.dataset_dir, "output_dir": tmp_path}
    distilled = run_stage("distill", network_def=unet, feature_pairs=pairs, **dataset)
    log = (tmp_path / "logs" / "distill.log").read_text(encoding="utf-8")
    assert "distill: epoch 2/2" in log
    weights = read_state(tmp_path / "distilled.pt")
    assert weights.keys() == distilled.network_def.state_dict().keys()
    run_stage("train", network_def=unet, **dataset)
    assert read_state(tmp_path / "model.pt").keys() == weights.keys()


class TestAlone:
    """MONAI Label and MONAI FL load exactly one file."""

    def test_train_has_every_property_that_monai_asks_for(self, tmp_path):
        dataset_dir = write_phantoms(tmp_path / "DRIVE", num_training=3, num_test=1, image_size=IMAGE_SIZE)
        values = settings("train", dataset_dir=str(dataset_dir), output_dir=str(tmp_path / "run"))
        values |= {"initial_weights": None, "num_validation": 1, "num_workers": 0, "device": torch.device("cpu")}
        workflow = ConfigWorkflow(str(CONFIGS / "train.yaml"), workflow_type="train", logging_file=False, **values)
        with contained():
            workflow.initialize()
        assert not workflow.check_properties()
        assert workflow.trainer.state.max_epochs == 2
        assert workflow.evaluator.network is workflow.trainer.network
        assert len(workflow.train_dataset_data) == 4

    def test_inference_has_every_property_that_monai_asks_for(self, photographs, tmp_path):
        torch.save(tiny_student().state_dict(), tmp_path / "m.pt")
        values = settings("inference", dataset_dir=str(photographs), output_dir=str(tmp_path))
        values |= {"ckpt_path": str(tmp_path / "m.pt"), "device": torch.device("cpu")}
        workflow = ConfigWorkflow(str(CONFIGS / "inference.yaml"), workflow_type="infer", logging_file=False, **values)
        with contained():
            workflow.initialize()
            assert not workflow.check_properties()
            workflow.run()
        assert len(list(tmp_path.glob("*_mask.png"))) == len(SIZES)
