"""Students to release, made without training: random weights that matter, and the summary of an evaluation of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import integration
import numpy as np
import torch
from integration import BUNDLES, TINY_STUDENT

from common.evaluation.summary import summarise
from common.files.fingerprints import network_fingerprint
from common.files.weights import save_weights
from common.release.configs import source_config
from common.students.references import Reference

NAMES = ("drive", "ph2", "autooral", "kidneyus", "busi", "chaos")
IMAGE_SIZE = 64
PROVENANCE: dict[str, Any] = {"teacher": "embedded", "fine_tuned": True, "method": "task_specific_kd", "phantoms": True}
PROVENANCE["reference"] = Reference.of(np.random.default_rng(0).random((5, TINY_STUDENT["hidden_size"]))).to_json()
PLAIN_STUDENT = {key: value for key, value in TINY_STUDENT.items() if key != "dropout"}


def bundle_of(name: str) -> Path:
    return BUNDLES / f"{name}_segmentation"


def size_key(name: str) -> str:
    """Return the key by which a bundle's configs have the size that a student sees."""
    return integration.size_key(bundle_of(name))


def write_student(
    name: str,
    folder: Path,
    student_def: dict[str, Any] | None = PLAIN_STUDENT,
    seed: int = 0,
    provenance: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Write ``model.pt`` and the summary of its evaluation, and return the path of the weights.

    Args:
        name: of the dataset.
        folder: where a run would leave its results.
        student_def: of the student; None takes that of the bundle.
        seed: of the weights.
        provenance: of the weights.
        settings: what it was evaluated with, besides its size.
    """
    settings = {size_key(name): IMAGE_SIZE, **settings}
    values = {**settings, **({"student_def": copy.deepcopy(student_def)} if student_def else {})}
    torch.manual_seed(seed)
    network = source_config(bundle_of(name) / "configs", "inference", values).get_parsed_content("network_def")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    save_weights(network, folder / "model.pt", provenance)
    classes = source_config(bundle_of(name) / "configs", "evaluate", values).get_parsed_content("classes")
    names = list(classes.values() if isinstance(classes, dict) else classes)
    write_summary(folder / "evaluation" / "student" / "summary.json", network.eval(), names, settings)
    return folder / "model.pt"


def write_summary(path: Path, network: torch.nn.Module, classes: list[str], settings: dict[str, Any]) -> None:
    """Write the summary of an evaluation that never took place."""
    rng = np.random.default_rng(0)
    metrics = {
        "dice": rng.uniform(0.6, 0.9, (5, len(classes) - 1)),
        "iou": rng.uniform(0.4, 0.6, (5, len(classes) - 1)),
        "hd95": rng.uniform(3, 9, (5, len(classes) - 1)),
    }
    metrics["hd95"][0] = np.nan
    summary = {
        "subject": "student",
        "cases": 5,
        "network": network_fingerprint(network),
        "settings": settings,
        "distance_unit": "px",
        "metrics": {name: summarise(values, classes[1:]) for name, values in metrics.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary))


def change_json(path: Path, **changes: Any) -> None:
    """Set entries of a JSON file, given as ``metrics__dice__mean``; ``...`` takes one out."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        *parents, key = name.split("__")
        part = content
        for parent in parents:
            part = part[parent]
        if value is ...:
            del part[key]
        else:
            part[key] = value
    path.write_text(json.dumps(content), encoding="utf-8")


def package_of(release: Path) -> Path:
    """Return the folder of a release's own code."""
    (package,) = release.glob("scripts_*")
    return package


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files in a folder by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
