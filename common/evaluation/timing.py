"""How long inference takes."""

from __future__ import annotations

import statistics
import time

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents


class InferenceTimer:
    """Measures inference, from the loaded batch to its prediction, without reading, postprocessing and drawing."""

    def __init__(self) -> None:
        self._seconds: list[float] = []  # for each case, by batch
        self._started = 0.0

    @property
    def milliseconds_per_case(self) -> float:
        """The median, since the first case pays for what is set up once."""
        return 1000 * statistics.median(self._seconds)

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: an evaluator.
        """
        engine.add_event_handler(Events.STARTED, self._reset)
        engine.add_event_handler(Events.ITERATION_STARTED, self.start)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self.stop)

    def start(self, engine: Engine) -> None:
        """Note when inference on a batch begins."""
        self._started = time.perf_counter()

    def stop(self, engine: Engine) -> None:
        """Note how long it took for each case of the batch."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._seconds.append((time.perf_counter() - self._started) / len(engine.state.batch["image"]))

    def _reset(self, engine: Engine) -> None:
        self._seconds = []
