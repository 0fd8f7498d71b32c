"""Figures of how well doubts rank: bad masks before good ones, foreign images before those of the task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata, spearmanr


def rank_correlation(doubts: Sequence[float], dice: Sequence[float]) -> float:
    """Return Spearman's correlation of doubts with the lack of Dice: 1 where the worst masks are the most doubtful."""
    return float(spearmanr(doubts, -np.asarray(dice)).statistic)


def interval(doubts: Sequence[float], dice: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % interval of the rank correlation over bootstrap samples of the images."""
    rng = np.random.default_rng(0)
    doubts, dice = np.asarray(doubts), np.asarray(dice)
    chosen = (rng.integers(0, len(dice), len(dice)) for _ in range(draws))
    found = [rank_correlation(doubts[index], dice[index]) for index in chosen if len(set(dice[index])) > 1]
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def area_under_roc(foreign: Sequence[float], own: Sequence[float]) -> float:
    """Return the share of pairs of a foreign image and one of the task in which the foreign one is more doubtful."""
    ranks = rankdata([*foreign, *own])
    count = len(foreign)
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * len(own)))


def found_first(doubts: Sequence[float], dice: Sequence[float], share: float = 0.2) -> float:
    """Return which part of the worst masks is among the most doubtful ones, if a person looks at a share of all."""
    count = max(1, round(share * len(dice)))
    worst, looked_at = set(np.argsort(dice)[:count]), set(np.argsort(-np.asarray(doubts))[:count])
    return len(worst & looked_at) / count
