"""How long a bundle of one's own trains: in its demo, and where there is no GPU."""

from __future__ import annotations

from typing import Any

from common.creation.choices import Choices
from common.teachers import suitable_scale
from common.teachers.base_names import STAND_IN

_STAND_IN_TRAINED_AT = 256  # pixels a side
_AFFORDABLE = 512  # pixels a side that a CPU can show a SAM
_DEMO_SIZE = 64


def demo_budget(choices: Choices, pretrained: str) -> dict[str, Any]:
    """Return what the page of facts says of ``demo.yaml``, whose teacher is the stand-in whatever the bundle's is."""
    own_scale = {} if pretrained == STAND_IN else {"input_scale": _STAND_IN_TRAINED_AT // _DEMO_SIZE}
    large = choices.sees == "images"
    epochs = (4, 6, 4, 8) if large else (8, 6, 8, 10)
    intervals = (2, 2, 4) if large else (4, 4, 5)
    return {
        "epochs": dict(zip(("finetune_teacher", "train_diffusion", "distill", "train"), epochs, strict=True)),
        "val_interval": dict(zip(("finetune_teacher", "distill", "train"), intervals, strict=True)),
        "sample_interval": 3,
        _size_key(choices): _DEMO_SIZE,
        **own_scale,
        "sample_size": 32 if large else 64,
        "samples_per_epoch": 128 if large else 256,
        "batch_size": 16,
        "ema_momentum": 0.05 if large else 0.02,
        "num_images": 64,
    }


def cpu_budget(choices: Choices, pretrained: str) -> dict[str, Any]:
    """Return what the page of facts says of ``cpu.yaml``: how much the stand-in is enlarged, and this teacher."""
    small = min(64, choices.size) if choices.sees == "crops" else choices.cpu_size
    scales = {
        "input_scale": max(1, _STAND_IN_TRAINED_AT // small),
        "teacher_scale": _teacher_scale(pretrained, small),
    }
    if choices.sees == "crops":
        large = choices.cpu_size
        return {
            "epochs": {"finetune_teacher": 24, "train_diffusion": 16, "distill": 15, "train": 30},
            "val_interval": {"finetune_teacher": 6, "distill": 5, "train": 6},
            "sample_interval": 8,
            "crop_size": {
                **dict.fromkeys(("finetune_teacher", "synthesize", "distill"), small),
                "train": large,
                "evaluate_teacher": small,
                **dict.fromkeys(("evaluate", "inference"), large),
            },
            "sample_size": small,
            **scales,
            "samples_per_epoch": 512,
            "batch_size": {"finetune_teacher": 8, "train_diffusion": 8, "synthesize": 64, "distill": 8, "train": 8},
        }
    if choices.sees == "slices":
        return {
            "epochs": {"finetune_teacher": 20, "train_diffusion": 16, "distill": 12, "train": 24},
            "val_interval": {"finetune_teacher": 5, "distill": 4, "train": 6},
            "sample_interval": 8,
            "image_size": choices.cpu_size,
            "sample_size": 64,
            **scales,
            "samples_per_epoch": 512,
            "batch_size": {"finetune_teacher": 8, "train_diffusion": 8, "synthesize": 64, "distill": 8, "train": 8},
        }
    return {
        "epochs": {"finetune_teacher": 30, "train_diffusion": 14, "distill": 8, "train": 20},
        "val_interval": {"finetune_teacher": 6, "distill": 4, "train": 4},
        "sample_interval": 7,
        "image_size": choices.cpu_size,
        "sample_size": 32,
        **scales,
        "samples_per_epoch": {"finetune_teacher": 512, "train_diffusion": 2048, "train": 512},
        "batch_size": {"finetune_teacher": 8, "train_diffusion": 32, "synthesize": 64, "distill": 8, "train": 8},
    }


def _teacher_scale(pretrained: str, size: int) -> float:
    """Return how much a teacher enlarges images: as suits it, as far as a CPU can afford it.

    Where the bundle's teacher is the stand-in, one that is named instead of it is most likely SAM's kin.
    """
    affordable = max(2, _AFFORDABLE // size // 2 * 2)  # even: strides up to 32 divide what multiples of 16 become
    return affordable if pretrained == STAND_IN else min(suitable_scale(pretrained, size), affordable)


def _size_key(choices: Choices) -> str:
    return "crop_size" if choices.sees == "crops" else "image_size"
