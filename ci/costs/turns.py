"""Time variants of one thing side by side: in turn, round after round, since a machine's speed changes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def side_by_side(
    variants: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Run each variant once to warm up, then all of them in turn, and return the seconds of each round."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            wait_for(device)
            started = time.perf_counter()
            run()
            wait_for(device)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def take_turns(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run all variants in turn, and return what each returned in each round."""
    values: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            values[name].append(run())
    return values


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    """Return the median, lowest and highest ratio of two variants, round by round."""
    ratios = [a / b for a, b in zip(slower, faster, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def medians(values: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each variant."""
    return {name: statistics.median(each) for name, each in values.items()}
