"""Masks of ``predict`` are those of a bundle's own inference, which goes by MONAI, for every kind of bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from integration import BUNDLES, run_stage
from PIL import Image
from tiny_weights import facts_of, write_weights

from common.prediction.predict import predict

_NETWORK = {
    "_target_": "common.students.vit.ViTSegmenter",
    "in_channels": "@in_channels",
    "num_classes": "@num_classes",
    "depth": 2,
}
_IMAGES = {
    "autooral": "Train/data_train/*.png",
    "drive": "training/images/*.tif",
    "kidneyus": "kidneyUS_images_14_june_2022/*.png",
    "ph2": "PH2 Dataset images/*/*_Dermoscopic_Image/*.bmp",
    "busi": "Dataset_BUSI_with_GT/benign/*[)].png",
    "chaos": "Train_Sets/MR/*/T2SPIR/DICOM_anon",
}


def read(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj) if path.name.endswith(".gz") else np.asarray(Image.open(path))


@pytest.mark.parametrize("dataset", [pytest.param(name, marks=pytest.mark.dataset(name)) for name in _IMAGES])
def test_the_masks_are_those_of_the_inference_stage(dataset, tiny_phantoms, tmp_path):
    (tmp_path / "in").mkdir()
    for number, source in enumerate(sorted(tiny_phantoms(dataset).glob(_IMAGES[dataset]))[:3]):
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, tmp_path / "in" / f"{number}{source.suffix}")
    weights = write_weights(tmp_path / "model.pt", facts_of(dataset, size=64))
    bundle = BUNDLES / f"{dataset}_segmentation"
    values = {"dataset_dir": tmp_path / "in", "output_dir": tmp_path / "monai", "ckpt_path": weights, "device": "cpu"}
    run_stage("inference", (), bundle, student_def=_NETWORK, **_kept_sizes(dataset), **values)
    predict(tmp_path / "in", weights, tmp_path / "numpy", device="cpu")
    names = sorted(path.name for path in (tmp_path / "monai").glob("*_mask.*"))
    assert len(names) == 3
    for name in names:
        expected, found = read(tmp_path / "monai" / name), read(tmp_path / "numpy" / name)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype == np.uint8
        assert (found == expected).mean() > 0.9999
        assert 0.02 < (expected > 0).mean() < 0.98, "a test of nothing"


def _kept_sizes(dataset: str) -> dict[str, int]:
    return {"crop_size" if dataset == "drive" else "image_size": 64}
