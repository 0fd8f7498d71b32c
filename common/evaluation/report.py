"""The report of an evaluation, as a handler of MONAI's evaluators."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.utils import optional_import
from torch import nn

from common.errors import InputError
from common.evaluation.machine_load import MachineLoad
from common.evaluation.overlays import check_style, dice, draw_overlay, take_fullest_slice
from common.evaluation.tables import write_measurements, write_summary
from common.evaluation.timing import InferenceTimer
from common.files.atomic import is_writer
from common.files.fingerprints import network_fingerprint
from common.files.phantom_mark import are_phantoms
from common.pictures.sheets import save_sheet

logger = logging.getLogger(__name__)


class EvaluationReport:
    """Writes ``metrics.csv``, ``summary.json`` and one overlay picture per case when an evaluator is done.

    A case is an image ``(C, W, H)`` or a volume ``(C, W, H, D)``, whose overlay shows the slice with most label. The
    evaluator's metrics must keep their details (``save_details``, MONAI's default) for one-hot classes without
    background.

    Args:
        output_dir: folder to write to.
        classes: names of the classes in the order of their ids, or by id; background first.
        network: whose parameters to count.
        subject: what is evaluated, for the summary.
        settings: what else the results depend on, numbers and strings by name, for the summary.
        image_key: the image ``(C, W, H)`` to draw on, as large as prediction and label after postprocessing.
        overlay_style: see :func:`common.pictures.overlay.draw_comparison`.
        annotator_dice: how well two annotators agree on these cases, Dice by class, for the summary; no prediction can
            be expected to agree with one of them any better.
        case_key: key of the entries that names a case, such as ``patient``; by default the stem of its image's file.
        distance_unit: what the evaluator's distances are in, for the summary: ``px``, or ``mm`` where they come from
            :class:`common.evaluation.distances.SpacedHausdorffDistance`.

    Raises:
        InputError: if SciPy is not installed, which MONAI measures distances with.
        ValueError: if ``overlay_style`` is unknown.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        classes: Sequence[str] | Mapping[int, str],
        network: nn.Module,
        subject: str,
        settings: Mapping[str, Any] | None = None,
        image_key: str = "image",
        overlay_style: str = "auto",
        annotator_dice: Mapping[str, float] | None = None,
        case_key: str | None = None,
        distance_unit: str = "px",
    ) -> None:
        check_style(overlay_style)
        if not optional_import("scipy")[1]:
            raise InputError("an evaluation measures distances with SciPy, which is not installed: pip install scipy")
        names = [classes[index] for index in sorted(classes)] if isinstance(classes, Mapping) else list(classes)
        self.output_dir = Path(output_dir)
        self.class_names = names
        self.classes = names[1:]
        self.network = network
        self.subject = subject
        self.settings = dict(settings or {})
        self.image_key = image_key
        self.overlay_style = overlay_style
        self.annotator_dice = annotator_dice
        self.case_key = case_key
        self.distance_unit = distance_unit
        self.timer = InferenceTimer()
        self.load = MachineLoad()
        self.cases: list[str] = []
        self._volumes = False
        self._phantoms = False

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: an evaluator whose outputs are decollated.
        """
        self.timer.attach(engine)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw_batch)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        """Forget the cases of an earlier run."""
        self.cases, self._volumes, self._phantoms = [], False, False
        self.load.start()

    def _draw_batch(self, engine: Engine) -> None:
        folder = self.output_dir / "overlays"
        folder.mkdir(parents=True, exist_ok=True)
        for inputs, outputs in zip(engine.state.batch, engine.state.output, strict=True):
            item = {**inputs, **outputs}
            image, prediction, label = item[self.image_key], item["pred"].argmax(0), item["label"].argmax(0)
            path = Path(image.meta["filename_or_obj"])
            self._phantoms |= are_phantoms(path)
            self.cases.append(str(item[self.case_key]) if self.case_key else path.stem)
            title = f"{self.subject}, {self.cases[-1]}"
            agreement = dice(prediction, label)
            if agreement is not None:
                title += f": Dice {agreement:.3f}"
            if label.ndim == 3:
                self._volumes = True
                count = label.shape[-1]
                index, image, prediction, label = take_fullest_slice(image, prediction, label)
                title += f"; slice {index + 1} of {count}"
            sheet = draw_overlay(image, prediction, label, self.class_names, title, self.overlay_style)
            save_sheet(sheet, folder / f"{self.cases[-1]}.png")

    def _write(self, engine: Engine) -> None:
        if not is_writer():
            return
        measured = {name: np.asarray(values.cpu(), float) for name, values in engine.state.metric_details.items()}
        write_measurements(self.output_dir / "metrics.csv", self.cases, self.classes, measured)
        metrics = write_summary(self.output_dir / "summary.json", self._describe(), self.classes, measured)
        means = {name: entry["mean"]["mean"] for name, entry in metrics.items()}
        shown = ", ".join(f"{name} {'undefined' if mean is None else f'{mean:.4f}'}" for name, mean in means.items())
        kind = "volumes" if self._volumes else "images"
        logger.info(f"{self.subject} on {len(self.cases)} {kind}: {shown}; see {self.output_dir}")

    def _describe(self) -> dict[str, Any]:
        about = {
            "subject": self.subject,
            "cases": len(self.cases),
            "phantoms": self._phantoms,
            "network": network_fingerprint(self.network),
            "settings": self.settings,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "milliseconds_per_image": round(self.timer.milliseconds_per_case, 1),
            "measured_alone": self.load.was_alone(),  # None where the system does not tell
            "distance_unit": self.distance_unit,
        }
        if self.annotator_dice is not None:
            about["annotator_dice"] = {
                name: value if np.isfinite(value) else None for name, value in self.annotator_dice.items()
            }
        return about
