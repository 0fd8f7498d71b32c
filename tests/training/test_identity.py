"""What a training is made of: its first weights, data, teacher and loss."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from common.files.fingerprints import data_digest
from common.training.identity import check_same, describe_training


def describe(data: list | None = None, loss: object = None, teacher: nn.Module | None = None) -> dict:
    torch.manual_seed(0)
    dataset = TensorDataset(torch.zeros(2))
    if data is not None:
        dataset.data = data
    engine = SimpleNamespace(state=SimpleNamespace(dataloader=DataLoader(dataset)), loss_function=loss)
    return describe_training(engine, nn.Linear(2, 2), teacher)


class WithFingerprint(list):
    fingerprint = "known"


def test_a_datalist_counts_by_its_content_or_by_its_own_fingerprint():
    assert describe([{"image": "a"}])["data"] == data_digest([{"image": "a"}])
    assert describe(WithFingerprint([{"image": "a"}]))["data"] == "known"
    assert "data" not in describe()


def test_the_settings_of_a_loss_and_of_its_parts_count():
    loss = nn.Sequential(nn.LeakyReLU(0.2))
    assert describe(loss=loss)["loss.0.negative_slope"] == 0.2
    assert not any(name.startswith("loss") for name in describe(loss=lambda *_: 0))


def test_a_teacher_counts_where_there_is_one():
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert "teacher" not in describe()
    assert describe(teacher=one)["teacher"] == describe(teacher=one)["teacher"] != describe(teacher=other)["teacher"]


def test_what_is_missing_on_either_side_differs():
    check_same({"a": 1}, {"a": 1})
    with pytest.raises(ValueError, match="a was 1, now 2; c was None, now 4; b was 3, now None"):
        check_same({"a": 1, "b": 3}, {"a": 2, "c": 4})
