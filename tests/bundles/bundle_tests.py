"""What holds for several bundles. A bundle's own test module derives from these classes and says what is its own.

The module has a fixture ``pipeline_run``, and the derived class the attributes that are declared here.
"""

from __future__ import annotations

import csv
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from integration import (
    PICTURE_SIZES,
    STUDENT,
    TINY,
    contained,
    load_stage,
    lopsided_image,
    run_stage,
    size_key,
)
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Randomizable, Resize
from PIL import Image
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import nn

from common.pictures.sheets import pictures_of
from common.pipeline.stages import STAGES
from common.release import release_bundle

TRAINING = ("finetune_teacher", "train_diffusion", "distill", "train")


def read_metrics(folder: Path) -> list[dict[str, str]]:
    """Return the rows of ``metrics.csv``."""
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class PipelineTests:
    """What all stages leave behind."""

    classes: ClassVar[tuple[str, ...]]  # the structures, without background
    test_cases: ClassVar[tuple[str, ...]]
    in_channels: ClassVar[int] = 3
    cases_are: ClassVar[str] = "images"
    distance_unit: ClassVar[str] = "px"

    def test_every_stage_leaves_its_artefact(self, pipeline_run):
        expected = [
            *STAGES.values(),
            "teacher/adapter_model.safetensors",
            "diffusion/unet/diffusion_pytorch_model.safetensors",
            *(f"transfer/{name}" for name in ("report.json", "samples.csv", "contact_sheet.png")),
            "samples/samples_epoch_0002.png",
            *(f"transfer/images/{index:06d}.png" for index in range(1, 5)),
            *(f"evaluation/{subject}/metrics.csv" for subject in ("teacher", "student")),
        ]
        assert [name for name in expected if not (pipeline_run.output_dir / name).is_file()] == []
        leftovers = [
            path for path in pipeline_run.output_dir.rglob("*") if "partial" in path.name or "outdated" in path.name
        ]
        assert leftovers == []

    def test_every_stage_has_a_log_and_every_training_tensorboard_events(self, pipeline_run):
        logs = pipeline_run.output_dir / "logs"
        for stage in TRAINING:
            assert (logs / f"{stage}.log").read_text(encoding="utf-8").count(f"{stage}: epoch 2/2, ") == 1
            assert list((pipeline_run.output_dir / "tensorboard" / stage).glob("events.out.tfevents.*"))
        assert (logs / "synthesize.log").is_file()
        log = (logs / "evaluate.log").read_text(encoding="utf-8")
        assert f"on {len(self.test_cases)} {self.cases_are}" in log

    @pytest.mark.parametrize("stage", TRAINING)
    def test_no_metadata_slow_the_network_down(self, stage, pipeline_run):
        batch = next(iter(parse(stage, pipeline_run).get_parsed_content("train::dataloader")))
        assert isinstance(batch["image"], torch.Tensor)
        assert [key for key, value in batch.items() if isinstance(value, MetaTensor)] == []

    @pytest.mark.parametrize("subject", ["teacher", "student"])
    def test_every_test_case_is_in_metrics_summary_and_overlays(self, pipeline_run, subject):
        folder = pipeline_run.output_dir / "evaluation" / subject
        rows = read_metrics(folder)
        assert [(row["case"], row["class"]) for row in rows] == [
            (case, name) for case in self.test_cases for name in self.classes
        ]
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        assert summary["subject"] == subject
        assert summary["cases"] == len(self.test_cases)
        assert summary["phantoms"] is True
        assert summary["metrics"].keys() == {"dice", "iou", "hd95"}
        assert summary["distance_unit"] == self.distance_unit
        for name in self.classes:
            dice = np.array([float(row["dice"]) for row in rows if row["class"] == name])
            iou = np.array([float(row["iou"]) for row in rows if row["class"] == name])
            assert iou == pytest.approx(dice / (2 - dice), abs=1e-4, nan_ok=True)
            assert summary["metrics"]["dice"][name]["mean"] == pytest.approx(np.nanmean(dice), abs=1e-5)
        assert sorted(path.stem for path in (folder / "overlays").iterdir()) == sorted(self.test_cases)

    def test_the_student_is_released_with_what_the_stages_recorded(self, pipeline_run, tmp_path, monkeypatch):
        """The exports are tested apart."""
        monkeypatch.setattr("common.release.export_release", lambda *arguments: None)
        weights = pipeline_run.output_dir / "model.pt"
        folder = release_bundle(str(pipeline_run.bundle), str(weights), str(tmp_path))
        card = (folder / "docs" / "README.md").read_text(encoding="utf-8")
        assert "- **Teacher**: **a stand-in**" in card, "the demo's teacher is the embedded one"
        assert "not recorded" not in card, "the checkpoint of the training has its settings"
        assert "| epochs of fine-tuning | 2 |" in card
        config = ConfigParser.load_config_file(str(folder / "configs" / "inference.yaml"))
        assert f"{TINY['crop_size']}" in str(config[size_key(pipeline_run.bundle)])
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        summary = json.loads((pipeline_run.output_dir / STAGES["evaluate"]).read_text(encoding="utf-8"))
        assert metadata["eval_metrics"]["mean_dice"] == round(summary["metrics"]["dice"]["mean"]["mean"], 4)

    def test_plain_diffusers_samples_from_the_diffusion_folder(self, pipeline_run):
        pipeline = DiffusionPipeline.from_pretrained(pipeline_run.output_dir / "diffusion", local_files_only=True)
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(batch_size=2, num_inference_steps=2, output_type="np").images
        assert images.shape == (2, TINY["sample_size"], TINY["sample_size"], self.in_channels)


