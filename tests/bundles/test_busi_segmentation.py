"""The BUSI bundle from end to end, on phantoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_tests import AloneTests, WholeImageTests, augmentation
from integration import BUNDLES, run_stage
from PIL import Image

BUNDLE = BUNDLES / "busi_segmentation"


@pytest.fixture(scope="module")
def pipeline_run(run_bundle):
    return run_bundle(BUNDLE, {"num_images": (7, 4, 1), "image_size": (72, 96)})


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


class TestPipeline(WholeImageTests):
    classes = ("lesion",)
    test_cases = ("benign (5)", "benign (7)", "malignant (2)")
    levels = (0.45, 0.17)
    in_channels = 1

    @staticmethod
    def read_case(dataset_dir, case):
        image = dataset_dir / "Dataset_BUSI_with_GT" / case.split()[0] / f"{case}.png"
        masks = [read(path) > 127 for path in sorted(image.parent.glob(f"{case}_mask*.png"))]
        return read(image), np.any(masks, axis=0)

    @pytest.mark.parametrize("stage", ["finetune_teacher", "distill", "train"])
    def test_augmentation_leaves_up_and_down_as_they_are(self, stage, pipeline_run):
        """The probe is always at the top; left and right depend on how it is held."""
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


def test_normal_breasts_are_left_out_on_demand(pipeline_run, tmp_path):
    values = {"initial_weights": None, "dataset_dir": pipeline_run.dataset_dir, "output_dir": tmp_path}
    stage = run_stage("train", bundle=BUNDLE, normal=False, **values)
    files = stage.parser.get_parsed_content("train::files")
    assert files
    assert not [entry for entry in files if "normal" in entry["image"]]


class TestAlone(AloneTests):
    pass
