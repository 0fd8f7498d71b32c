"""The BUSI bundle from end to end, on phantoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundle_tests import AloneTests, ProbeTests, WholeImageTests
from integration import BUNDLES, run_stage
from PIL import Image

BUNDLE = BUNDLES / "busi_segmentation"


@pytest.fixture(scope="module")
def pipeline_run(run_bundle):
    return run_bundle(BUNDLE, {"num_images": (7, 4, 1), "image_size": (72, 96)})


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


class TestPipeline(ProbeTests, WholeImageTests):
    classes = ("lesion",)
    test_cases = ("benign (5)", "benign (7)", "malignant (2)")
    levels = (0.45, 0.17)
    in_channels = 1

    @staticmethod
    def read_case(dataset_dir, case):
        image = dataset_dir / "Dataset_BUSI_with_GT" / case.split()[0] / f"{case}.png"
        masks = [read(path) > 127 for path in sorted(image.parent.glob(f"{case}_mask*.png"))]
        return read(image), np.any(masks, axis=0)


def test_normal_breasts_are_left_out_on_demand(pipeline_run, tmp_path):
    values = {"initial_weights": None, "dataset_dir": pipeline_run.dataset_dir, "output_dir": tmp_path}
    stage = run_stage("train", bundle=BUNDLE, normal=False, **values)
    files = stage.parser.get_parsed_content("train::files")
    assert files
    assert not [entry for entry in files if "normal" in entry["image"]]


class TestAlone(AloneTests):
    pass
