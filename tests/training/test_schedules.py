"""The learning rate rises and falls over the steps of a training, however few these are."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from common.training.schedules import one_cycle


def rates(total_steps: int, schedule=one_cycle) -> list[float]:
    """Return the learning rate of each step."""
    optimizer = torch.optim.AdamW(nn.Linear(1, 1).parameters(), lr=1)
    scheduler = schedule(optimizer, max_lr=0.5, total_steps=total_steps)
    found = []
    for _ in range(total_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("total_steps", [20, 137])
def test_it_is_pytorchs_with_a_rise_over_a_tenth_of_the_steps(total_steps):
    expected = rates(total_steps, lambda *args, **kwargs: OneCycleLR(*args, **kwargs, pct_start=0.1))
    assert rates(total_steps) == pytest.approx(expected)


@pytest.mark.parametrize("total_steps", [2, 3, 9, 10, 11, 19])
def test_with_few_steps_the_second_is_the_peak(total_steps):
    found = rates(total_steps)
    assert found[0] == pytest.approx(0.5 / 25)
    assert found[1] == pytest.approx(0.5)
    assert found[1:] == sorted(found[1:], reverse=True)
    assert min(found) > 0


def test_with_one_step_there_is_a_learning_rate():
    assert rates(1) == pytest.approx([0.5 / 25])


def test_each_parameter_group_has_its_own_peak():
    groups = [{"params": nn.Linear(1, 1).parameters()}, {"params": nn.Linear(1, 1).parameters()}]
    optimizer = torch.optim.AdamW(groups, lr=1)
    one_cycle(optimizer, max_lr=(0.5, 0.25), total_steps=10)
    assert [group["max_lr"] for group in optimizer.param_groups] == [0.5, 0.25]


def test_a_training_without_steps_is_refused():
    with pytest.raises(ValueError, match="total_steps must be at least 1, got 0"):
        rates(0, lambda optimizer, **kwargs: one_cycle(optimizer, **kwargs))
