"""The weights that did best in validation."""

from __future__ import annotations

import logging
import math
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch import Tensor, nn

from common.files.weights import load_trainable_state, trainable_state

logger = logging.getLogger(__name__)


class BestWeights:
    """Keeps the weights with the best key metric in memory, and gives them to the network when training is complete.

    MONAI's ``CheckpointSaver`` keeps them in a file of its own, which a resumed run does not know.

    Args:
        network: frozen parameters are left as they are.
        evaluator: its key metric chooses; with None the network keeps its latest weights.
    """

    def __init__(self, network: nn.Module, evaluator: Evaluator | None) -> None:
        self.network = network
        self.evaluator = evaluator
        self.epoch = 0
        self.metric = -math.inf
        self.weights: dict[str, Tensor] | None = None

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer, to which the handler that validates is attached already.
        """
        if self.evaluator is not None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.keep)
            engine.add_event_handler(Events.COMPLETED, self.restore)

    def keep(self, engine: Engine) -> None:
        """Keep the weights if the validation after this epoch, if there was one, was the best so far."""
        assert self.evaluator is not None  # or this would not be attached
        if self.evaluator.state.epoch != engine.state.epoch:
            return
        metric = float(self.evaluator.state.metrics[self.evaluator.state.key_metric_name])
        if metric > self.metric:  # which no metric that is not a number is
            self.weights = {name: value.detach().cpu().clone() for name, value in trainable_state(self.network).items()}
            self.metric, self.epoch = metric, engine.state.epoch

    def restore(self, engine: Engine) -> None:
        """Give the network its best weights, if any validation had a result."""
        if self.weights is not None:
            load_trainable_state(self.network, self.weights)
            logger.info(f"best in validation: epoch {self.epoch}, {self.metric:.4f}")

    def state_dict(self) -> dict[str, Any] | None:
        """Return the weights with their metric and epoch, or None where there are none yet."""
        return self.weights and {"metric": self.metric, "epoch": self.epoch, "network": self.weights}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Load what :meth:`state_dict` returned."""
        if state is not None:
            self.metric, self.epoch, self.weights = state["metric"], state["epoch"], state["network"]
