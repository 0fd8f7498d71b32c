"""Statistics: means, spreads and paired tests against computations of another kind."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from common.report.runs import Run, read_study
from common.report.settings import Setting
from common.report.statistics import compare, correct_by_holm, estimate, find_reference, main_settings, tabulate

OURS, THEIRS = Setting("mae", 5, 100, None), Setting("task_specific_kd", 5, 100, 16)


def make_run(setting, dice, seed=0, cases=None, hd95=None):
    dice = np.asarray(dice, float)
    dice = dice if dice.ndim == 2 else dice[:, None]
    values = {"dice": dice, "iou": dice / (2 - dice), "hd95": dice if hd95 is None else np.asarray(hd95, float)}
    cases = tuple(cases or (f"case{number}" for number in range(len(dice))))
    classes = ("liver", "spleen")[: dice.shape[1]]
    return Run(setting, seed, Path("run"), cases, classes, values, 7, 1.0, "px")


def exact_p(differences: np.ndarray) -> float:
    """Two-sided signed-rank test by trying every sign of every rank."""
    ranks = rankdata(np.abs(differences))
    observed = abs((np.sign(differences) * ranks).sum())
    sums = np.abs(np.array(list(product((-1, 1), repeat=len(ranks)))) @ ranks)
    return float((sums >= observed - 1e-9).mean())


# Estimates


def test_mean_is_over_all_cases_and_spread_is_of_the_seeds():
    runs = [make_run(OURS, [0.5, 0.7], 0), make_run(OURS, [0.8, 1.0], 1), make_run(OURS, [0.6, 0.7], 2)]
    found = estimate(runs, "dice")
    assert found.mean == pytest.approx(np.mean([0.5, 0.7, 0.8, 1.0, 0.6, 0.7]))
    assert found.median == pytest.approx(0.7)
    assert found.sd == pytest.approx(np.std([0.6, 0.9, 0.65], ddof=1))
    assert (found.undefined, found.measurements) == (0, 6)


def test_one_seed_has_no_spread():
    assert estimate([make_run(OURS, [0.5, 0.7])], "dice").sd is None


def test_interval_is_as_wide_as_that_of_the_cases_however_many_seeds_repeat_them():
    dice = np.random.default_rng(0).uniform(0.5, 1, 30)
    once = estimate([make_run(OURS, dice)], "dice").ci95
    thrice = estimate([make_run(OURS, dice, seed) for seed in range(3)], "dice").ci95
    assert thrice == pytest.approx(once, abs=0.1 * (once[1] - once[0]))


def test_undefined_measurements_are_counted_and_left_out():
    hd95 = [[2.0, np.inf], [4.0, 8.0], [np.nan, np.nan]]
    found = estimate([make_run(OURS, np.full((3, 2), 0.5), hd95=hd95)], "hd95")
    assert found.mean == found.median == pytest.approx((2 + 6) / 2)
    assert (found.undefined, found.measurements) == (3, 6)
    assert estimate([make_run(OURS, np.full((3, 2), 0.5), hd95=hd95)], "hd95", "spleen").mean == 8


def test_nowhere_defined_has_no_mean():
    found = estimate([make_run(OURS, [0.5], hd95=[[np.inf]])], "hd95")
    assert (found.mean, found.median, found.sd, found.ci95, found.undefined) == (None, None, None, None, 1)


# Comparisons


def test_test_is_the_exact_signed_rank_test():
    rng = np.random.default_rng(1)
    ours, theirs = rng.uniform(0.5, 0.9, 10), rng.uniform(0.6, 0.95, 10)
    found = compare([make_run(OURS, ours)], [make_run(THEIRS, theirs)], "dice")
    assert found.p == pytest.approx(exact_p(ours - theirs))
    assert 0.001 < found.p < 0.999
    assert found.difference == pytest.approx((ours - theirs).mean())
    assert (found.cases, found.pairs, found.equal, found.left_out) == (10, 10, 0, 0)
    assert found.reference == THEIRS


def test_pairs_are_made_by_name_and_seed_not_by_order():
    names = [f"case{number}" for number in range(8)]
    dice = np.linspace(0.5, 0.9, 8)
    theirs = [make_run(THEIRS, dice, 0, names), make_run(THEIRS, dice - 0.3, 1, names)]
    ours = [make_run(OURS, dice[::-1] - 0.33, 1, names[::-1]), make_run(OURS, dice[::-1] - 0.01, 0, names[::-1])]
    found = compare(ours, theirs, "dice")
    assert found.difference == pytest.approx(-0.02)
    assert (found.cases, found.pairs) == (8, 16)
    assert found.p == pytest.approx(2 / 2**8), "every case got worse"


def test_case_of_several_seeds_counts_once():
    dice, gain = np.linspace(0.5, 0.8, 7), np.array([0.04, 0.02, -0.01, 0.05, 0.03, 0.06, -0.025])
    once = compare([make_run(OURS, dice + gain)], [make_run(THEIRS, dice)], "dice")
    ours = [make_run(OURS, dice + gain, seed) for seed in range(3)]
    thrice = compare(ours, [make_run(THEIRS, dice, seed) for seed in range(3)], "dice")
    assert thrice.p == pytest.approx(once.p)
    assert (thrice.cases, thrice.pairs) == (7, 21)


def test_the_mean_difference_is_that_of_the_means_though_some_cases_recur():
    theirs = [make_run(THEIRS, [0.5, 0.6], 0, ["a", "b"]), make_run(THEIRS, [0.7, 0.8], 1, ["a", "c"])]
    ours = [make_run(OURS, [0.7, 0.5], 0, ["a", "b"]), make_run(OURS, [0.9, 0.7], 1, ["a", "c"])]
    found = compare(ours, theirs, "dice")
    assert found.difference == pytest.approx(estimate(ours, "dice").mean - estimate(theirs, "dice").mean) == 0.05
    assert found.by_seed == pytest.approx((0.05, 0.05))
    assert (found.cases, found.pairs) == (3, 4)


def test_difference_of_each_seed():
    theirs = [make_run(THEIRS, [0.5, 0.6], seed) for seed in (0, 1)]
    ours = [make_run(OURS, [0.4, 0.6], 1), make_run(OURS, [0.8, 0.9], 0)]
    assert compare(ours, theirs, "dice").by_seed == pytest.approx((0.3, -0.05))


def test_seed_that_only_one_has_is_no_pair():
    dice = np.linspace(0.5, 0.8, 7)
    found = compare([make_run(OURS, dice, 0)], [make_run(THEIRS, dice, 1)], "dice")
    assert (found.cases, found.pairs, found.p, found.difference) == (0, 0, None, None)
    assert found.why_not == "no pairs"


def test_equal_cases_are_counted_and_left_out_of_the_test():
    differences = np.array([0.0, 0.0, 0.1, 0.2, 0.3, -0.05, 0.15, 0.25])
    theirs = np.full(8, 0.5)
    found = compare([make_run(OURS, theirs + differences)], [make_run(THEIRS, theirs)], "dice")
    assert (found.cases, found.equal) == (8, 2)
    assert found.p == pytest.approx(exact_p(differences[differences != 0]))
    assert found.difference == pytest.approx(differences.mean()), "the mean is over all cases"


def test_ties_are_ties_whatever_floating_point_makes_of_them():
    theirs = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    ours = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.5, 0.6])
    assert len(set(np.abs(ours - theirs))) > 1, "not a test"
    found = compare([make_run(OURS, ours)], [make_run(THEIRS, theirs)], "dice")
    assert found.p == pytest.approx(exact_p((ours - theirs).round(9)))


def test_no_difference_at_all_has_no_p():
    dice = np.linspace(0.5, 0.8, 7)
    found = compare([make_run(OURS, dice)], [make_run(THEIRS, dice)], "dice")
    assert (found.p, found.why_not, found.equal) == (None, "no differences", 7)


@pytest.mark.parametrize(("cases", "tested"), [(5, False), (6, True)])
def test_fewer_than_six_differences_have_no_p(cases, tested):
    dice = np.linspace(0.5, 0.8, cases)
    found = compare([make_run(OURS, dice + 0.1)], [make_run(THEIRS, dice)], "dice")
    assert (found.p is not None) == tested
    assert found.why_not == (None if tested else "too few cases")


def test_pair_with_an_undefined_distance_is_left_out_and_counted():
    ours = [[1.0], [np.inf], [2.0], [3.0]]
    theirs = [[2.0], [2.0], [np.nan], [5.0]]
    dice = np.full(4, 0.5)
    found = compare([make_run(OURS, dice, hd95=ours)], [make_run(THEIRS, dice, hd95=theirs)], "hd95")
    assert (found.cases, found.left_out) == (2, 2)
    assert found.difference == pytest.approx(-1.5)


def test_mean_over_classes_compares_only_classes_that_both_have_measured():
    dice = np.full((1, 2), 0.5)
    ours, theirs = [[10.0, np.inf]], [[12.0, 100.0]]
    found = compare([make_run(OURS, dice, hd95=ours)], [make_run(THEIRS, dice, hd95=theirs)], "hd95")
    assert found.difference == -2


def test_holm_steps_down_and_never_falls():
    assert correct_by_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct_by_holm([0.9, 0.8]) == [1, 1]
    assert correct_by_holm([]) == []


# Tables of a study


def test_every_method_is_held_against_its_own_setting(whole_study):
    rows = tabulate(read_study(whole_study), "dice")
    by_setting = {row.setting: row.comparison for row in rows}
    assert by_setting[Setting("mae", 5, 100, None)].reference == Setting("task_specific_kd", 5, 100, 16)
    assert by_setting[Setting("mae", 10, 200, None)].reference == Setting("task_specific_kd", 10, 200, 16)
    assert by_setting[Setting("unet", 10, None, None)].reference == Setting("task_specific_kd", 10, 200, 16)
    assert by_setting[Setting("task_specific_kd", 10, 100, 16)] is None
    assert by_setting[Setting("teacher", 10, None, 16)] is None


def test_p_values_are_corrected_for_the_whole_table(whole_study):
    compared = [row.comparison for row in tabulate(read_study(whole_study), "dice") if row.comparison]
    assert len(compared) == 2 * (2 * 3 + 2)
    smallest = min(compared, key=lambda each: each.p)
    assert smallest.p_holm == pytest.approx(min(1, len(compared) * smallest.p))
    assert all(each.p_holm >= each.p for each in compared)


def test_first_lora_rank_is_the_one_to_compare_with(tmp_path, write_study):
    methods = ("mae", "task_specific_kd")
    study = read_study(write_study(tmp_path / "study", methods, (5,), (100,), lora_ranks=(64, 16), seeds=(0,)))
    assert find_reference(study, Setting("mae", 5, 100, None)) == Setting("task_specific_kd", 5, 100, 64)
    assert {setting.lora_rank for setting in main_settings(study)} == {None, 64}


def test_without_task_specific_kd_nothing_is_compared(tmp_path, write_study):
    study = read_study(write_study(tmp_path / "study", ("mae", "scratch"), (5,), (100,), seeds=(0,)))
    assert [row.comparison for row in tabulate(study, "dice")] == [None, None]
    assert len(main_settings(study)) == 2


def test_figures_show_the_largest_transfer_set(whole_study):
    shown = main_settings(read_study(whole_study))
    assert {each.transfer_size for each in shown} == {200, None}
    assert {each.num_labels for each in shown} == {5, 10}
