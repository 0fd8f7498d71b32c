"""A training ends with the weights that did best in validation, if there was any."""

from __future__ import annotations

import pytest
import torch
from toy_training import Toy

NAN = float("nan")


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        ([0.3, 0.9, 0.5], 1),
        ([0.9, 0.9, 0.5], 0),  # of equals the first
        ([NAN, 0.2, 0.1], 1),  # a validation without a result is no best one
        ([0.2, NAN, 0.1], 0),
        ([NAN, NAN, NAN], 2),
        (None, 2),  # without validation the latest weights stay
    ],
)
def test_the_network_ends_with_the_weights_that_did_best(metrics, best, tmp_path):
    toy = Toy(tmp_path / "toy.pt", metrics=metrics).run()
    assert not torch.equal(toy.weights[best - 1]["1.weight"], toy.weights[best]["1.weight"])
    for name, value in toy.network.state_dict().items():
        assert torch.equal(value, toy.weights[best][name]), name


def test_only_epochs_with_a_validation_count(tmp_path):
    toy = Toy(tmp_path / "toy.pt", metrics=[0.9, 0.8, 0.1])
    validate = toy.validate
    toy.validate = lambda engine: validate(engine) if engine.state.epoch == 2 else None
    toy.run()
    assert toy.checkpoint.best.epoch == 2
