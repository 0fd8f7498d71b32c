"""Progress bars, logs and TensorBoard."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ignite.handlers
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import StatsHandler, TensorBoardStatsHandler

from common.files.atomic import is_writer

logger = logging.getLogger(__name__)


@cache
def _has(package: str, what: str) -> bool:
    """Say whether an optional package is installed; where it is not, the log says once what is off."""
    found = find_spec(package) is not None
    if not found:
        logger.info(f"{what} off: {package} is not installed")
    return found


class ProgressBar:
    """Ignite's progress bar where tqdm is installed, and nothing elsewhere: a released student does without.

    Args:
        desc: what is in progress.
    """

    def __init__(self, desc: str) -> None:
        self.desc = desc

    def attach(self, engine: Engine, output_transform: Callable | None = None) -> None:
        """
        Args:
            engine: any engine.
            output_transform: what to show of its output, numbers by name.
        """
        if _has("tqdm", "progress bars are"):
            bar = ignite.handlers.ProgressBar(desc=self.desc, mininterval=1)
            bar.attach(engine, output_transform=output_transform)


class ProgressReport:
    """A progress bar, TensorBoard scalars, and a line in the log at the end of each epoch; on the first rank only.

    Of a trainer it shows the loss, and the ``last_terms`` of its loss function where that has some: scalar tensors by
    name. They are read from the device once per step; handlers after it, such as MONAI's ``MLFlowHandler``, find the
    loss as a number in the first item of the output, whether or not the trainer takes its batches apart. An evaluator
    shows its metrics. Where tqdm or TensorBoard is not installed it goes without.

    Args:
        output_dir: TensorBoard's files go to ``<output_dir>/tensorboard/<stage>``.
        stage: name of the stage.
    """

    def __init__(self, output_dir: str | os.PathLike, stage: str) -> None:
        self.folder = Path(output_dir) / "tensorboard" / stage
        self.stage = stage
        self.scalars: dict[str, float] = {}  # of the last step

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer or an evaluator.
        """
        if not is_writer():
            return
        if isinstance(engine, Evaluator):
            ProgressBar(f"{self.stage}, validation").attach(engine)
            StatsHandler(iteration_log=False, output_transform=lambda output: None).attach(engine)
            self._attach_tensorboard(engine, iteration_log=False)
            return
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._read_scalars)
        ProgressBar(self.stage).attach(engine, output_transform=self._last_scalars)
        self._attach_tensorboard(engine, tag_name="training", epoch_log=False, output_transform=self._last_scalars)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log_epoch)

    def _attach_tensorboard(self, engine: Engine, **settings: Any) -> None:
        if _has("tensorboard", "TensorBoard's files are"):
            TensorBoardStatsHandler(log_dir=str(self.folder), **settings).attach(engine)

    def _read_scalars(self, engine: Engine) -> None:
        """Read the last step's scalars, and stop a training that has diverged.

        Ignite's ``TerminateOnNan`` would end it as if it were complete, and the stage would save its weights.
        """
        items = engine.state.output if isinstance(engine.state.output, list) else [engine.state.output]
        terms = getattr(getattr(engine, "loss_function", None), "last_terms", {})
        values = {"loss": torch.as_tensor(items[0]["loss"]).detach(), **terms}
        device = next((value.device for value in terms.values()), values["loss"].device)
        together = torch.stack([value.to(device, torch.float32) for value in values.values()])
        self.scalars = dict(zip(values, together.tolist(), strict=True))
        engine.state.output = [{**items[0], "loss": self.scalars["loss"]}, *items[1:]]
        if not all(map(math.isfinite, self.scalars.values())):
            raise RuntimeError(
                f"{self.stage}: the loss is no longer a number at iteration {engine.state.iteration} "
                f"({self.scalars}): lower learning_rate, or turn amp off"
            )

    def _last_scalars(self, output: Any) -> dict[str, float]:
        return self.scalars

    def _log_epoch(self, engine: Engine) -> None:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in self.scalars.items())
        logger.info(f"{self.stage}: epoch {engine.state.epoch}/{engine.state.max_epochs}, {shown}")
