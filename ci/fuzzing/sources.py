"""What inputs are made from: phantoms, weights, and real images where there are some. Made once for each run."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import torch

from common.datasets import find_dataset
from common.students.vit import ViTSegmenter

TINY_PHANTOMS = {
    "drive": {"num_training": 5, "num_test": 2, "image_size": (72, 68)},
    "kidneyus": {"num_exams": 8, "image_size": (60, 80)},
    "autooral": {"num_training": 8, "num_validation": 2, "image_size": (48, 64)},
    "chaos": {"num_patients": 4, "image_size": (32, 40), "num_slices": 8},
    "ph2": {"num_images": 10, "image_size": (48, 64)},
    "busi": {"num_images": (6, 3, 2), "image_size": (48, 64)},
}
TINY_STUDENT = {"hidden_size": 24, "depth": 1, "num_heads": 2, "conv_channels": [4, 4]}
CLASSES = {"ph2": 2, "chaos": 5}
_REAL = (".bmp", ".gif", ".png", ".tif")


def make_sources(folder: Path, data: Path | None) -> None:
    """Write phantoms of each dataset, a student for pictures and one for volumes, and a list of real pictures."""
    for name, settings in TINY_PHANTOMS.items():
        find_dataset(name).write_phantoms(folder / name, **settings)
    for name in CLASSES:
        torch.manual_seed(0)
        torch.save(tiny_student(name).state_dict(), folder / f"{name}.pt")
    real = sorted(path for path in data.rglob("*") if path.suffix in _REAL) if data else []
    small = [str(path) for path in real if path.stat().st_size < 1_500_000]
    (folder / "real.json").write_text(json.dumps(small))


def tiny_student(dataset: str) -> ViTSegmenter:
    """Return the student of a dataset's pictures or volumes, in miniature."""
    channels = 1 if dataset == "chaos" else 3
    return ViTSegmenter(in_channels=channels, num_classes=CLASSES[dataset], **TINY_STUDENT)


@cache
def real_pictures(sources: Path) -> list[Path]:
    """Return real pictures and labels, none where there are none."""
    return [Path(path) for path in json.loads((sources / "real.json").read_text())]


def pictures(sources: Path) -> list[Path]:
    """Return phantom pictures and labels of all kinds, with as many real ones where there are some."""
    folders = (
        "drive/training/images",
        "drive/training/1st_manual",
        "autooral/Train",
        "ph2",
        "busi",
        "kidneyus",
        "chaos/Train_Sets",
    )
    found = sorted(
        path for folder in folders for path in (sources / folder).rglob("*") if path.suffix in (*_REAL, ".jpg")
    )
    real = real_pictures(sources)
    return found + random.Random(0).sample(real, min(len(real), len(found)))


def noise(seed: int, *shape: int, high: int = 256, dtype: str = "uint8") -> np.ndarray:
    """Return whole numbers from 0 to below ``high``."""
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)
