"""How long a bundle of one's own trains: in its demo, and where there is no GPU."""

from __future__ import annotations

from typing import Any

from common.creation.choices import Choices

_DEMO_SIZE = 64


def demo_budget(choices: Choices) -> dict[str, Any]:
    """Return what the page of facts says of ``demo.yaml``, whose teacher is the stand-in whatever the bundle's is."""
    large = choices.sees == "images"
    epochs = (4, 6, 4, 8) if large else (8, 6, 8, 10)
    intervals = (2, 2, 4) if large else (4, 4, 5)
    return {
        "epochs": dict(zip(("finetune_teacher", "train_diffusion", "distill", "train"), epochs, strict=True)),
        "val_interval": dict(zip(("finetune_teacher", "distill", "train"), intervals, strict=True)),
        "sample_interval": 3,
        _size_key(choices): _DEMO_SIZE,
        "sample_size": 32 if large else 64,
        "samples_per_epoch": 128 if large else 256,
        "batch_size": 16,
        "ema_momentum": 0.05 if large else 0.02,
        "num_images": 64,
    }


def cpu_budget(choices: Choices) -> dict[str, Any]:
    """Return what the page of facts says of ``cpu.yaml``, whose teacher is that of the bundle."""
    small = min(64, choices.size) if choices.sees == "crops" else choices.cpu_size
    if choices.sees == "crops":
        large = choices.cpu_size
        return {
            "epochs": {"finetune_teacher": 3, "train_diffusion": 14, "distill": 15, "train": 30},
            "val_interval": {"finetune_teacher": 1, "distill": 5, "train": 6},
            "sample_interval": 7,
            "crop_size": {
                **dict.fromkeys(("finetune_teacher", "synthesize", "distill"), small),
                "train": large,
                "evaluate_teacher": small,
                **dict.fromkeys(("evaluate", "inference"), large),
            },
            "sample_size": small,
            "samples_per_epoch": {"finetune_teacher": 768, "train_diffusion": 2048, "train": 512},
            "batch_size": {"finetune_teacher": 4, "train_diffusion": 32, "synthesize": 64, "distill": 8, "train": 8},
        }
    if choices.sees == "slices":
        return {
            "epochs": {"finetune_teacher": 6, "train_diffusion": 14, "distill": 12, "train": 24},
            "val_interval": {"finetune_teacher": 3, "distill": 4, "train": 6},
            "sample_interval": 7,
            "image_size": choices.cpu_size,
            "sample_size": 64,
            "samples_per_epoch": {"finetune_teacher": 384, "train_diffusion": 2048, "train": 512},
            "batch_size": {"finetune_teacher": 4, "train_diffusion": 32, "synthesize": 64, "distill": 8, "train": 8},
        }
    return {
        "epochs": {"finetune_teacher": 6, "train_diffusion": 14, "distill": 24, "train": 20},
        "val_interval": {"finetune_teacher": 3, "distill": 6, "train": 4},
        "sample_interval": 7,
        "image_size": choices.cpu_size,
        "sample_size": 64,
        "samples_per_epoch": {"finetune_teacher": 384, "train_diffusion": 2048, "train": 512},
        "batch_size": {"finetune_teacher": 4, "train_diffusion": 32, "synthesize": 64, "distill": 8, "train": 8},
    }


def _size_key(choices: Choices) -> str:
    return "crop_size" if choices.sees == "crops" else "image_size"
