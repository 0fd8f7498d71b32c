"""What several tests share: a tiny SAM whose every weight matters, small phantoms, files that must not be trusted."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, SamConfig, SamHQConfig, SamHQModel, SamModel

from common.datasets import find_dataset

collect_ignore = ["monailabel"]  # in an environment of its own, by ci/test_monailabel.sh

_TINY_PHANTOMS = {
    "drive": {"num_training": 8, "num_test": 3, "image_size": (96, 92)},
    "kidneyus": {"num_exams": 8, "image_size": (120, 160)},
    "autooral": {"num_training": 12, "num_validation": 3, "image_size": (60, 80)},
    "chaos": {"num_patients": 5, "image_size": (40, 48), "num_slices": 8},
    "ph2": {"num_images": 20, "image_size": (60, 80)},
    "busi": {"num_images": (11, 6, 3), "image_size": (60, 80)},
    "folder": {"num_images": 16, "image_size": (60, 80)},
    "folder_volumes": {"num_images": 8, "image_size": (40, 48)},
}


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@torch.no_grad()
def _randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Move every weight at random, those that start at zero too, and put the network into eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def _random(network_class: Callable[[Any], nn.Module], config: Any, seed: int = 0) -> nn.Module:
    """Return a network of random weights, the same whatever random numbers were drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _randomise(network_class(config), seed)


def _make_sam_config(image_size: int = 64, hidden_size: int = 32, window_size: int = 2) -> SamConfig:
    """Return a SAM with one layer that attends in windows and one that attends to the whole image."""
    return SamConfig(
        vision_config={
            "hidden_size": hidden_size,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "output_channels": 32,
            "num_pos_feats": 16,
            "image_size": image_size,
            "window_size": window_size,
            "global_attn_indexes": [1],
            "initializer_range": 0.02,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": image_size},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32},
    )


def _make_sam2_config() -> Sam2Config:
    """Return a SAM 2 whose third stage attends in windows, which do not divide its grid, and to the whole image."""
    hiera = {
        "hidden_size": 16,
        "num_attention_heads": 1,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 6, 3],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [3, 3],
        "mlp_ratio": 2.0,
    }
    vision = {"backbone_channel_list": [128, 64, 32, 16], "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]}
    return Sam2Config(
        vision_config={**vision, "backbone_config": Sam2HieraDetConfig(**hiera), "fpn_hidden_size": 32},
        prompt_encoder_config={"hidden_size": 32, "image_size": 64},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32},
    )


def _make_sam_hq_config() -> SamHQConfig:
    """Return a SAM-HQ with one layer that attends in windows, and two that attend to the whole image."""
    config = _make_sam_config().to_dict()
    vision = {**config["vision_config"], "num_hidden_layers": 3, "global_attn_indexes": [1, 2]}
    kept = {key: value for key, value in vision.items() if key != "model_type"}
    return SamHQConfig(
        vision_config=kept,
        prompt_encoder_config={"hidden_size": 32, "image_size": 64},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32, "vit_dim": 32},
    )


@pytest.fixture(autouse=True)
def seed_of_random_weights() -> None:
    """Networks that a test makes are the same whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def randomise() -> Callable[..., nn.Module]:
    return _randomise


@pytest.fixture(scope="session")
def make_sam_config() -> Callable[..., SamConfig]:
    return _make_sam_config


@pytest.fixture(scope="session")
def make_sam() -> Callable[..., SamModel]:
    """Return what makes a tiny SAM with random weights; it takes a seed and what the config takes."""
    return lambda seed=0, **changes: _random(SamModel, _make_sam_config(**changes), seed)


@pytest.fixture
def tiny_sam_config() -> SamConfig:
    return _make_sam_config()


@pytest.fixture(scope="session")
def tiny_sam_folder(tmp_path_factory, make_sam) -> Path:
    """A tiny SAM on disk, as ``save_pretrained`` writes it; not to be changed."""
    folder = tmp_path_factory.mktemp("sam") / "tiny"
    make_sam().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_sam2() -> Callable[..., Sam2Model]:
    """Return what makes a tiny SAM 2 with random weights; it takes a seed."""
    return lambda seed=0: _random(Sam2Model, _make_sam2_config(), seed)


@pytest.fixture
def tiny_sam2_config() -> Sam2Config:
    return _make_sam2_config()


@pytest.fixture(scope="session")
def tiny_sam2_folder(tmp_path_factory, make_sam2) -> Path:
    """A tiny SAM 2 on disk, as ``save_pretrained`` writes it; not to be changed."""
    folder = tmp_path_factory.mktemp("sam2") / "tiny"
    make_sam2().save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_sam_hq_config() -> SamHQConfig:
    return _make_sam_hq_config()


@pytest.fixture(scope="session")
def tiny_sam_hq_folder(tmp_path_factory) -> Path:
    """A tiny SAM-HQ on disk, as ``save_pretrained`` writes it; not to be changed."""
    folder = tmp_path_factory.mktemp("sam_hq") / "tiny"
    _random(SamHQModel, _make_sam_hq_config()).save_pretrained(folder)
    return folder


@pytest.fixture
def trap(tmp_path):
    """A checkpoint that makes a folder if anything unpickles it, and that folder."""
    path, sprung = tmp_path / "trap.pth", tmp_path / "sprung"
    torch.save({"image_encoder.pos_embed": Trap(sprung)}, path)
    torch.load(path, weights_only=False)
    assert sprung.is_dir(), "the trap does not work"
    sprung.rmdir()
    return path, sprung


@pytest.fixture(scope="session")
def tiny_phantoms(tmp_path_factory) -> Callable[[str], Path]:
    """Return what writes small phantoms of a dataset, once for all tests; not to be changed."""
    folder = tmp_path_factory.mktemp("phantoms")
    return cache(lambda name: find_dataset(name).write_phantoms(folder / name, **_TINY_PHANTOMS[name]))
