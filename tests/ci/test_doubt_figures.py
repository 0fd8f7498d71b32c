"""The figures that say how well doubt ranks, and what doubt was chosen from."""

from __future__ import annotations

import numpy as np
import pytest
from doubts.candidates import COMBINED, IMAGE, MASK
from doubts.figures import area_under_roc, found_first, interval, rank_correlation

from common.students.references import Reference

DICE = np.array([0.9, 0.2, 0.7, 0.8, 0.1, 0.95, 0.5, 0.6, 0.3, 0.4])


def test_the_rank_correlation_is_1_where_the_worst_are_the_most_doubtful():
    assert rank_correlation(1 - DICE**3, DICE) == pytest.approx(1)
    assert rank_correlation(DICE, DICE) == pytest.approx(-1)


def test_its_interval_holds_it_and_is_wide_for_doubts_that_say_nothing():
    noise = np.random.default_rng(1).random(10)
    low, high = interval(noise, DICE)
    assert low < rank_correlation(noise, DICE) < high
    assert high - low > 0.5
    assert interval(1 - DICE, DICE) == pytest.approx((1, 1))


def test_the_area_counts_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    foreign, own = rng.integers(2, 9, 30), rng.integers(0, 7, 40)  # with ties, which count half
    pairs = [(f > o) + 0.5 * (f == o) for f in foreign for o in own]
    assert area_under_roc(foreign, own) == pytest.approx(np.mean(pairs))
    assert area_under_roc([2, 3], [0, 1]) == 1


def test_of_the_worst_masks_those_count_that_a_person_would_look_at():
    doubts = np.zeros(10)
    doubts[[4, 0]] = 1  # the worst one, and a good one
    assert found_first(doubts, DICE, share=0.2) == 0.5


SURE = np.stack([1 - np.eye(8) * 0.98 - 0.01, np.eye(8) * 0.98 + 0.01])
UNSURE = np.stack([1 - np.eye(8) * 0.3 - 0.3, np.eye(8) * 0.3 + 0.3])
KNOWN = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32) * [9, 3, 1, 1, 1, 1]
NEAR, FAR = KNOWN[:5].mean(0), KNOWN[:5].mean(0) + 40


@pytest.mark.parametrize("judge", MASK.values(), ids=MASK)
def test_every_judge_of_masks_doubts_an_unsure_one_more(judge):
    mirrored = UNSURE[:, ::-1]
    assert judge(UNSURE, mirrored) > judge(SURE, SURE)


@pytest.mark.parametrize("judge", IMAGE.values(), ids=IMAGE)
def test_every_judge_of_images_doubts_one_unlike_the_training_more(judge):
    assert judge(FAR, Reference.of(KNOWN)) > judge(NEAR, Reference.of(KNOWN))


@pytest.mark.parametrize("judge", COMBINED.values(), ids=COMBINED)
def test_every_judge_of_both_listens_to_both(judge):
    reference = Reference.of(KNOWN)
    assert judge(UNSURE, NEAR, reference) > judge(SURE, NEAR, reference)
    assert judge(SURE, FAR, reference) > judge(SURE, NEAR, reference)
