"""What was drawn, dropped and kept: the reports of a transfer set."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.files.atomic import replace_file
from common.synthesis.contact_sheet import draw_contact_sheet
from common.synthesis.similarity import vendi_score
from common.synthesis.training_images import TrainingImages
from common.synthesis.transfer_set import _file_of

logger = logging.getLogger(__name__)

COPY, UNSURE = "copy", "low confidence"  # why a sample is dropped


_NUMBERS = ("distance", "rival", "confidence", "foreground")


_COLUMNS = ("sample", "file", "nearest", *_NUMBERS, "dropped")


_QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}


def _write_png(picture: Image.Image, path: Path) -> None:
    with replace_file(path) as fresh:
        picture.save(fresh, format="PNG")


def _write_json(content: Any, path: Path) -> None:
    with replace_file(path) as fresh:
        fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _count(rows: Sequence[Mapping[str, Any]], dropped: str) -> int:
    return sum(row["dropped"] == dropped for row in rows)


def _describe_dropped(rows: Sequence[Mapping[str, Any]]) -> str:
    return (
        f"{_count(rows, COPY)} are copies of training images, of {_count(rows, UNSURE)} the teacher is less sure than "
        "min_confidence"
    )


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    return {name: float(np.quantile(values, share)) for name, share in _QUANTILES.items()} if len(values) else None


def _write_reports(
    partial: Path,
    rows: Sequence[dict[str, Any]],
    training: TrainingImages,
    between: Tensor,
    settings: Mapping[str, Any],
) -> None:
    """Write the reports, and take away what does not belong to a finished transfer set."""
    kept = [row["file"] for row in rows if row["file"]]
    report = _make_report(partial, rows, kept, training, between, settings)
    _log(report)
    if len(kept) < settings["number"]:
        logger.warning(
            f"only {len(kept)} of {settings['number']} images: of {len(rows)} samples {_describe_dropped(rows)}"
        )
    with replace_file(partial / "samples.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
        table.writeheader()
        for row in rows:
            numbers = {key: "" if row[key] is None else f"{row[key]:.6g}" for key in _NUMBERS}
            table.writerow({**row, **numbers, "nearest": training.names[row["nearest"]]})
    _write_png(draw_contact_sheet(partial, rows, training), partial / "contact_sheet.png")
    _write_json(report, partial / "report.json")
    _write_json({"training": [{"image": name} for name in kept]}, partial / "datalist.json")
    for row in rows:
        if row["dropped"]:
            (partial / _file_of(row["sample"])).unlink()
    shutil.rmtree(partial / "scores")
    (partial / "settings.json").unlink()


def _make_report(
    partial: Path,
    rows: Sequence[Mapping[str, Any]],
    kept: Sequence[str],
    training: TrainingImages,
    between: Tensor,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    samples = torch.stack([_read(partial / name) for name in kept])
    compared = min(len(kept), len(training.views))
    asked = [row for row in rows if row["confidence"] is not None]
    return {
        "settings": dict(settings),
        "drawn": len(rows),
        "kept": len(kept),
        "dropped": {reason: _count(rows, reason) for reason in (COPY, UNSURE)},
        "distance": {
            "samples": _quantiles([row["distance"] for row in rows]),
            "training_images": _quantiles(between.tolist()),
            "share_of_rival": _quantiles([row["distance"] / max(row["rival"], 1e-6) for row in rows]),
        },
        "diversity": {
            "images": compared,
            "samples": vendi_score(samples[:compared]),
            "training_images": vendi_score(_spread(training.views, compared)),
            "all_samples": vendi_score(samples),
        },
        "confidence": _quantiles([row["confidence"] for row in asked]),
        "foreground": _quantiles([row["foreground"] for row in asked]),
    }


def _spread(images: Tensor, count: int) -> Tensor:
    """Return ``count`` images from all over a list."""
    return images[torch.linspace(0, len(images) - 1, count).round().long()]


def _read(path: Path) -> Tensor:
    """Return a picture as ``(C, W, H)`` in [0, 1]."""
    with Image.open(path) as picture:
        pixels = torch.tensor(np.asarray(picture), dtype=torch.float32) / 255
    return (pixels[..., None] if pixels.ndim == 2 else pixels).permute(2, 1, 0)


def _log(report: Mapping[str, Any]) -> None:
    distance, diversity, confidence = report["distance"], report["diversity"], report["confidence"]
    copies, unsure = report["dropped"].values()
    between = "unknown" if distance["training_images"] is None else f"{distance['training_images']['median']:.3f}"
    sure = "not asked" if confidence is None else f"{confidence['median']:.3f} (5 % below {confidence['5 %']:.3f})"
    logger.info(
        f"transfer set: {report['kept']} of {report['drawn']} samples kept; dropped {copies} copies of training images "
        f"and {unsure} of low confidence"
    )
    logger.info(
        f"distance to the nearest training image: median {distance['samples']['median']:.3f}, least "
        f"{distance['samples']['least']:.3f}; between training images {between}; copies are nearer than "
        f"{report['settings']['copy_threshold']} times the distance to the next patient's"
    )
    logger.info(
        f"diversity (Vendi score) of {diversity['images']} samples {diversity['samples']:.1f}, of as many training "
        f"images {diversity['training_images']:.1f}; teacher's confidence {sure}"
    )
