"""Weights of small students whose masks have many borders, with what such weights know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.files.provenance import write_provenance
from common.students.describing import describe
from common.students.vit import ViTSegmenter

CLASSES = {
    "drive": ["background", "vessel"],
    "kidneyus": ["background", "central echo complex", "medulla", "cortex"],
    "autooral": ["background", "ulcer"],
    "chaos": ["background", "liver", "right kidney", "left kidney", "spleen"],
    "ph2": ["background", "lesion"],
    "busi": ["background", "tumour"],
}


def facts_of(dataset: str, size: int = 64) -> dict[str, Any]:
    """Return what weights know that are trained with the bundle of a dataset."""
    facts: dict[str, Any] = {"sees": "images", "image_size": size, "intensity": {"range": [0, 255]}}
    if dataset == "drive":
        facts = {"sees": "crops", "crop_size": size, "intensity": {"range": [0, 255]}}
    if dataset == "chaos":
        facts = {"sees": "slices", "image_size": size, "intensity": {"percentiles": [1, 99]}, "modality": "t2"}
    return {**facts, "in_channels": 1 if dataset in ("kidneyus", "chaos", "busi") else 3, "classes": CLASSES[dataset]}


def write_weights(path: Path, facts: dict[str, Any], network: nn.Module | None = None, seed: int = 0) -> Path:
    """Write weights at random, by which no class is rare, and their provenance; return their path."""
    if network is None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = ViTSegmenter(facts["in_channels"], len(facts["classes"]), depth=2)
            nn.init.normal_(network.head.weight, std=0.2)
    state = network.state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    write_provenance(path, {**facts, "network": describe(network)}, state)
    return path
