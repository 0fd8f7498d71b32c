"""Means, spreads and intervals against independent computations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from common.evaluation.summary import summarise


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 1, (30, 2))


def test_mean_and_standard_deviation_are_numpys(values):
    summary = summarise(values, ["liver", "spleen"])
    assert list(summary) == ["liver", "spleen", "mean"]
    for name, column in zip(summary, [values[:, 0], values[:, 1], values.mean(axis=1)], strict=True):
        assert summary[name]["mean"] == pytest.approx(column.mean())
        assert summary[name]["sd"] == pytest.approx(column.std(ddof=1))
        assert summary[name]["undefined"] == 0


def test_interval_is_the_bootstraps(values):
    column = values[:, 0]
    low, high = summarise(values, ["liver", "spleen"])["liver"]["ci95"]
    expected = stats.bootstrap(
        (column,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    tolerance = 0.1 * (expected.high - expected.low)
    assert low == pytest.approx(expected.low, abs=tolerance)
    assert high == pytest.approx(expected.high, abs=tolerance)
    assert low < column.mean() < high


def test_interval_is_the_same_every_time(values):
    assert summarise(values, ["a", "b"]) == summarise(values, ["a", "b"])
    assert summarise(values, ["a", "b"], seed=1) != summarise(values, ["a", "b"])


def test_rows_of_a_group_are_drawn_together(values):
    repeated, groups = np.repeat(values, 4, axis=0), np.repeat(np.arange(len(values)), 4)
    once, alone = summarise(values, ["a", "b"]), summarise(repeated, ["a", "b"])
    together = summarise(repeated, ["a", "b"], groups=[f"case {number}" for number in groups])
    widths = [entry["a"]["ci95"][1] - entry["a"]["ci95"][0] for entry in (once, alone, together)]
    assert widths[2] == pytest.approx(widths[0], rel=0.1)
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.1), "four times as many rows, if they were independent"
    assert together["a"]["mean"] == pytest.approx(values[:, 0].mean())


def test_groups_of_several_sizes_weigh_what_they_hold():
    values, groups = np.array([[0.0], [0.0], [0.0], [1.0]]), ["a", "a", "a", "b"]
    entry = summarise(values, ["c"], groups=groups)["c"]
    assert entry["mean"] == 0.25
    assert entry["ci95"] == [0, 1], "the four draws of two groups are aa, ab, ba and bb"


def test_undefined_values_are_counted_and_left_out():
    values = np.array([[1.0, np.inf], [3.0, 5.0], [np.nan, np.nan]])
    summary = summarise(values, ["a", "b"])
    assert [summary[name]["undefined"] for name in ("a", "b", "mean")] == [1, 2, 1]
    assert [summary[name]["mean"] for name in ("a", "b")] == [2, 5]
    assert summary["mean"]["mean"] == (1 + 4) / 2  # the first case has only one class


def test_metric_that_is_nowhere_defined_is_null_and_not_nan():
    summary = summarise(np.full((3, 1), np.nan), ["a"])
    assert summary["a"] == {"mean": None, "sd": None, "ci95": None, "undefined": 3}
    json.dumps(summary, allow_nan=False)


def test_single_case_has_no_spread():
    entry = summarise(np.array([[0.8]]), ["a"])["a"]
    assert entry == {"mean": 0.8, "sd": 0.0, "ci95": [0.8, 0.8], "undefined": 0}
