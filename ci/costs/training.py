"""Epochs and steps of the PH2 bundle's stages, with a teacher of ViT-B size and phantoms."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from PIL import Image

from common.datasets.ph2 import PH2Dataset
from costs.turns import medians, ratio, take_turns, wait_for

CONFIGS = Path(__file__).resolve().parents[2] / "bundles/ph2_segmentation/configs"
SEED = 0
IMAGE_SIZE = 128
BATCH_SIZE = 4
TRANSFER_IMAGES = 12
OVERHEAD_IMAGES = 128
INPUT_SCALE = 4  # that of a bundle without an overlay
TEACHER = {
    "_target_": "common.teachers.sam.SamTeacher",
    "pretrained": {"_target_": "transformers.SamConfig"},  # of ViT-B size
    "num_classes": 2,
    "input_scale": INPUT_SCALE,
}


def distillation_epochs(device: torch.device, rounds: int) -> dict[str, Any]:
    """Epochs of distill.yaml, with the teacher's outputs on disk and live, and of train.yaml on as many images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder, TRANSFER_IMAGES)
        distill = {"teacher": TEACHER, "teacher_orientations": 1}  # more would cost the live epochs most
        cached = {**distill, "teacher_outputs": str(folder / "teacher_outputs")}
        plain = {"initial_weights": None, "samples_per_epoch": 2 * TRANSFER_IMAGES}
        variants = {
            "cached": lambda: _epoch_seconds("distill", folder, device, cached),
            "live": lambda: _epoch_seconds("distill", folder, device, {**distill, "teacher_outputs": None}),
            "plain": lambda: _epoch_seconds("train", folder, device, plain),
        }
        seconds = take_turns(variants, rounds)
    return {
        "images_in_an_epoch": 2 * TRANSFER_IMAGES,
        "median_seconds": medians(seconds),
        "cached_to_plain": ratio(seconds["cached"], seconds["plain"]),
        "live_to_plain": ratio(seconds["live"], seconds["plain"]),
        "live_to_cached": ratio(seconds["live"], seconds["cached"]),
    }


def trainer_overhead(device: torch.device, rounds: int) -> dict[str, Any]:
    """The median step of train.yaml with all its handlers, and that of a bare loop over the same images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder, 4)
        settings = {"initial_weights": None, "samples_per_epoch": OVERHEAD_IMAGES}
        variants = {
            "trainer": lambda: _median_step(_train("train", folder, device, settings, Events.ITERATION_COMPLETED)),
            "bare": lambda: _median_step(_train_bare(_parser("train", folder, device, settings), device)),
        }
        seconds = take_turns(variants, rounds)
    return {"median_seconds": medians(seconds), "trainer_to_bare": ratio(seconds["trainer"], seconds["bare"])}


def _write_inputs(folder: Path, num_images: int) -> None:
    """Write a dataset and, in the form that synthesize.yaml leaves it, a transfer set."""
    PH2Dataset.write_phantoms(folder / "dataset", num_images=16)
    PH2Dataset.write_phantoms(folder / "more", num_images=num_images)
    (folder / "transfer/images").mkdir(parents=True)
    names = []
    for number, image in enumerate(sorted((folder / "more").rglob("*_Dermoscopic_Image/*.bmp"))):
        names.append(f"images/{number:06d}.png")
        Image.open(image).resize((256, 256)).save(folder / "transfer" / names[-1])
    listing = {"training": [{"image": name} for name in names]}
    (folder / "transfer/datalist.json").write_text(json.dumps(listing))


def _parser(stage: str, folder: Path, device: torch.device, settings: dict[str, Any]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / f"{stage}.yaml")])
    common = {
        "dataset_dir": str(folder / "dataset"),
        "output_dir": str(folder),
        "device": str(device),
        "num_workers": 0,
        "num_validation": 1,
        "image_size": IMAGE_SIZE,
        "batch_size": BATCH_SIZE,
        "epochs": 2,
        "val_interval": 99,
    }
    for key, value in {**common, **settings}.items():
        parser[key] = value
    return parser


def _epoch_seconds(stage: str, folder: Path, device: torch.device, settings: dict[str, Any]) -> float:
    """Train for two epochs and return the seconds of the second."""
    first, second = _train(stage, folder, device, settings, Events.EPOCH_COMPLETED)
    return second - first


def _median_step(moments: list[float]) -> float:
    """Return the median seconds of a step in the second of two epochs, given the moments at which steps ended."""
    second = moments[len(moments) // 2 :]
    return statistics.median(after - before for before, after in pairwise(second))


def _train(stage: str, folder: Path, device: torch.device, settings: dict[str, Any], event: Events) -> list[float]:
    """Train for two epochs and return the moments of an event, after all that handlers have done at it."""
    torch.manual_seed(SEED)
    trainer = _parser(stage, folder, device, settings).get_parsed_content("train::trainer")
    moments: list[float] = []

    def note() -> None:
        wait_for(device)
        moments.append(time.perf_counter())

    trainer.add_event_handler(event, note)
    trainer.run()
    (folder / "checkpoints" / f"{stage}.pt").unlink()  # the next round starts afresh
    return moments


def _train_bare(parser: ConfigParser, device: torch.device) -> list[float]:
    """Train for two epochs and return the moments at which steps ended."""
    torch.manual_seed(SEED)
    names = ("network", "loss", "optimizer", "lr_scheduler", "train::dataloader")
    network, loss, optimizer, schedule, loader = (parser.get_parsed_content(name) for name in names)
    amp = device.type == "cuda"
    network.train()
    moments = []
    for _ in range(2):
        for batch in loader:
            image, label = batch["image"].to(device), batch["label"].to(device)
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
                value = loss(network(image), label)
            value.backward()
            optimizer.step()
            schedule.step()
            wait_for(device)
            moments.append(time.perf_counter())
    return moments
