"""How well two annotators agree, counted by hand and on the real labels of KidneyUS."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.datasets.annotators import inter_annotator_dice

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "kidneyUS" / "labels"


needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="the labels of KidneyUS are not beside the project")


def write_masks(folder, number, capsule, regions):
    files = {"image": "not read"}
    for kind, rows in (("capsule", capsule), ("regions", regions)):
        path = folder / f"{kind}_{number}.png"
        Image.fromarray(np.array(rows, np.uint8)).save(path)
        files[kind] = str(path)
    return files


def real_names():
    return sorted(path.name for path in (REAL / "reviewed_masks_1" / "capsule").glob("*.png"))


def test_dice_of_two_annotators_is_a_mean_over_the_images_that_show_a_class(tmp_path):
    def entry(name, *pairs):
        (tmp_path / name).mkdir()
        label = [write_masks(tmp_path / name, number, *pair) for number, pair in enumerate(pairs, start=1)]
        return {"image": "not read", "label": label}

    entries = [
        entry("a", ([[1, 1, 1, 1]], [[1, 1, 2, 0]]), ([[1, 1, 1, 1]], [[1, 0, 0, 0]])),
        entry("b", ([[1, 1, 1, 1]], [[1, 1, 0, 0]]), ([[1, 1, 1, 1]], [[1, 1, 0, 0]])),
    ]
    dice = inter_annotator_dice(entries)
    assert dice["central echo complex"] == pytest.approx((2 / 3 + 1) / 2)
    assert dice["medulla"] == 0
    assert math.isnan(dice["cortex"])
    assert dice["other parenchyma"] == pytest.approx((2 / 4 + 1) / 2)
    with pytest.raises(ValueError, match="annotator 'intersection'"):
        inter_annotator_dice([{"label": entries[0]["label"][:1]}])


@needs_real_data
def test_real_annotators_agree_as_far_as_two_sonographers_do():
    entries = [
        {
            "label": [
                {kind: str(REAL / f"reviewed_masks_{number}" / kind / name) for kind in ("capsule", "regions")}
                for number in (1, 2)
            ]
        }
        for name in real_names()
    ]
    dice = inter_annotator_dice(entries)
    assert dice["central echo complex"] > dice["medulla"] > 0.5
    assert 0.4 < dice["cortex"] < 0.9
    capsules = [{"label": [{"capsule": files["capsule"]} for files in entry["label"]]} for entry in entries]
    assert 0.95 < inter_annotator_dice(capsules)["kidney"] < 1
