"""A bundle that was created runs through its stages as it stands: its configs know where the data are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from integration import run_stage
from PIL import Image
from test_create import FOUND, create, write

from common.release.configs import released_configs

THIN = {**FOUND["black_white"], "classes": ["background", "vessel"], "field_of_view": "fields"}


def write_thin(folder: Path) -> Path:
    """Write images of 400 pixels a side that are crossed by lines two pixels wide."""
    for name in ("photos", "masks", "fields"):
        (folder / name).mkdir(parents=True)
    for index in range(6):
        mask = np.zeros((400, 400), np.uint8)
        for place in range(10 + index, 400, 40):
            mask[place : place + 2] = mask[:, place : place + 2] = 255
        noise = np.random.default_rng(index).integers(0, 60, (400, 400, 3), np.uint8)
        Image.fromarray(noise + mask[..., None] // 2).save(folder / "photos" / f"{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
        Image.fromarray(np.full((400, 400), 255, np.uint8)).save(folder / "fields" / f"{index}.png")
    return folder


def create_for(kind: str, folder: Path) -> Path:
    """Create a bundle for data that lie beside it."""
    if kind == "thin":
        return create(write_thin(folder / "data"), THIN, folder, field_of_view=str(folder / "data" / "fields"))
    if kind == "round":
        source = {**FOUND["black_white"], "field_of_view": "fields"}
        return create(write(folder / "data", source), source, folder, field_of_view=str(folder / "data" / "fields"))
    return create(write(folder / "data", FOUND[kind]), FOUND[kind], folder)


@pytest.mark.parametrize(
    ("kind", "sees", "intensity"),
    [
        ("black_white", "images", {"range": [0, 255]}),
        ("polygons", "images", {"range": [0, 255]}),
        ("round", "images", {"range": [0, 255]}),
        ("thin", "crops", {"range": [0, 255]}),
        ("volumes", "slices", {"percentiles": [1, 99]}),
    ],
)
def test_its_student_is_trained_evaluated_and_used(kind, sees, intensity, tmp_path):
    bundle, run = create_for(kind, tmp_path), tmp_path / "run"
    run_stage("train", bundle=bundle, initial_weights=None, output_dir=run)
    run_stage("evaluate", ("demo",), bundle=bundle, output_dir=run)
    summary = json.loads((run / "evaluation" / "student" / "summary.json").read_text(encoding="utf-8"))
    assert 0 <= summary["metrics"]["dice"]["mean"]["mean"] <= 1
    images = tmp_path / "data" / "photos"
    run_stage(
        "inference", ("demo",), bundle=bundle, dataset_dir=images, ckpt_path=run / "model.pt", output_dir=run / "masks"
    )
    assert len(list((run / "masks").glob("*_mask.*"))) == 6
    known = json.loads((run / "model.provenance.json").read_text(encoding="utf-8"))["provenance"]
    assert (known["sees"], known["intensity"], known["bundle"]) == (sees, intensity, "wounds_segmentation")


def test_a_release_does_not_tell_where_the_data_were(tmp_path):
    bundle = create_for("black_white", tmp_path)
    texts = released_configs(bundle / "configs", {})
    assert "dataset_dir: /data/wounds" in texts["train.yaml"]
    assert not [name for name, text in texts.items() if str(tmp_path) in text]
