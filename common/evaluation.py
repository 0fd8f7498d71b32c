"""From the metrics of an evaluator to tables, intervals and pictures."""

from __future__ import annotations

import csv
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.metrics.metric import reinit__is_reduced
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from monai.handlers import HausdorffDistance
from torch import Tensor, nn

from common.checkpoints import is_writer, load_weights, replace_file
from common.datasets.checks import are_phantoms
from common.errors import InputError
from common.fingerprints import network_fingerprint
from common.overlays import check_style, draw_overlay, take_fullest_slice

logger = logging.getLogger(__name__)


class EvaluationReport:
    """Writes ``metrics.csv``, ``summary.json`` and one overlay picture per case when an evaluator is done.

    A case is an image ``(C, W, H)`` or a volume ``(C, W, H, D)``, whose overlay shows the slice with most label. The
    evaluator's metrics must keep their details (``save_details``, MONAI's default) for one-hot classes without
    background. In the overlays a pixel is green where prediction and label agree on a structure, red where only the
    prediction has it, blue where only the label does.

    Args:
        output_dir: folder to write to.
        classes: names of the classes by id, background first.
        network: whose parameters to count.
        subject: what is evaluated, for the summary.
        settings: what else the results depend on, numbers and strings by name, for the summary.
        image_key: the image ``(C, W, H)`` to draw on, as large as prediction and label after postprocessing.
        overlay_style: see :func:`common.overlays.draw_overlay`.
        annotator_dice: how well two annotators agree on these cases, Dice by class, for the summary; no prediction can
            be expected to agree with one of them any better.
        case_key: key of the entries that names a case, such as ``patient``; by default the stem of its image's file.
        distance_unit: what the evaluator's distances are in, for the summary: ``px``, or ``mm`` where they come from
            :class:`SpacedHausdorffDistance`.

    Raises:
        InputError: if SciPy is not installed, which MONAI measures distances with.
        ValueError: if ``overlay_style`` is unknown.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        classes: Sequence[str],
        network: nn.Module,
        subject: str,
        settings: Mapping[str, Any] | None = None,
        image_key: str = "image",
        overlay_style: str = "area",
        annotator_dice: Mapping[str, float] | None = None,
        case_key: str | None = None,
        distance_unit: str = "px",
    ) -> None:
        check_style(overlay_style)
        if find_spec("scipy") is None:
            raise InputError("an evaluation measures distances with SciPy, which is not installed: pip install scipy")
        self.output_dir = Path(output_dir)
        self.classes = list(classes)[1:]
        self.network = network
        self.subject = subject
        self.settings = dict(settings or {})
        self.image_key = image_key
        self.overlay_style = overlay_style
        self.annotator_dice = annotator_dice
        self.case_key = case_key
        self.distance_unit = distance_unit
        self.cases: list[str] = []
        self.seconds: list[float] = []
        self._kind = "images"
        self._phantoms = False
        self._started = 0.0

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: an evaluator whose outputs are decollated.
        """
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_STARTED, self.start_clock)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self.stop_clock)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.draw_overlays)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        """Forget the cases of an earlier run."""
        self.cases, self.seconds = [], []
        self._phantoms = False

    def start_clock(self, engine: Engine) -> None:
        """Note when inference on a batch begins."""
        self._started = time.perf_counter()

    def stop_clock(self, engine: Engine) -> None:
        """Note how long it took for each case."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        elapsed = time.perf_counter() - self._started
        self.seconds.append(elapsed / len(engine.state.batch["image"]))

    def draw_overlays(self, engine: Engine) -> None:
        """Draw the cases of a batch."""
        for inputs, outputs in zip(engine.state.batch, engine.state.output, strict=True):
            item = {**inputs, **outputs}
            image, prediction, label = item[self.image_key], item["pred"].argmax(0), item["label"].argmax(0)
            path = Path(image.meta["filename_or_obj"])
            self._phantoms |= are_phantoms(path)
            name = str(item[self.case_key]) if self.case_key else path.stem
            self.cases.append(name)
            if label.ndim == 3:
                self._kind = "volumes"
                image, prediction, label = take_fullest_slice(image, prediction, label)
            picture = draw_overlay(image, prediction, label, self.overlay_style)
            folder = self.output_dir / "overlays"
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{name}.png")

    def write(self, engine: Engine) -> None:
        """Write the tables."""
        if not is_writer():
            return
        details = {name: np.asarray(values.cpu(), float) for name, values in engine.state.metric_details.items()}
        with (
            replace_file(self.output_dir / "metrics.csv") as path,
            path.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.writer(file)
            table.writerow(["case", "class", *details])
            for row, case in enumerate(self.cases):
                for column, label in enumerate(self.classes):
                    table.writerow([case, label, *(f"{values[row, column]:.6g}" for values in details.values())])
        summary = {
            "subject": self.subject,
            "cases": len(self.cases),
            "phantoms": self._phantoms,
            "network": network_fingerprint(self.network),
            "settings": self.settings,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "milliseconds_per_image": round(1000 * float(np.median(self.seconds)), 1),
            "distance_unit": self.distance_unit,
            "metrics": {name: summarise(values, self.classes) for name, values in details.items()},
        }
        if self.annotator_dice is not None:
            summary["annotator_dice"] = {
                name: value if np.isfinite(value) else None for name, value in self.annotator_dice.items()
            }
        with replace_file(self.output_dir / "summary.json") as path:
            path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        means = {name: entry["mean"]["mean"] for name, entry in summary["metrics"].items()}
        shown = ", ".join(f"{name} {'undefined' if mean is None else f'{mean:.4f}'}" for name, mean in means.items())
        logger.info(f"{self.subject} on {len(self.cases)} {self._kind}: {shown}; see {self.output_dir}")


class SpacedHausdorffDistance(HausdorffDistance):
    """MONAI's HausdorffDistance in millimetres instead of voxels: the labels' affine tells how far apart voxels are.

    Args:
        kwargs: what ``HausdorffDistance`` takes; ``output_transform`` gives lists of predictions and of labels, each
            one-hot ``(C, W, H[, D])``, the labels as MetaTensors.
    """

    @reinit__is_reduced
    def update(self, output: tuple[Sequence[Tensor], Sequence[MetaTensor]]) -> None:
        """Measure one batch, each case with its own spacing."""
        for prediction, label in zip(*output, strict=True):
            self.metric_fn([prediction], [label], spacing=label.pixdim.tolist())


def load_subject(
    subject: str,
    student: nn.Module,
    ckpt_path: str | os.PathLike,
    teacher_dir: str | os.PathLike | None = None,
    pretrained: str | None = None,
) -> nn.Module:
    """Load what is to be evaluated.

    Args:
        subject: ``student`` or ``teacher``.
        student: the student's architecture.
        ckpt_path: the student's weights.
        teacher_dir: the fine-tuned teacher, if there is one.
        pretrained: the base that the teacher was fine-tuned from.

    Raises:
        InputError: if ``subject`` is neither, or what it names cannot be loaded.
    """
    if subject == "student":
        return load_weights(student, ckpt_path, made_by="train")
    if subject != "teacher":
        raise InputError(f"subject: expected student or teacher, got '{subject}'")
    if teacher_dir is None:
        raise InputError("subject: there is no teacher here; take the student")
    try:
        from common.lora import load_teacher  # here because a student is evaluated without transformers and peft
    except ModuleNotFoundError as error:
        raise InputError(f"subject: a teacher cannot be evaluated here ({error}); take the student") from error
    return load_teacher(teacher_dir, pretrained)


def summarise(
    values: np.ndarray,
    classes: Sequence[str],
    resamples: int = 2000,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> dict[str, dict]:
    """Summarise one metric, per class and for the mean over classes.

    Args:
        values: ``(rows, classes)``, a row for each case; what is not finite (the distance to an empty mask) is left out
            and counted.
        classes: names of the classes.
        resamples: bootstrap samples of groups for the 95 % interval of the mean.
        seed: of the bootstrap.
        groups: what each row belongs to, where several rows are not independent, such as those of one case that several
            networks were tried on: the bootstrap draws all of them or none. By default each row stands alone.
    """
    columns = {name: values[:, index] for index, name in enumerate(classes)} | {"mean": mean_over_classes(values)}
    group_of_row = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    summary = {}
    for name, column in columns.items():
        known = np.isfinite(column)
        defined = column[known]
        entry = {"mean": None, "sd": None, "ci95": None, "undefined": int(len(column) - len(defined))}
        if len(defined):
            members = np.unique(group_of_row[known], return_inverse=True)[1]
            sums, counts = np.bincount(members, weights=defined), np.bincount(members)
            drawn = rng.integers(len(sums), size=(resamples, len(sums)))
            means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
            entry |= {"mean": float(defined.mean()), "sd": float(defined.std(ddof=1)) if len(defined) > 1 else 0.0}
            entry["ci95"] = [float(bound) for bound in np.percentile(means, [2.5, 97.5])]
        summary[name] = entry
    return summary


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Return the mean ``(rows,)`` of values ``(rows, classes)`` over the classes that are finite, nan where none is."""
    finite = np.where(np.isfinite(values), values, np.nan)
    known = np.isfinite(finite).any(axis=1)
    means = np.full(len(finite), np.nan)
    means[known] = np.nanmean(finite[known], axis=1)
    return means