class AloneTests:
    """MONAI Label and MONAI FL load exactly one file, and set no overlay on it."""

    @pytest.fixture
    def images(self, photographs) -> Path:
        """What inference is run on."""
        return photographs

    def test_train_has_every_property_that_monai_asks_for(self, pipeline_run, tmp_path):
        values = {"initial_weights": None, "num_validation": 1, "num_workers": 0}
        workflow = load_stage("train", (), **self.folders(pipeline_run, tmp_path), **values)
        with contained():
            workflow.initialize()
        assert not workflow.check_properties()
        assert workflow.trainer.state.max_epochs == TINY["epochs"]
        assert workflow.evaluator.network is workflow.trainer.network
        assert len(workflow.train_dataset_data) == TINY["samples_per_epoch"]

    def test_inference_has_every_property_that_monai_asks_for(self, pipeline_run, images, tmp_path):
        values = {**self.folders(pipeline_run, tmp_path), "dataset_dir": images}
        workflow = load_stage("inference", (), ckpt_path=pipeline_run.output_dir / "model.pt", **values)
        with contained():
            workflow.initialize()
            assert not workflow.check_properties()
            workflow.run()
        assert len(list(tmp_path.glob("*_mask.*"))) == len(workflow.parser.get_parsed_content("images").found)

    @staticmethod
    def folders(pipeline_run, output_dir: Path) -> dict[str, Any]:
        """Return the folders of a stage, and the student of the pipeline's run."""
        folders = {"bundle": pipeline_run.bundle, "dataset_dir": pipeline_run.dataset_dir, "output_dir": output_dir}
        return {**folders, "student_def": STUDENT, "device": "cpu"}


# Bundles that see images whole


def save_bands(path: Path, in_channels: int, levels: Sequence[float]) -> dict[str, Any]:
    """Save a network that tells classes by brightness, and return the settings that put it in the student's place.

    Its logits are tangents of a parabola, so that class k is where the mean over channels is nearest to ``levels[k]``.
    """
    level = torch.tensor(levels)
    weight = (20 * level / in_channels).view(-1, 1, 1, 1).expand(-1, in_channels, 1, 1).contiguous()
    torch.save({"weight": weight, "bias": -10 * level**2}, path)
    definition = {"in_channels": "@in_channels", "out_channels": "@num_classes", "kernel_size": 1}
    return {
        "student_def": {"_target_": "torch.nn.Conv2d", **definition},
        "ckpt_path": path,
        "device": torch.device("cpu"),
    }


def parse(stage: str, pipeline_run: Any) -> ConfigParser:
    """Return the config of a stage with the tiny settings, on the data and for the results of a run."""
    return load_stage(
        stage, bundle=pipeline_run.bundle, dataset_dir=pipeline_run.dataset_dir, output_dir=pipeline_run.output_dir
    ).parser


def augmentation(stage: str, pipeline_run: Any) -> Compose:
    """Return what is random about a training stage."""
    transforms = parse(stage, pipeline_run).get_parsed_content("train::random_transforms")
    return Compose([transform for transform in transforms if isinstance(transform, Randomizable)])


