"""The seed of each epoch."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism
from torch.utils.data import DistributedSampler


def mix_seeds(*parts: int) -> int:
    """Return a seed of 32 bits from several numbers, such as seed, epoch and rank; as many others give another one.

    A zero at the end changes nothing: numpy takes numbers that are not given for zeros.
    """
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


class EpochSeed:
    """Seeds every source of randomness at the start of each epoch, so that a resumed run repeats an uninterrupted one.

    Args:
        seed: of the run, not negative; epoch and rank are mixed into it.
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
        epoch = engine.state.epoch
        seed = mix_seeds(self.seed, epoch, idist.get_rank())
        set_determinism(seed=seed)
        set_rnd(self.dataset, seed=seed)
        sampler = getattr(engine.state.dataloader, "sampler", None)
        if isinstance(sampler, DistributedSampler):
            # It adds its own seed to the epoch, so seed 0 would shuffle epoch 2 as seed 1 shuffles epoch 1.
            sampler.set_epoch(mix_seeds(self.seed, epoch) - sampler.seed)
