"""An epoch is the same however training came to it, and no two epochs, ranks or seeds are alike."""

from __future__ import annotations

from itertools import product

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import CacheDataset, DataLoader, DistributedSampler
from monai.transforms import RandScaleIntensityd

from common.training.seeds import EpochSeed, mix_seeds


def batches(first_epoch: int, last_epoch: int, seed: int = 0) -> list[torch.Tensor]:
    """Return what a trainer sees from one epoch to another: images shuffled, and scaled at random."""
    data = [{"image": torch.full((1, 4), float(index + 1))} for index in range(8)]
    dataset = CacheDataset(data, RandScaleIntensityd("image", factors=0.5, prob=0.7), progress=False)
    loader = DataLoader(dataset, batch_size=2, shuffle=True)
    seen = []

    def step(engine: Engine, batch: dict) -> None:
        seen.append(torch.as_tensor(batch["image"]) + torch.rand(1))  # dropout draws from this generator too

    engine = Engine(step)
    engine.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "epoch", first_epoch - 1))
    EpochSeed(seed, dataset).attach(engine)
    torch.rand(first_epoch)  # whatever came before
    engine.run(loader, max_epochs=last_epoch)
    return seen


def test_an_epoch_is_the_same_whether_or_not_those_before_it_were_run():
    whole, resumed = batches(1, 3), batches(3, 3)
    assert len(resumed) == 4
    assert all(torch.equal(one, other) for one, other in zip(whole[8:], resumed, strict=True))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, 0, 0), (2, 0, 0)),
        ((1, 0, 0), (1, 1, 0)),
        ((1, 0, 0), (1, 0, 1)),
        ((1, 0, 1), (1, 1, 0)),
        ((2, 0, 0), (1, 1000, 0)),
    ],
    ids=["epochs", "seeds", "ranks", "the next seed and rank", "the next seed and epoch"],
)
def test_no_two_are_alike(one, other, monkeypatch):
    """Each is an epoch, a seed and a rank."""
    found = []
    for epoch, seed, rank in (one, other):
        monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
        found.append(torch.cat(batches(epoch, epoch, seed=seed)))
    assert not torch.equal(*found)


def test_no_two_seeds_collide():
    parts = list(product(range(12), range(1, 101), range(8)))
    assert len({mix_seeds(*each) for each in parts}) == len(parts)


class TestDistributedSampler:
    @staticmethod
    def order(seed: int, epoch: int, rank: int = 0, sampler_seed: int = 0) -> list[int]:
        """Return the images that a rank sees in an epoch."""
        sampler = DistributedSampler(range(64), num_replicas=2, rank=rank, seed=sampler_seed)
        loader = DataLoader(list(range(64)), batch_size=None, sampler=sampler)
        engine = Engine(lambda engine, batch: None)
        engine.state.dataloader = loader
        engine.state.epoch = epoch
        EpochSeed(seed, None)(engine)
        return list(sampler)

    def test_ranks_share_one_order(self):
        assert sorted(self.order(0, 1, rank=0) + self.order(0, 1, rank=1)) == list(range(64))

    def test_seeds_and_epochs_have_orders_of_their_own(self):
        orders = [self.order(seed, epoch) for seed in range(3) for epoch in range(1, 5)]
        assert len(set(map(tuple, orders))) == len(orders)
        assert self.order(2, 3) == self.order(2, 3, sampler_seed=2)
