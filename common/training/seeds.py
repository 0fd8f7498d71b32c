"""The seed of each epoch."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism


class EpochSeed:
    """Seeds every source of randomness at the start of each epoch, so that a resumed run repeats an uninterrupted one.

    Args:
        seed: of the run; epoch and rank are mixed into it.
        dataset: its random transforms are seeded too. The worker processes of a loader seed their own from torch's.
    """

    def __init__(self, seed: int, dataset: Any) -> None:
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self)  # ignite asks for the loader's iterator after this

    def __call__(self, engine: Engine) -> None:
        """Seed for the epoch that has just started."""
        seed = self.seed + 1000 * engine.state.epoch + idist.get_rank()
        set_determinism(seed=seed)
        set_rnd(self.dataset, seed=seed)
        sampler = getattr(engine.state.dataloader, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(engine.state.epoch)
