"""How long inference takes."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch

from common.evaluation.timing import InferenceTimer


def time_batches(monkeypatch, *batches: tuple[int, float]) -> InferenceTimer:
    """Return a timer of batches, each of a number of cases that take some seconds together."""
    timer = InferenceTimer()
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    for count, seconds in batches:
        engine = SimpleNamespace(state=SimpleNamespace(batch={"image": torch.zeros(count, 1, 4, 4)}))
        clock[0] += 100.0  # reading, postprocessing and drawing
        timer.start(engine)
        clock[0] += seconds
        timer.stop(engine)
    return timer


def test_time_is_that_of_a_case_whatever_the_batch_size(monkeypatch):
    assert time_batches(monkeypatch, (2, 0.2), (1, 0.1)).milliseconds_per_case == pytest.approx(100)


def test_the_first_case_may_take_longer(monkeypatch):
    assert time_batches(monkeypatch, (1, 5.0), (1, 0.1), (1, 0.1)).milliseconds_per_case == pytest.approx(100)