def predict(network: nn.Module, image: np.ndarray, image_size: int) -> np.ndarray:
    """Return class ids ``(H, W)`` of an image ``(H, W)`` or ``(H, W, 3)`` as the configs should, without them.

    The image is seen resized, its axes swapped as networks are trained, and logits are brought back to its own size.
    """
    pixels = torch.tensor(image / 255, dtype=torch.float32)
    pixels = (pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)).transpose(1, 2)
    seen = Resize((image_size, image_size), mode="bilinear", anti_aliasing=True)(pixels).as_tensor()
    with torch.no_grad():
        logits = F.interpolate(network(seen[None]), size=pixels.shape[1:], mode="bilinear", align_corners=False)
    return logits.argmax(1)[0].T.numpy()


def dice(predicted: np.ndarray, expected: np.ndarray) -> float:
    """Return the Dice coefficient of two masks; NaN where nothing is expected, as MONAI has it."""
    return 2 * (predicted & expected).sum() / (predicted.sum() + expected.sum()) if expected.any() else math.nan


def hd95(predicted: np.ndarray, expected: np.ndarray) -> float:
    """Return the 95th percentile of the Hausdorff distance of two masks in pixels; NaN where nothing is expected."""
    if not expected.any():
        return math.nan
    edges = [mask & ~binary_erosion(mask) for mask in (predicted, expected)]
    there = distance_transform_edt(~edges[1])[edges[0]]
    back = distance_transform_edt(~edges[0])[edges[1]]
    return max(np.percentile(there, 95), np.percentile(back, 95))


