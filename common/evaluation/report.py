"""TODO"""

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
from monai.engines.utils import IterationEvents
from torch import nn

from common.errors import InputError
from common.evaluation.overlays import check_style, draw_overlay, take_fullest_slice
from common.evaluation.summary import summarise
from common.files.atomic import is_writer, replace_file
from common.files.fingerprints import network_fingerprint
from common.files.provenance import are_phantoms

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
        overlay_style: see :func:`common.evaluation.overlays.draw_overlay`.
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
