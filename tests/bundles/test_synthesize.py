"""The synthesize stage of every bundle compares samples with what its diffusion model was shown."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from integration import BUNDLE, BUNDLES, load_stage, refused, run_stage, write_teacher

from common.datasets import find_dataset
from common.synthesis import transfer_set_builder
from common.synthesis.diffusion_folder import save_pipeline

FOLDERS = sorted(path for path in BUNDLES.iterdir() if (path / "configs").is_dir())
SIZE = 32


def save_model(folder: Path, channels: int) -> None:
    """Write an untrained diffusion model."""
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    sizes = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    unet = UNet2DModel(sample_size=SIZE, in_channels=channels, out_channels=channels, **blocks, **sizes)
    save_pipeline(unet, DDPMScheduler(), folder)


def read_rows(output_dir: Path) -> list[dict[str, str]]:
    with (output_dir / "transfer/samples.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("bundle", "keys"),
    [*((folder, {}) for folder in FOLDERS), (BUNDLE, {"whole_images": True})],
    ids=lambda value: value.name if isinstance(value, Path) else ", ".join(value),
)
def test_what_the_diffusion_model_was_shown_is_known_again(bundle, keys, tiny_phantoms, tmp_path, monkeypatch):
    """The two stages read, scale and turn images alike."""
    channels = find_dataset(bundle.name.removesuffix("_segmentation")).in_channels
    folders = {"bundle": bundle, "dataset_dir": tiny_phantoms(bundle.name.removesuffix("_segmentation")), **keys}
    folders |= {"output_dir": tmp_path}
    files = load_stage("train_diffusion", **folders).parser.get_parsed_content("train::files")
    training = load_stage("train_diffusion", samples_per_epoch=len(files), **folders).parser
    items = [item[0] if isinstance(item, list) else item for item in training.get_parsed_content("train::dataset")]
    shown = torch.stack([torch.as_tensor(item["image"]) for item in items])
    monkeypatch.setattr(transfer_set_builder, "sample", lambda *args, **kwargs: shown)
    save_model(tmp_path / "diffusion", channels)
    write_teacher(tmp_path)
    run_stage("synthesize", num_images=len(files), batch_size=len(files), copy_threshold=0, **folders)
    rows = read_rows(tmp_path)
    assert [row["nearest"] for row in rows] == [Path(entry["image"]).name for entry in files]
    # Slices were turned by some degrees and enlarged for training, which is no flip; the others were not.
    assert max(float(row["distance"]) for row in rows) < (0.1 if bundle.name == "chaos_segmentation" else 0.001)
    assert all(row["confidence"] and row["foreground"] for row in rows)


def test_without_a_teacher_it_says_what_to_run_unless_none_is_wanted(tiny_phantoms, tmp_path):
    save_model(tmp_path / "diffusion", channels=3)
    folders = {"dataset_dir": tiny_phantoms("drive"), "output_dir": tmp_path}
    with refused("there is no fine-tuned teacher in .*teacher.*: run finetune_teacher first"):
        run_stage("synthesize", **folders)
    assert not (tmp_path / "transfer").exists()
    run_stage("synthesize", teacher=None, copy_threshold=0, **folders)
    assert {row["confidence"] for row in read_rows(tmp_path)} == {""}