class WholeImageTests(PipelineTests, ABC):
    """What holds for bundles that see images whole, resized to a square."""

    levels: ClassVar[tuple[float, ...]]  # how bright each class is in the phantoms, background first

    @staticmethod
    @abstractmethod
    def read_case(dataset_dir: Path, case: str) -> tuple[np.ndarray, np.ndarray]:
        """Return an image ``(H, W[, 3])`` and its label ``(H, W)`` in class ids, read with Pillow alone."""

    @pytest.mark.parametrize("stage", ["finetune_teacher", "distill", "train"])
    def test_labels_are_resized_without_a_shift(self, stage, pipeline_run):
        preprocess = parse(stage, pipeline_run).get_parsed_content("validate::preprocessing")
        cases = parse("evaluate", pipeline_run).get_parsed_content("validate::dataset")
        shifts = []
        for entry, case in zip(cases.data, cases, strict=True):
            seen = preprocess(entry)
            assert seen["image"].shape == (self.in_channels, 32, 32)
            centres = [np.argwhere(np.asarray(item["label"][0]) > 0).mean(0) + 0.5 for item in (seen, case)]
            shifts.append(centres[0] - 32 * centres[1] / case["label"].shape[1:])
        assert np.abs(np.mean(shifts, axis=0)).max() < 0.15, "pixels"

    @pytest.mark.parametrize("stage", ["finetune_teacher", "distill", "train"])
    def test_augmentation_moves_image_and_label_alike(self, stage, pipeline_run):
        augment = augmentation(stage, pipeline_run)
        label = torch.tensor(lopsided_image(32, 32)[..., :1] > 127).permute(2, 1, 0).float()
        for seed in range(10):
            augment.set_random_state(seed)
            moved = augment({"image": label.repeat(self.in_channels, 1, 1), "label": label})
            assert dice(np.asarray(moved["image"][0]) > 0.5, np.asarray(moved["label"][0]) > 0.5) > 0.95
            assert set(np.unique(moved["label"])) <= {0, 1}

    def test_metrics_are_those_of_the_network_at_the_images_own_size(self, pipeline_run, tmp_path):
        bands = save_bands(tmp_path / "bands.pt", self.in_channels, self.levels)
        dataset = {"dataset_dir": pipeline_run.dataset_dir, "output_dir": tmp_path}
        stage = run_stage("evaluate", bundle=pipeline_run.bundle, image_size=32, **dataset, **bands)
        network = stage.parser.get_parsed_content("network")
        expected = {"dice": [], "hd95": []}
        for case in self.test_cases:
            image, label = self.read_case(pipeline_run.dataset_dir, case)
            predicted = predict(network, image, image_size=32)
            for value in range(1, len(self.levels)):
                expected["dice"].append(dice(predicted == value, label == value))
                expected["hd95"].append(hd95(predicted == value, label == value))
        rows = read_metrics(tmp_path / "evaluation" / "student")
        assert [float(row["dice"]) for row in rows] == pytest.approx(expected["dice"], abs=1e-4, nan_ok=True)
        assert [float(row["hd95"]) for row in rows] == pytest.approx(expected["hd95"], abs=1e-3, nan_ok=True)
        for name in self.classes:
            assert np.nanmean([float(row["dice"]) for row in rows if row["class"] == name]) > 0.05, "a test of nothing"

    def test_overlays_are_as_sharp_as_the_images(self, pipeline_run):
        folder = pipeline_run.output_dir / "evaluation" / "student" / "overlays"
        for case in self.test_cases:
            image, label = self.read_case(pipeline_run.dataset_dir, case)
            with Image.open(folder / f"{case}.png") as sheet:
                shown = pictures_of(sheet)["image"]
            assert shown.width % label.shape[1] == 0, "enlarged by a whole number, or not at all"
            expected = Image.fromarray(image).convert("RGB").resize(shown.size, Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(np.asarray(shown), np.asarray(expected))

    @pytest.fixture
    def bands(self, tmp_path) -> dict[str, Any]:
        """A network for which the brightest pixels are of the last class, as settings of inference."""
        levels = np.linspace(0, 0.8, 1 + len(self.classes)).tolist()
        return {**save_bands(tmp_path / "bands.pt", self.in_channels, levels), "image_size": 64}

    @pytest.fixture
    def infer(self, pipeline_run, tmp_path) -> Callable[..., dict[str, np.ndarray]]:
        """Return what segments images with given settings and returns the masks by file name."""

        def run(dataset_dir: Path, **values: Any) -> dict[str, np.ndarray]:
            output_dir = tmp_path / "masks"
            run_stage("inference", (), pipeline_run.bundle, dataset_dir=dataset_dir, output_dir=output_dir, **values)
            return {path.name: np.asarray(Image.open(path)) for path in output_dir.glob("*.png")}

        return run

    def test_masks_lie_on_their_images_whatever_the_size(self, infer, photographs, bands):
        masks = infer(photographs, **bands)
        assert masks.keys() == {f"{name}_mask.png" for name in PICTURE_SIZES}
        for name, size in PICTURE_SIZES.items():
            bright = lopsided_image(*size)[..., 0] > 127
            mask = masks[f"{name}_mask.png"]
            assert mask.shape == size
            found = mask == len(self.classes)
            assert dice(found, bright) > 0.9
            for other in (bright[::-1], bright[:, ::-1], bright[::-1, ::-1]):
                assert dice(found, other) < 0.7

    def test_masks_are_those_computed_by_hand(self, infer, photographs, bands):
        masks = infer(photographs, **bands)
        network = nn.Conv2d(self.in_channels, len(self.levels), kernel_size=1)
        network.load_state_dict(torch.load(bands["ckpt_path"], weights_only=True))
        for name, size in PICTURE_SIZES.items():
            image = lopsided_image(*size)
            image = image if self.in_channels == 3 else np.asarray(Image.fromarray(image).convert("L"))
            assert (masks[f"{name}_mask.png"] == predict(network, image, image_size=64)).mean() > 0.999

    def test_grey_colour_and_transparent_pictures_are_taken(self, infer, bands, tmp_path):
        (tmp_path / "mixed").mkdir()
        pixels = lopsided_image(40, 70)
        pixels[...] = pixels[..., :1]  # in every mode the same picture
        colour = Image.fromarray(pixels)
        for mode in ("L", "RGB", "RGBA"):
            colour.convert(mode).save(tmp_path / "mixed" / f"{mode}.png")
        masks = infer(tmp_path / "mixed", **bands)
        assert len(masks) == 3
        assert len(np.unique(masks["L_mask.png"])) > 1
        for mask in masks.values():
            np.testing.assert_array_equal(mask, masks["L_mask.png"])

    def test_the_shipped_student_is_loaded_without_further_settings(self, pipeline_run, infer, photographs):
        masks = infer(photographs, ckpt_path=pipeline_run.output_dir / "model.pt", student_def=STUDENT)
        assert {name: mask.shape for name, mask in masks.items()} == {
            f"{name}_mask.png": size for name, size in PICTURE_SIZES.items()
        }
        assert max(mask.max() for mask in masks.values()) <= len(self.classes)


class ProbeTests:
    """What is true of ultrasound: the probe is always at the top; left and right depend on how it is held."""

    @pytest.mark.parametrize("stage", ["finetune_teacher", "distill", "train"])
    def test_augmentation_leaves_up_and_down_as_they_are(self, stage, pipeline_run):
        augment = augmentation(stage, pipeline_run)
        label = torch.zeros(1, 64, 64)  # x first
        label[:, 8:24, 8:16] = 1
        sides = set()
        for seed in range(20):
            augment.set_random_state(seed)
            x, y = np.argwhere(np.asarray(augment({"image": label, "label": label})["label"][0]) > 0).mean(0)
            assert y < 28
            sides.add(x < 32)
        assert sides == {True, False}
