"""The DRIVE bundle from end to end, on phantoms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_tests import AloneTests, PipelineTests, read_metrics
from integration import (
    BUNDLE,
    PICTURE_SIZES,
    lopsided_image,
    read_state,
    refused,
    run_stage,
    write_transfer,
)
from monai.inferers import sliding_window_inference
from PIL import Image

from common.pipeline.stages import STAGES
from common.students.vit import ViTSegmenter


@pytest.fixture(scope="module")
def pipeline_run(run_bundle):
    """All stages, each in a process of its own."""
    phantoms = {"num_training": 4, "num_test": 2, "image_size": (96, 80)}
    return run_bundle(BUNDLE, phantoms, processes=True, overlap=0.5)


@pytest.fixture
def red_detector(tmp_path: Path) -> dict:
    """A network that calls a pixel foreground where red is above one half, as settings of the inference stage."""
    network = torch.nn.Conv2d(3, 2, kernel_size=1)
    weight = torch.zeros(2, 3, 1, 1)
    weight[1, 0] = 1
    torch.save({"weight": weight, "bias": torch.tensor([0.5, 0.0])}, tmp_path / "red.pt")
    network.load_state_dict(read_state(tmp_path / "red.pt"))
    definition = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 1}
    return {"student_def": definition, "ckpt_path": tmp_path / "red.pt", "device": torch.device("cpu")}


def read_masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in folder.glob("*.png")}


class TestPipeline(PipelineTests):
    classes = ("vessel",)
    test_cases = ("01_test", "02_test")

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
        reported = [float(row["dice"]) for row in read_metrics(pipeline_run.output_dir / "evaluation" / "student")]
        assert reported == pytest.approx(by_hand, abs=2e-3)

    def test_the_results_of_teacher_and_student_are_printed(self, pipeline_run):
        lines = pipeline_run.printed.splitlines()
        summary = json.loads((pipeline_run.output_dir / STAGES["evaluate"]).read_text(encoding="utf-8"))
        row = next(line.split() for line in lines if line.startswith("student "))
        assert row[1] == f"{summary['metrics']['dice']['mean']['mean']:.3f}"
        assert row[4] == f"{sum(p.numel() for p in ViTSegmenter().parameters()):,}"
        assert any(line.startswith("stand-in teacher ") for line in lines)
        assert f"student:  {pipeline_run.output_dir / 'model.pt'}" in lines

    def test_a_second_call_skips_every_stage(self, pipeline_run, call_pipeline):
        again = call_pipeline(*pipeline_run[:3])
        assert "skipped" not in pipeline_run.printed
        assert again.count("skipped: ") == len(STAGES)
        assert again.splitlines()[-3:] == pipeline_run.printed.splitlines()[-3:]

    def test_the_seconds_of_every_stage_are_noted(self, pipeline_run):
        seconds = json.loads((pipeline_run.output_dir / "seconds.json").read_text(encoding="utf-8"))
        assert seconds.keys() == STAGES.keys()
        assert min(seconds.values()) > 0

    def test_masks_of_the_shipped_student_are_those_computed_by_hand(self, pipeline_run, photographs, tmp_path):
        network = ViTSegmenter().eval()
        network.load_state_dict(read_state(pipeline_run.output_dir / "model.pt"))
        run_stage(
            "inference",
            (),
            student_def={"_target_": "common.students.vit.ViTSegmenter"},
            dataset_dir=photographs,
            ckpt_path=pipeline_run.output_dir / "model.pt",
            output_dir=tmp_path / "masks",
            device=torch.device("cpu"),
        )
        for name, size in PICTURE_SIZES.items():
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
        assert masks.keys() == {f"{name}_mask.png" for name in PICTURE_SIZES}
        for name, size in PICTURE_SIZES.items():
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

    def test_an_unreadable_image_is_named_and_stops_no_other(self, photographs, red_detector, tmp_path):
        whole = (photographs / "wide.png").read_bytes()
        (photographs / "broken.png").write_bytes(whole[: len(whole) // 2])
        (photographs / "notes.txt").write_text("not an image, and not called one")
        with refused(r"^4 masks written to .*masks, 1 left out: broken\.png \(cannot be read as an image"):
            run_stage("inference", (), dataset_dir=photographs, output_dir=tmp_path / "masks", **red_detector)
        assert read_masks(tmp_path / "masks").keys() == {f"{name}_mask.png" for name in PICTURE_SIZES}
        log = (tmp_path / "masks" / "logs" / "inference.log").read_text(encoding="utf-8")
        assert f"4 masks written to {tmp_path / 'masks'}, 1 left out:\n  broken.png: cannot be read as an image" in log
        assert f"passed over in {photographs}: 1 file not to be segmented, such as notes.txt" in log

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
    distilled = run_stage("distill", student_def=unet, feature_pairs=pairs, **dataset)
    log = (tmp_path / "logs" / "distill.log").read_text(encoding="utf-8")
    assert "distill: epoch 2/2" in log
    weights = read_state(tmp_path / "distilled.pt")
    assert weights.keys() == distilled.parser.get_parsed_content("student_def").state_dict().keys()
    run_stage("train", student_def=unet, **dataset)
    assert read_state(tmp_path / "model.pt").keys() == weights.keys()


class TestAlone(AloneTests):
    pass
