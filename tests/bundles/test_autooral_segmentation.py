"""The Autooral bundle from end to end, on phantoms."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from bundle_tests import AloneTests, WholeImageTests, read_metrics, save_bands
from integration import BUNDLES, run_stage
from PIL import Image

BUNDLE = BUNDLES / "autooral_segmentation"


@pytest.fixture(scope="module")
def pipeline_run(run_bundle):
    phantoms = {"num_training": 5, "num_validation": 1, "num_test": 2, "image_size": (60, 90)}
    return run_bundle(BUNDLE, phantoms)


def label_path(dataset_dir: Path, case: str) -> Path:
    return dataset_dir / "Test" / "mask_test" / f"{case}.png"


class TestPipeline(WholeImageTests):
    classes = ("ulcer",)
    test_cases = ("0001", "0002")
    levels = (0.58, 0.78)

    @staticmethod
    def read_case(dataset_dir, case):
        image = Image.open(dataset_dir / "Test" / "data_test" / f"{case}.png")
        return np.asarray(image), np.asarray(Image.open(label_path(dataset_dir, case))) > 0

    def test_labels_count_the_same_in_whatever_way_they_are_stored(self, pipeline_run, tmp_path):
        stored = tmp_path / "stored"
        shutil.copytree(pipeline_run.dataset_dir, stored)
        for case, convert in zip(self.test_cases, (self.as_colour, self.as_palette), strict=True):
            convert(Image.open(label_path(stored, case))).save(label_path(stored, case))
        found = {}
        for dataset_dir in (pipeline_run.dataset_dir, stored):
            bands = save_bands(tmp_path / "bands.pt", self.in_channels, self.levels)
            output_dir = tmp_path / dataset_dir.name / "run"
            run_stage("evaluate", bundle=BUNDLE, dataset_dir=dataset_dir, output_dir=output_dir, **bands)
            found[dataset_dir] = read_metrics(output_dir / "evaluation" / "student")
        assert found[stored] == found[pipeline_run.dataset_dir]

    @staticmethod
    def as_colour(label: Image.Image) -> Image.Image:
        return label.convert("RGB")

    @staticmethod
    def as_palette(label: Image.Image) -> Image.Image:
        """Return the label with the values 0 and 1, shown black and red."""
        indexed = Image.fromarray((np.asarray(label) > 0).astype(np.uint8), mode="P")
        indexed.putpalette([0, 0, 0, 255, 0, 0])
        return indexed


class TestAlone(AloneTests):
    pass
