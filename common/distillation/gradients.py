"""Weights that are trained beside the network: on its device, and alike in several processes."""

from __future__ import annotations

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn


class AverageGradients:
    """Averages the gradients of a loss's own weights over all ranks, so that they start and stay alike.

    It moves the loss to the trainer's device first, which the trainer itself does not.

    ``DistributedDataParallel``, which does this for the network, refuses modules without weights, as a loss is whose
    layers are of equal width, and renames weights in checkpoints.

    Args:
        module: the loss.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer of MONAI.
        """
        self.module.to(engine.state.device)
        if idist.get_world_size() > 1:
            engine.add_event_handler(Events.STARTED, self._start_alike)
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._average)

    def _start_alike(self) -> None:
        for parameter in self.module.parameters():
            parameter.data.copy_(idist.broadcast(parameter.data, src=0))

    def _average(self) -> None:
        # With accumulated gradients, too: what was averaged in an earlier batch is alike everywhere and stays as it is.
        for parameter in self.module.parameters():
            if parameter.grad is not None:
                parameter.grad.copy_(idist.all_reduce(parameter.grad) / idist.get_world_size())
