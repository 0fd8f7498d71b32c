"""The PH2 bundle from end to end, on phantoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundle_tests import AloneTests, WholeImageTests
from integration import BUNDLES
from PIL import Image

BUNDLE = BUNDLES / "ph2_segmentation"


@pytest.fixture(scope="module")
def pipeline_run(run_bundle):
    return run_bundle(BUNDLE, {"num_images": 10, "image_size": (60, 90)})


def paths_of(dataset_dir: Path, case: str) -> tuple[Path, Path]:
    folder = dataset_dir / "PH2 Dataset images" / case
    return folder / f"{case}_Dermoscopic_Image" / f"{case}.bmp", folder / f"{case}_lesion" / f"{case}_lesion.bmp"


class TestPipeline(WholeImageTests):
    classes = ("lesion",)
    test_cases = ("IMD005", "IMD008")
    levels = (0.72, 0.42)

    @staticmethod
    def read_case(dataset_dir, case):
        image, label = (Image.open(path) for path in paths_of(dataset_dir, case))
        return np.asarray(image), np.asarray(label.convert("L")) > 0


class TestAlone(AloneTests):
    pass
