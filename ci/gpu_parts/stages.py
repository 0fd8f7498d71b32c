"""The stages of the PH2 bundle with few steps: their command lines, and figures out of what they leave."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "ph2_segmentation"
MULTI_GPU = "train_multi_gpu"  # a stage of its own name: train in one process for each GPU, of which there is one

# What a lab with one GPU would use, but for the number of steps; and seconds on a CPU.
_FULL: dict[str, dict[str, Any]] = {
    "finetune_teacher": {"epochs": 6, "batch_size": 16, "samples_per_epoch": 512},
    "train_diffusion": {"epochs": 5, "batch_size": 32, "samples_per_epoch": 1024},
    "synthesize": {"num_images": 128},
    "distill": {"epochs": 6, "batch_size": 16},
    "train": {"epochs": 8, "batch_size": 16, "samples_per_epoch": 512},
    "evaluate_teacher": {},
    "evaluate": {},
}
_QUICK: dict[str, dict[str, Any]] = {
    "finetune_teacher": {"epochs": 3, "batch_size": 2, "samples_per_epoch": 4},
    "train_diffusion": {
        "epochs": 3,
        "batch_size": 2,
        "samples_per_epoch": 4,
        "sample_size": 32,
        "diffusion_channels": [8, 8, 8, 8],
        "diffusion_layers": 1,
    },
    "synthesize": {"num_images": 4, "num_inference_steps": 2},
    "distill": {"epochs": 3, "batch_size": 2, "teacher_orientations": 1},
    "train": {"epochs": 3, "batch_size": 2, "samples_per_epoch": 4},
    "evaluate_teacher": {},
    "evaluate": {},
}
STAGES = tuple(_FULL)
_TRAINED = ("finetune_teacher", "train_diffusion", "distill", "train")
_IN_BF16 = (*_TRAINED, "evaluate_teacher", "evaluate")  # diffusion models are sampled in float32
_WITH_TEACHER = ("finetune_teacher", "synthesize", "distill", "evaluate_teacher")

_LINE = re.compile(
    r"^(?P<time>[-\d]+ [:\d]+,\d+) .*: \w+: epoch (?P<epoch>\d+)/\d+, loss (?P<loss>[\d.]+).*?"
    r"(?:, val dice (?P<dice>[\d.]+))?, [^,]+(?:, [^,]+ left)?$",
    re.MULTILINE,
)
_MEMORY = re.compile(r"took at most (?P<gb>[\d.]+) GB of the GPU's memory")  # as logs.stop says it
_NCCL = re.compile(r"NCCL version (?P<version>\S+)")


class Run(NamedTuple):
    """What all stages of a check have in common."""

    dataset_dir: Path
    output_dir: Path
    pretrained: str
    device: str  # cuda or cpu
    quick: bool  # whether seconds on a CPU are to do


def options_of(stage: str, run: Run) -> dict[str, Any]:
    """Return the keys that a stage is given, with their values.

    Args:
        stage: one of :data:`STAGES`, or :data:`MULTI_GPU`: ``train`` from random weights.
        run: which one.
    """
    if stage == MULTI_GPU:
        options = options_of("train", run)
        del options["device"]  # the overlay knows
        return {**options, "initial_weights": None}
    options: dict[str, Any] = {"dataset_dir": str(run.dataset_dir), "output_dir": str(run.output_dir)}
    options |= {"device": run.device, **(_QUICK if run.quick else _FULL)[stage]}
    if stage in _IN_BF16:
        options["amp"] = True
    if stage != "train_diffusion":
        options["image_size"] = 64 if run.quick else 256
    if stage in _WITH_TEACHER:
        options["pretrained"] = run.pretrained
    if stage in ("finetune_teacher", "distill"):
        options["input_scale"] = 1  # LiteMedSAM decodes at the size that it sees
    if stage in _TRAINED:
        options["num_workers"] = 0 if run.quick else 8
        # Validation and grids of samples belong to the last epoch alone, which no speed is taken from.
        options["sample_interval" if stage == "train_diffusion" else "val_interval"] = options["epochs"]
    if run.quick:
        options["num_validation"] = 1
    return options


def command_of(stage: str, run: Run) -> list[str]:
    """Return the command line of a stage by the pipeline, which starts :data:`MULTI_GPU` as it does on several GPUs."""
    name, overlay = ("train", "multi_gpu") if stage == MULTI_GPU else (stage, "none")
    command = [sys.executable, "-m", "common", "pipeline", str(BUNDLE), "--stages", name, "--overlay", overlay]
    return command + [word for key, value in options_of(stage, run).items() for word in (f"--{key}", _text(value))]


def figures_of(stage: str, run: Run, printed: str = "") -> dict[str, Any]:
    """Return the figures of a stage that has ended well.

    Args:
        stage: one of :data:`STAGES`, or :data:`MULTI_GPU`.
        run: which one.
        printed: by the stage.

    Returns:
        Of a training: ``images_per_second``, ``loss`` and, where it validates, ``dice`` of the last epoch; of an
        evaluation: ``images_per_second`` and ``dice`` on the test images; ``memory_gb`` of a GPU.

    Raises:
        ValueError, LookupError or OSError: if something that the stage should have left is not there.
    """
    its_log = "train" if stage == MULTI_GPU else stage
    log = (run.output_dir / "logs" / f"{its_log}.log").read_text(encoding="utf-8")
    figures: dict[str, Any] = {}
    if its_log in _TRAINED:
        figures |= _training(log, _images_in_epoch(its_log, run))
    if stage in ("evaluate_teacher", "evaluate"):
        figures |= _evaluation(
            run.output_dir / "evaluation" / ("teacher" if stage == "evaluate_teacher" else "student")
        )
    memory = _MEMORY.search(log)
    figures["memory_gb"] = float(memory["gb"]) if memory else None
    if stage == MULTI_GPU:
        version = _NCCL.search(printed)
        figures["nccl"] = version["version"] if version else None
    return figures


def _training(log: str, images: int) -> dict[str, Any]:
    epochs = list(_LINE.finditer(log))
    if len(epochs) < 3:
        raise ValueError(f"the log has lines of {len(epochs)} epochs, expected at least 3")
    # The first epoch reads all images and the last one validates.
    first, last = (datetime.strptime(each["time"], "%Y-%m-%d %H:%M:%S,%f") for each in (epochs[0], epochs[-2]))
    figures = {"images_per_second": images * (len(epochs) - 2) / (last - first).total_seconds()}
    figures["loss"] = float(epochs[-1]["loss"])
    if epochs[-1]["dice"]:
        figures["dice"] = float(epochs[-1]["dice"])
    return figures


def _images_in_epoch(stage: str, run: Run) -> int:
    if stage != "distill":
        return options_of(stage, run)["samples_per_epoch"]
    listing = json.loads((run.output_dir / "transfer" / "datalist.json").read_text(encoding="utf-8"))
    return 2 * len(listing["training"])  # and as many labelled ones


def _evaluation(folder: Path) -> Mapping[str, Any]:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {
        "images_per_second": 1000 / summary["milliseconds_per_image"],
        "dice": summary["metrics"]["dice"]["mean"]["mean"],
        "cases": summary["cases"],
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
