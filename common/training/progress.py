"""What a training shows of itself: a line for each epoch, a bar, and TensorBoard."""

from __future__ import annotations

import logging
import math
import os
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import TensorBoardStatsHandler

from common.files.atomic import is_writer
from common.training.bar import this_bar
from common.training.durations import in_words

logger = logging.getLogger(__name__)


@cache
def _has(package: str, what: str) -> bool:
    """Say whether an optional package is installed; where it is not, the log says once what is off."""
    found = find_spec(package) is not None
    if not found:
        logger.info(f"{what} off: {package} is not installed")
    return found


class ProgressBar:
    """Shows in the bar at the bottom of a terminal how many batches an engine has had.

    Args:
        desc: what is in progress.
    """

    def __init__(self, desc: str) -> None:
        self.desc = desc

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: any engine.
        """
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._show)
        engine.add_event_handler(Events.COMPLETED, lambda engine: this_bar().clear())

    def _show(self, engine: Engine) -> None:
        done, total = engine.state.iteration, engine.state.epoch_length or 0
        stage = "" if this_bar().position.title else f"{self.desc} "
        this_bar().update(done / total if total else 0.0, f"{stage}{done}/{total}")


class ProgressReport:
    """A line in the log at the end of each epoch, TensorBoard scalars and a bar; on the first rank only.

    Of a trainer it shows the loss, and the ``last_terms`` of its loss function where that has some: scalar tensors by
    name. They are read from the device once per step; handlers after it, such as MONAI's ``MLFlowHandler``, find the
    loss as a number in the first item of the output, whether or not the trainer takes its batches apart. What a
    validation has measured stands in the line of its epoch, if both have a report for the same folder and stage.
    Where TensorBoard is not installed it goes without.

    Args:
        output_dir: TensorBoard's files go to ``<output_dir>/tensorboard/<stage>``.
        stage: name of the stage.
    """

    _validated: ClassVar[dict[Path, dict[str, float]]] = {}  # by folder and stage, until it is in a line

    def __init__(self, output_dir: str | os.PathLike, stage: str) -> None:
        self.folder = Path(output_dir) / "tensorboard" / stage
        self.stage = stage
        self.scalars: dict[str, float] = {}  # of the last step
        self._seconds: list[float] = []  # of the epochs of this run
        self._epoch_began = 0.0

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer or an evaluator.
        """
        if not is_writer():
            return
        if isinstance(engine, Evaluator):
            engine.add_event_handler(Events.COMPLETED, self._keep_validation)
            self._attach_tensorboard(engine, iteration_log=False)
            return
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._read_scalars)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._show)
        self._attach_tensorboard(engine, tag_name="training", epoch_log=False, output_transform=self._last_scalars)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log_epoch)

    def _attach_tensorboard(self, engine: Engine, **settings: Any) -> None:
        if _has("tensorboard", "TensorBoard's files are"):
            TensorBoardStatsHandler(log_dir=str(self.folder), **settings).attach(engine)

    def _begin(self, engine: Engine) -> None:
        self._seconds, self._epoch_began = [], time.monotonic()
        self._validated.pop(self.folder, None)

    def _show(self, engine: Engine) -> None:
        state = engine.state
        total = (state.max_epochs or 0) * (state.epoch_length or 0)
        share = state.iteration / total if total else 0.0
        this_bar().update(share, f"epoch {state.epoch}/{state.max_epochs}  loss {self.scalars['loss']:.3g}")

    def _keep_validation(self, engine: Engine) -> None:
        numbers = {name: value for name, value in engine.state.metrics.items() if isinstance(value, (int, float))}
        self._validated[self.folder] = {name.removeprefix("val_"): value for name, value in numbers.items()}

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
        """Log one line; handlers that validate come before this one."""
        now = time.monotonic()
        self._seconds.append(now - self._epoch_began)
        self._epoch_began = now
        state = engine.state
        shown = [f"{self.stage}: epoch {state.epoch}/{state.max_epochs}"]
        shown += [f"{name} {value:.4f}" for name, value in self.scalars.items()]
        shown += [f"val {name} {value:.4f}" for name, value in self._validated.pop(self.folder, {}).items()]
        shown.append(in_words(self._seconds[-1]))
        remaining = (state.max_epochs or state.epoch) - state.epoch
        if remaining:
            steady = self._seconds[1:] or self._seconds  # in the first one, all that is prepared once takes its time
            shown.append(f"{in_words(remaining * sum(steady) / len(steady))} left")
        logger.info(", ".join(shown))
