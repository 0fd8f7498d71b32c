"""Masks by a release's weights and by its ONNX are the same."""

from __future__ import annotations

import numpy as np
from PIL import Image

from common.prediction.predict import predict


def test_weights_and_onnx_of_a_release_give_the_same_masks(released, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((150, 110), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.png")
    masks = {}
    for name in ("model.pt", "model.onnx"):
        predict(tmp_path / "a.png", released / "models" / name, tmp_path / name)
        masks[name] = np.asarray(Image.open(tmp_path / name / "a_mask.png"))
    assert 0.02 < (masks["model.pt"] > 0).mean() < 0.98, "a test of nothing"
    assert (masks["model.pt"] == masks["model.onnx"]).mean() > 0.9995
