"""What tests need to draw transfer sets from an untrained model, or from one that gives certain images."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from integration import tiny_unet
from torch import nn

from common.synthesis.diffusion_folder import save_pipeline
from common.synthesis.observer import Observer
from common.synthesis.realism import look_at_training_images
from common.synthesis.sample_selection import Judgement, judge_samples
from common.synthesis.settings import TransferSetSettings
from common.synthesis.training_images import TrainingImages
from common.synthesis.transfer_set_builder import TransferSetBuilder


def make_training_images(images: torch.Tensor, groups: list[str] | None = None) -> TrainingImages:
    """Return whole images, each of a patient of its own unless groups are given."""
    names = [f"{index}.png" for index in range(len(images))]
    return TrainingImages(names, groups or names, list(images), images, torch.arange(len(images)))


def save_model(folder: Path, channels: int = 1, seed: int = 0) -> Path:
    """Write an untrained diffusion model."""
    save_pipeline(tiny_unet(channels, seed), DDPMScheduler(), folder)
    return folder


def build(pipeline: Any, output_dir: Path, training: TrainingImages, **arguments: Any) -> None:
    """Draw a transfer set; arguments are those of the builder and of its settings."""
    other = {key: arguments.pop(key) for key in ("teacher", "teacher_transform", "classes") if key in arguments}
    settings = TransferSetSettings(**{"num_inference_steps": 2, **arguments})
    TransferSetBuilder(output_dir, settings, pipeline, training, **other).build()


def judge(
    samples: torch.Tensor, training: TrainingImages, settings: TransferSetSettings, teacher: nn.Module | None = None
) -> list[Judgement]:
    """Return what is known of samples."""
    observer = Observer(teacher)
    real, space, _ = look_at_training_images(training, observer)
    observation = observer.observe(samples)
    return judge_samples(samples, training, settings, observation, real.strangeness(space.place(observation)))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "samples.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def listed(folder: Path) -> list[str]:
    return [each["image"] for each in json.loads((folder / "datalist.json").read_text(encoding="utf-8"))["training"]]


class Brightness(nn.Module):
    """A teacher for which bright pixels are a structure, the surer the farther from mid-grey."""

    def __init__(self, slope: float = 20.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.encoder = nn.ModuleDict({"neck": nn.AvgPool2d(2)})
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(images.shape))
        assert not self.training
        self.encoder["neck"](images)
        logit = self.slope * (images[:, :1] - 0.5)
        return torch.cat([torch.zeros_like(logit), logit], dim=1)
