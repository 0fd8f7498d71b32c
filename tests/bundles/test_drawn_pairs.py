"""Images are drawn with their labels, and the student learns from both, in every kind of bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from integration import BUNDLES, refused, run_stage, with_method, write_teacher, write_transfer
from PIL import Image

from common.synthesis.diffusion_folder import load_pipeline


def class_count(name: str) -> int:
    metadata = json.loads((BUNDLES / f"{name}_segmentation/configs/metadata.json").read_text())
    return metadata["network_data_format"]["outputs"]["pred"]["num_channels"]


@pytest.mark.parametrize("name", ["chaos", "drive", "kidneyus", "busi"])
def test_pairs_are_drawn_and_learned_from(name, tiny_phantoms, tmp_path):
    values = {"bundle": BUNDLES / f"{name}_segmentation", "dataset_dir": tiny_phantoms(name), "output_dir": tmp_path}
    run_stage("train_diffusion", **values, with_labels=True, sample_size=32, sample_interval=1)
    images = 3 if name == "drive" else 1
    assert load_pipeline(tmp_path / "diffusion").unet.config.in_channels == images + class_count(name) - 1

    run_stage("synthesize", **values, teacher=None, num_images=4, copy_threshold=0)
    entries = json.loads((tmp_path / "transfer/datalist.json").read_text())["training"]
    assert len(entries) == 4

    write_teacher(tmp_path, num_classes=class_count(name))
    distill = run_stage("distill", with_method("drawn_labels"), **values)
    parser = distill.parser
    preprocessing = "synthetic_preprocessing" if name == "chaos" else "preprocessing"
    prepare = parser.get_parsed_content(f"train::{preprocessing}")
    for entry, files in zip(parser.get_parsed_content("train::files::synthetic"), entries, strict=True):
        item = prepare(entry)
        item = item[0] if isinstance(item, list) else item
        assert item["labelled"] is True
        drawn = np.asarray(Image.open(tmp_path / "transfer" / files["label"])).T
        assert item["label"].shape[1:] == drawn.shape
        assert torch.equal(torch.as_tensor(item["label"][0]), torch.as_tensor(drawn.astype(np.float32)))


def test_labels_that_were_not_drawn_are_missed(tiny_phantoms, tmp_path):
    write_teacher(tmp_path)
    write_transfer(tmp_path)
    with refused("have no labels"):
        run_stage("distill", dataset_dir=tiny_phantoms("drive"), output_dir=tmp_path, drawn_labels=True)


def test_a_label_as_drawn_is_what_the_model_is_shown(tiny_phantoms, tmp_path):
    """The label's channels are moved with the image: where the phantom's structure is, its channel is 1."""
    workflow = run_stage(
        "train_diffusion", bundle=BUNDLES / "ph2_segmentation", dataset_dir=tiny_phantoms("ph2"), output_dir=tmp_path,
        with_labels=True, sample_size=32,
    )  # fmt: skip
    shown = torch.stack(
        [torch.as_tensor(each["image"]) for each in workflow.parser.get_parsed_content("train::dataset")]
    )
    assert shown.shape[1:] == (4, 32, 32)
    lesion, skin = shown[:, 3:] > 0.5, shown[:, 3:] < 0.5
    brightness = shown[:, :3].mean(1, keepdim=True)
    assert 0 < shown[:, 3].mean() < 1
    assert brightness[lesion].mean() < brightness[skin].mean()
