"""The weights whose samples are of most use are kept."""

from __future__ import annotations

import logging

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from transfer_sets import make_training_images

from common.errors import InputError
from common.synthesis import usable_samples
from common.synthesis.usable_samples import KeepUsable

COUNT = 36


class Grids:
    """Stands for the handler that draws: its network has one weight, the epoch."""

    interval = 1
    num_samples = COUNT

    def __init__(self) -> None:
        self.network = nn.Linear(1, 1)
        self.images = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        nn.init.constant_(self.network.weight, engine.state.epoch)


def train(shares: list[float], monkeypatch, first: int = 0, state: dict | None = None) -> tuple[KeepUsable, int]:
    """Train for an epoch a share of usable samples; return the handler, and the epoch that the weights are of."""
    grids = Grids()
    keep = KeepUsable(grids, lambda: pytest.fail("nothing has to be read"))
    if state is not None:
        keep.load_state_dict(state)
    monkeypatch.setattr(keep, "_usable_share", lambda epoch: shares[epoch - 1])
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch = first
    grids.attach(engine)
    keep.attach(engine)
    if first:
        engine.state.epoch_length, engine.state.max_epochs = 1, len(shares)
        engine.state.iteration = first
    engine.run([0], max_epochs=len(shares))
    return keep, round(grids.network.weight.item())


@pytest.mark.parametrize(
    ("shares", "epoch"),
    [
        ([0.0, 0.5, 0.9, 0.6, 0.5], 3),
        ([0.1, 0.5, 0.9, 0.88, 0.6], 4),  # no worse than by chance, and trained for longer
        ([1.0, 1.0, 1.0, 1.0], 4),
        ([0.0, 0.0, 0.02], 3),
    ],
    ids=["the best", "the latest of equals", "perfect", "few"],
)
def test_the_weights_with_the_best_samples_are_kept(shares, epoch, monkeypatch):
    assert train(shares, monkeypatch)[1] == epoch


def test_training_stops_when_samples_get_worse(monkeypatch, caplog):
    shares = [0.5, 0.9, 0.4, 0.5, 0.4, 0.3, 0.9, 0.9]
    with caplog.at_level(logging.INFO):
        _, epoch = train(shares, monkeypatch)
    assert epoch == 2
    assert "training stops after epoch 6" in caplog.text
    assert "the weights after epoch 2 are kept" in caplog.text


def test_where_no_sample_is_of_use_the_latest_weights_stay(monkeypatch, caplog):
    _, epoch = train([0.0, 0.0, 0.0], monkeypatch)
    assert epoch == 3
    assert "no samples were of use, so that the latest weights are kept: train for longer" in caplog.text


def test_a_resumed_training_keeps_what_was_kept_before(monkeypatch):
    keep, _ = train([0.2, 0.9], monkeypatch)
    resumed, epoch = train([0.2, 0.9, 0.5, 0.5], monkeypatch, first=2, state=keep.state_dict())
    assert epoch == 2
    assert resumed.highest == 0.9


def test_a_training_that_had_stopped_stays_stopped(monkeypatch):
    shares = [0.9, 0.1, 0.1, 0.9, 0.9]
    keep, epoch = train(shares, monkeypatch)
    assert (epoch, keep.poor) == (1, 2)
    again, epoch = train(shares, monkeypatch, first=3, state=keep.state_dict())
    assert (epoch, again.highest, again.poor) == (1, 0.9, 2)


def test_it_leaves_a_training_alone_that_does_not_ask_for_it(monkeypatch):
    keep = KeepUsable(Grids(), lambda: None, enabled=False)
    monkeypatch.setattr(keep, "_usable_share", lambda epoch: pytest.fail("nothing has to be judged"))
    engine = Engine(lambda engine, batch: None)
    keep.attach(engine)
    engine.run([0], max_epochs=3)
    assert keep.state_dict()["weights"] == {}


def test_a_training_without_a_grid_is_refused(monkeypatch):
    keep = KeepUsable(Grids(), lambda: None)
    monkeypatch.setattr(keep.grids, "interval", 5)
    engine = Engine(lambda engine, batch: None)
    keep.attach(engine)
    with pytest.raises(InputError, match="sample_interval is 5, and there are 4 epochs"):
        engine.run([0], max_epochs=4)


@pytest.mark.parametrize(("copied", "advice"), [(1.0, "for a shorter time"), (0.0, "train for longer")])
def test_the_advice_is_that_of_what_was_wrong(monkeypatch, caplog, copied, advice):
    keep, _ = train([0.0], monkeypatch)
    keep.copied = copied
    keep.restore(None)
    assert advice in caplog.messages[-1]


def smooth(count: int, seed: int) -> torch.Tensor:
    noise = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, size=(32, 32), mode="bilinear")


def test_copies_and_noise_are_of_no_use_and_new_images_are(caplog):
    grids = Grids()
    known = smooth(24, seed=0)
    calls = []
    keep = KeepUsable(grids, lambda: calls.append(1) or make_training_images(known))
    shares = {}
    for name, images in {
        "copies": known[:12],
        "noise": torch.rand(12, 1, 32, 32),
        "new": smooth(12, seed=1),
    }.items():
        grids.images = images
        with caplog.at_level(logging.INFO):
            shares[name] = keep._usable_share(1)
    assert shares["copies"] == shares["noise"] == 0
    assert shares["new"] > 0.7
    assert "12 are copies of training images" in caplog.text
    assert "12 are no images of this kind" in caplog.text
    assert len(calls) == 1


def test_the_share_is_that_of_rank_0(monkeypatch):
    grids = Grids()
    keep = KeepUsable(grids, lambda: None)
    monkeypatch.setattr(usable_samples, "is_writer", lambda: False)
    monkeypatch.setattr(usable_samples.idist, "broadcast", lambda value, src: 0.75)
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch = 1
    keep.look(engine)
    assert keep.highest == 0.75
