"""Whether doubt finds bad masks.

    python ci/doubt.py --ph2 /data/PH2 --busi /data/BUSI --drive /data/DRIVE --work runs/doubt

For each of PH2 and BUSI a student is trained on a few labelled images, shortly, without a teacher, at 128 pixels. All
other images of its dataset are held out: Spearman's correlation of the doubt of a mask with its lack of Dice says
whether bad masks come first. Images of the other datasets are foreign to it: the area under the ROC curve says whether
they come before those of its own. What ships is compared with what it was chosen from.

Students that are there are not trained again. The last lines are tables in Markdown; <work>/doubt.json has the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import numpy as np
from doubts.candidates import COMBINED, IMAGE, MASK
from doubts.figures import area_under_roc, found_first, interval, rank_correlation
from PIL import Image

from common.datasets import find_dataset
from common.prediction.base import Student
from common.prediction.picture import read_part
from common.prediction.prediction import softmax
from common.prediction.resizing import shrink
from common.prediction.student import open_student

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
TASKS = ("ph2", "busi")
DATASETS = (*TASKS, "drive")
NUM_VALIDATION = 4
UNET = {"_target_": "UNet", "spatial_dims": 2, "channels": [16, 32, 64, 128, 256], "strides": [2, 2, 2, 2]}
UNET |= {"num_res_units": 2, "in_channels": "@in_channels", "out_channels": "@num_classes"}


class Seen(NamedTuple):
    """What a student makes of an image: probabilities of it and of its mirror image, its features, and its Dice."""

    probabilities: np.ndarray
    mirrored: np.ndarray
    features: np.ndarray
    dice: float | None


def main() -> None:
    """Train what is missing, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in DATASETS:
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"folder of {name.upper()}")
    parser.add_argument("--work", type=Path, required=True, help="folder for students and figures")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--networks", nargs="+", choices=("vit", "unet"), default=["vit", "unet"])
    parser.add_argument("--num_labels", type=int, nargs=2, default=[20, 60], metavar=("PH2", "BUSI"))
    parser.add_argument("--epochs", type=int, default=10, help="of 512 images")
    parser.add_argument("--size", type=int, default=128, help="pixels a side that the student sees")
    arguments = parser.parse_args()
    labels = dict(zip(TASKS, arguments.num_labels, strict=True))
    figures = {}
    for task in arguments.tasks:
        for network in arguments.networks:
            weights = train(task, network, labels[task], arguments)
            figures[f"{task} {network}"] = measure(task, labels[task], open_student(weights, device="cpu"), arguments)
            print(table(f"{task}, {network}", figures[f"{task} {network}"]), flush=True)
    (arguments.work / "doubt.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def train(task: str, network: str, num_labels: int, arguments: argparse.Namespace) -> Path:
    """Return the weights of a student, trained if they are not there."""
    output_dir, configs = arguments.work / f"{task}_{network}", BUNDLES / f"{task}_segmentation" / "configs"
    settings = {
        "config_file": [str(configs / "train.yaml"), str(configs / "cpu.yaml")],
        "dataset_dir": str(getattr(arguments, task)),
        "output_dir": str(output_dir),
        "image_size": arguments.size,
        "epochs": arguments.epochs,
        "num_labels": num_labels,
        "num_validation": NUM_VALIDATION,
        "val_interval": arguments.epochs + 1,
        "initial_weights": None,
    }
    if network == "unet":
        settings["student_def"] = UNET
    if not (output_dir / "model.pt").is_file():
        command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run"]
        subprocess.run([*command, *(f"--{key}={json.dumps(value)}" for key, value in settings.items())], check=True)
    return output_dir / "model.pt"


def measure(task: str, num_labels: int, student: Student, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return figures by the name of each candidate: the rank correlation with Dice, and the area under the ROC."""
    data = {name: find_dataset(name)(root=getattr(arguments, name), **split(task, name)) for name in DATASETS}
    few = find_dataset(task)(root=getattr(arguments, task), **split(task, task), num_labels=num_labels)
    used = {entry["image"] for entry in few.entries("training")}
    own = [look(student, data[task], entry) for entry in all_entries(data[task]) if entry["image"] not in used]
    foreign = {
        name: [look(student, None, entry) for entry in all_entries(data[name])] for name in DATASETS if name != task
    }
    dice = [seen.dice for seen in own]
    figures: dict[str, Any] = {"held out": len(own), "dice": dice}
    for name, judge in candidates(student).items():
        doubts = [judge(seen) for seen in own]
        figures[name] = {
            "rank correlation": rank_correlation(doubts, dice),
            "interval": interval(doubts, dice),
            "worst fifth found": found_first(doubts, dice),
            **{
                f"AUROC {other}": area_under_roc([judge(seen) for seen in images], doubts)
                for other, images in foreign.items()
            },
        }
    return figures


def split(task: str, name: str) -> dict[str, Any]:
    return {"num_validation": NUM_VALIDATION if name == task else 1, "seed": 0}


def all_entries(data: Any) -> Iterable[Mapping[str, Any]]:
    """Yield the images of the test, and those of the training that are more than the label budget."""
    return [*data.entries("test"), *data.entries("training")]


def candidates(student: Student) -> dict[str, Callable[[Seen], float]]:
    """Return what gives the doubt of an image, by name; those of the image alone only where there is a reference."""
    found: dict[str, Callable[[Seen], float]] = {
        name: lambda seen, judge=judge: judge(seen.probabilities, seen.mirrored) for name, judge in MASK.items()
    }
    if student.reference is not None:
        for name, measure_distance in IMAGE.items():
            found[name] = lambda seen, judge=measure_distance: judge(seen.features, student.reference)
        for name, combine in COMBINED.items():
            found[name] = lambda seen, judge=combine: judge(seen.probabilities, seen.features, student.reference)
    return found


def look(student: Student, data: Any, entry: Mapping[str, Any]) -> Seen:
    """Return what a student makes of an image, and its Dice where the dataset is its own: two empty masks have 1."""
    image, recipe = Image.open(entry["image"]), student.recipe
    width, height = image.size
    image = shrink(
        lambda start, end: read_part(image, recipe, 0, start, width, end),
        width,
        height,
        recipe.size,
        recipe.in_channels,
    )
    logits, features = student.run(np.stack([image, image[:, ::-1]]))
    probabilities, mirrored = softmax(logits[0]), softmax(logits[1])[:, ::-1]
    dice = None
    if data is not None:
        label = Image.fromarray(data.load(entry)[1]).resize((recipe.size, recipe.size), Image.Resampling.NEAREST)
        mask, label = probabilities.argmax(0).T > 0, np.asarray(label) > 0
        total = mask.sum() + label.sum()
        dice = float(2 * (mask & label).sum() / total) if total else 1.0
    return Seen(probabilities, mirrored, features[0], dice)


def table(title: str, figures: Mapping[str, Any]) -> str:
    """Return a table in Markdown."""
    rows = {name: row for name, row in figures.items() if isinstance(row, Mapping)}
    columns = [column for column in next(iter(rows.values())) if column != "interval"]
    lines = [f"\n{title}: {figures['held out']} images held out, mean Dice {np.mean(figures['dice']):.3f}\n"]
    lines += [f"| | {' | '.join(columns)} |", f"|{' --- |' * (len(columns) + 1)}"]
    lines += [f"| {name} | {' | '.join(_cell(row, column) for column in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def _cell(row: Mapping[str, Any], column: str) -> str:
    if column != "rank correlation":
        return f"{row[column]:.2f}"
    low, high = row["interval"]
    return f"{row[column]:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
