"""The KidneyUS bundle from end to end, on phantoms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bundle_tests import AloneTests, ProbeTests, WholeImageTests, dice, predict, read_metrics, save_bands
from integration import BUNDLES, load_stage, read_state, refused, run_stage
from monai.bundle import ConfigParser
from PIL import Image

from common.pipeline.stages import STAGES

BUNDLE = BUNDLES / "kidneyus_segmentation"
TASKS = {
    "regions": ["central echo complex", "medulla", "cortex"],
    "capsule": ["kidney"],
    "all": ["central echo complex", "medulla", "cortex", "other parenchyma"],
}


@pytest.fixture(scope="module")
def pipeline_run(run_bundle):
    return run_bundle(BUNDLE, {"num_exams": 6, "image_size": (72, 96)})


def read_mask(dataset_dir: Path, case: str, annotator: int, kind: str) -> np.ndarray:
    return np.asarray(Image.open(dataset_dir / "labels" / f"reviewed_masks_{annotator}" / kind / f"{case}.png"))


def read_image(dataset_dir: Path, case: str) -> np.ndarray:
    return np.asarray(Image.open(dataset_dir / "kidneyUS_images_14_june_2022" / f"{case}.png").convert("L"))


class TestPipeline(ProbeTests, WholeImageTests):
    classes = tuple(TASKS["regions"])
    test_cases = ("4_IM-0116-0074_anon", "4_IM-0281-0036_anon")
    levels = (0.0, 0.65, 0.22, 0.35)
    in_channels = 1

    @staticmethod
    def read_case(dataset_dir, case):
        return read_image(dataset_dir, case), read_mask(dataset_dir, case, 1, "regions")

    def test_the_summary_says_how_well_the_annotators_agree(self, pipeline_run):
        summary = json.loads((pipeline_run.output_dir / STAGES["evaluate"]).read_text(encoding="utf-8"))
        for value, name in enumerate(self.classes, start=1):
            scores = []
            for case in self.test_cases:
                one, other = (read_mask(pipeline_run.dataset_dir, case, number, "regions") for number in (1, 2))
                scores.append(dice(one == value, other == value))
            assert summary["annotator_dice"][name] == pytest.approx(np.nanmean(scores))


@pytest.mark.parametrize("task", ["capsule", "all"])
def test_every_task_has_its_classes_from_training_to_masks(task, pipeline_run, tmp_path):
    dataset = {"dataset_dir": pipeline_run.dataset_dir, "output_dir": tmp_path}
    run_stage("train", bundle=BUNDLE, task=task, initial_weights=None, **dataset)
    assert len(read_state(tmp_path / "model.pt")["head.bias"]) == 4 * (1 + len(TASKS[task]))  # of 2x2 pixels
    run_stage("evaluate", bundle=BUNDLE, **dataset)  # knows the task from the student
    names = [row["class"] for row in read_metrics(tmp_path / "evaluation" / "student")]
    assert names == TASKS[task] * 2
    images = pipeline_run.dataset_dir / "kidneyUS_images_14_june_2022"
    values = {"dataset_dir": images, "output_dir": tmp_path / "masks"}
    run_stage("inference", (), BUNDLE, ckpt_path=tmp_path / "model.pt", **values)
    masks = [np.asarray(Image.open(path)) for path in (tmp_path / "masks").glob("*.png")]
    assert len(masks) == len(list(images.iterdir()))
    assert max(mask.max() for mask in masks) <= len(TASKS[task])


@pytest.mark.parametrize("annotator", [2, "intersection"])
def test_the_labels_are_those_of_the_annotator(annotator, pipeline_run, tmp_path):
    dataset_dir = pipeline_run.dataset_dir
    bands = save_bands(tmp_path / "bands.pt", in_channels=1, levels=(0.1, 0.5))
    values = {"task": "capsule", "annotator": annotator, "dataset_dir": dataset_dir, "output_dir": tmp_path}
    stage = run_stage("evaluate", bundle=BUNDLE, image_size=32, **values, **bands)
    expected = []
    for case in TestPipeline.test_cases:
        drawn = [read_mask(dataset_dir, case, number, "capsule") > 0 for number in (1, 2)]
        label = drawn[1] if annotator == 2 else drawn[0] & drawn[1]
        network = stage.parser.get_parsed_content("network")
        expected.append(dice(predict(network, read_image(dataset_dir, case), image_size=32) == 1, label))
    found = [float(row["dice"]) for row in read_metrics(tmp_path / "evaluation" / "student")]
    assert found == pytest.approx(expected, abs=1e-4)
    assert min(found) > 0.05, "a test of nothing"


def test_training_on_one_annotator_is_not_gone_on_with_on_another(pipeline_run, tmp_path):
    values = {"initial_weights": None, "dataset_dir": pipeline_run.dataset_dir, "output_dir": tmp_path}
    run_stage("train", bundle=BUNDLE, **values)
    with refused("left by a run with other settings", "annotator was 1, now 2"):
        run_stage("train", bundle=BUNDLE, annotator=2, **values)


@pytest.mark.parametrize("stage", ["finetune_teacher", "distill", "train", "evaluate", "inference"])
@pytest.mark.parametrize("task", ["cortex", ["regions", "capsule"]])
def test_an_unknown_task_has_no_number_of_classes(stage, task, tmp_path):
    with refused("task must be one of regions, capsule, all, got .(cortex|'regions', 'capsule')"):
        config = load_stage(stage, bundle=BUNDLE, task=task, output_dir=tmp_path)
        config.parser.get_parsed_content("num_classes")


def test_every_stage_that_reads_labels_takes_task_and_annotator():
    """The pipeline hands a key to the stages that have it."""
    for path in (BUNDLE / "configs").glob("*.yaml"):
        config = ConfigParser.load_config_file(str(path))
        if "data" in config:
            assert (config["data"]["task"], config["data"]["annotator"]) == ("@task", "@annotator"), path.name
            assert {"task", "annotator"} <= config.keys(), path.name


class TestAlone(AloneTests):
    pass
