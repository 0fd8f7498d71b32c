"""What was drawn, dropped and kept: the reports of a transfer set."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.files.atomic import atomic_file, write_json
from common.pictures.sheets import save_sheet
from common.synthesis.contact_sheet import draw_contact_sheet
from common.synthesis.diversity import reduce, spread, vendi_score
from common.synthesis.pictures import read_png
from common.synthesis.sample_selection import Judgement, count_dropped, describe_dropped
from common.synthesis.training_images import TrainingImages
from common.synthesis.transfer_set import image_name, label_name

logger = logging.getLogger(__name__)

_NUMBERS = ("distance", "rival", "strangeness", "confidence", "foreground")
_COLUMNS = ("sample", "file", "nearest", *_NUMBERS, "dropped")
_LEAST_STRUCTURES = 0.5  # share of the structures in training images that samples should have
_QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}


def write_reports(
    folder: Path,
    judgements: Sequence[Judgement],
    training: TrainingImages,
    between_groups: Tensor,
    realism: Mapping[str, Any],
    settings: Mapping[str, Any],
    classes: Sequence[str] | None = None,
    training_foregrounds: Sequence[float] | None = None,
) -> None:
    """Write ``samples.csv``, ``contact_sheet.png``, ``report.json`` and ``datalist.json``, and log a summary.

    Args:
        folder: has the ``images`` of all samples, and ``labels`` where these were drawn with them.
        judgements: of all samples, in the order of their numbers, which start at 1.
        training: what the diffusion model was trained on.
        between_groups: distances between training images, see :func:`distances_between_groups`.
        realism: see :func:`~common.synthesis.realism.measure_realism`.
        settings: for the report, with ``num_images`` and ``copy_threshold``.
        classes: of the labels, the background first; None where there are no labels.
        training_foregrounds: share of the pixels of each training image that the teacher takes for structures; None
            without a teacher.
    """
    numbers = [number for number, each in enumerate(judgements, start=1) if not each.dropped]
    kept = [reduce(read_png(folder / image_name(number))) for number in numbers]  # thousands fit into memory
    report = _make_report(judgements, kept, training, between_groups, settings)
    report["realism"] = dict(realism)
    report["foreground_of_training_images"] = _quantiles(training_foregrounds or [])
    _log(report)
    if len(kept) < settings["num_images"]:
        logger.warning(
            f"only {len(kept)} of {settings['num_images']} images: of {len(judgements)} samples "
            f"{describe_dropped(judgements)}"
        )
    if training_foregrounds:
        found = [each.foreground for each in judgements if not each.dropped and each.foreground is not None]
        _check_structures(found, training_foregrounds)
    _write_table(folder / "samples.csv", judgements, training)
    with atomic_file(folder / "contact_sheet.png") as fresh:
        save_sheet(draw_contact_sheet(folder, judgements, training), fresh)
    write_json(folder / "report.json", report)
    entries = [{"image": image_name(number)} for number in numbers]
    datalist: dict[str, Any] = {"training": entries}
    if classes is not None:
        datalist["labels"] = {str(number): name for number, name in enumerate(classes)}
        for entry, number in zip(entries, numbers, strict=True):
            entry["label"] = label_name(number)
    write_json(folder / "datalist.json", datalist)


def _check_structures(found: Sequence[float], expected: Sequence[float]) -> None:
    """Say where the teacher finds far less in the samples than in the training images."""
    samples, training = float(np.mean(found)), float(np.mean(expected))
    if samples < _LEAST_STRUCTURES * training:
        logger.warning(
            f"the teacher finds structures on {samples:.1%} of the samples' pixels, and on {training:.1%} of those of "
            "the training images: what is to be segmented is missing from the samples; train the diffusion model for "
            "longer, or on more images"
        )


def _write_table(path: Path, judgements: Sequence[Judgement], training: TrainingImages) -> None:
    """Write a row for each sample."""
    with atomic_file(path) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS)
        table.writeheader()
        for number, each in enumerate(judgements, start=1):
            values = {name: getattr(each, name) for name in _NUMBERS}
            table.writerow(
                {
                    "sample": number,
                    "file": "" if each.dropped else image_name(number),
                    "nearest": training.names[each.nearest],
                    **{name: "" if value is None else f"{value:.6g}" for name, value in values.items()},
                    "dropped": each.dropped,
                }
            )


def _make_report(
    judgements: Sequence[Judgement],
    kept: Sequence[Tensor],
    training: TrainingImages,
    between_groups: Tensor,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    samples = torch.stack(list(kept))
    compared = min(len(kept), len(training.crops))
    return {
        "settings": dict(settings),
        "drawn": len(judgements),
        "kept": len(kept),
        "dropped": count_dropped(judgements),
        "distance": {
            "samples": _quantiles([each.distance for each in judgements]),
            "training_images": _quantiles(between_groups.tolist()),
            "share_of_rival": _quantiles([each.distance / max(each.rival, 1e-6) for each in judgements]),
        },
        "diversity": {
            "images": compared,
            "samples": vendi_score(samples[:compared]),
            "training_images": vendi_score(spread(training.crops, compared)),
            "all_samples": vendi_score(samples),
        },
        "strangeness": _quantiles([each.strangeness for each in judgements if each.strangeness is not None]),
        "confidence": _quantiles([each.confidence for each in judgements if each.confidence is not None]),
        "foreground": _quantiles([each.foreground for each in judgements if each.foreground is not None]),
    }


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    return {name: float(np.quantile(values, share)) for name, share in _QUANTILES.items()} if len(values) else None


def _log(report: Mapping[str, Any]) -> None:
    distance, diversity, confidence = report["distance"], report["diversity"], report["confidence"]
    copies, strange, unsure = report["dropped"].values()
    between = "unknown" if distance["training_images"] is None else f"{distance['training_images']['median']:.3f}"
    logger.info(
        f"transfer set: {report['kept']} of {report['drawn']} samples kept; dropped as copies of training images "
        f"{copies}, as no images of this kind {strange}, for low confidence {unsure}"
    )
    _log_realism(report["realism"], report["strangeness"])
    logger.info(
        f"distance to the nearest training image: median {distance['samples']['median']:.3f}, least "
        f"{distance['samples']['least']:.3f}; between training images {between}; copies are nearer than "
        f"{report['settings']['copy_threshold']} times the distance to the next patient's"
    )
    logger.info(
        f"variety, from 1 for images that are all alike to {diversity['images']} for as many with nothing in common: "
        f"samples {diversity['samples']:.1f}, training images {diversity['training_images']:.1f} (Vendi score)"
    )
    if confidence is not None:
        logger.info(
            f"the teacher's confidence in a sample, from 0 to 1: median {confidence['median']:.3f}, one in twenty has "
            f"less than {confidence['5 %']:.3f}"
        )


def _log_realism(realism: Mapping[str, Any], strangeness: Mapping[str, float] | None) -> None:
    found, mark = realism["all_samples"], realism["training_images"]
    if found is not None:
        words = {"precision": "look like training images", "recall": "of the variety of training images"}
        parts = [f"{found[name]:.0%} {what} ({mark[name]:.0%} among these)" for name, what in words.items()]
        logger.info(f"how real all samples are: {'; '.join(parts)}")
    if strangeness is not None:
        logger.info(
            f"how strange samples are, in units of how far training images are from each other: median "
            f"{strangeness['median']:.2f}, one in twenty more than {strangeness['95 %']:.2f}"
        )
