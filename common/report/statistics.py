"""Statistics of the runs of a study: means over cases and seeds, intervals, and paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from common.evaluation.summary import mean_over_classes, summarise
from common.report.runs import Run, Study
from common.report.settings import REFERENCE, TEACHER, Setting, has_transfer_set

# The exact two-sided test on n differences cannot give less than 2 / 2**n, which for five is 0.0625.
_FEWEST_DIFFERENCES = 6


class Estimate(NamedTuple):
    """One metric of one setting, for a class or the mean over classes."""

    mean: float | None  # over the cases of all seeds; None if it is nowhere defined
    median: float | None  # of the same, each case by its mean over classes
    sd: float | None  # of the seeds' means; None if there is but one
    ci95: tuple[float, float] | None  # of the mean, by a bootstrap that draws cases
    undefined: int  # measurements that are left out, of a case and a class each
    measurements: int  # with those


class Comparison(NamedTuple):
    """A paired test of one setting against the reference."""

    reference: Setting
    difference: float | None  # mean over all pairs, setting minus reference
    by_seed: tuple[float, ...]  # the same for each seed that has pairs
    cases: int  # with a difference
    pairs: int  # of case and seed
    equal: int  # cases without any difference, which the test leaves out
    left_out: int  # pairs of case and seed that one of the two has not measured
    p: float | None  # None if there is nothing to test; see `why_not`
    why_not: str | None
    p_holm: float | None  # corrected for all tests of one table


class Row(NamedTuple):
    """A line of a table."""

    setting: Setting
    seeds: tuple[int, ...]
    estimate: Estimate
    comparison: Comparison | None  # None for the reference and the teacher


def tabulate(study: Study, metric: str, class_name: str | None = None) -> list[Row]:
    """Return a line for every setting of a study, each but the teacher's tested against task-specific KD.

    Args:
        study: whose runs are tabulated.
        metric: ``dice``, ``iou`` or ``hd95``.
        class_name: one structure; by default the mean over those that a case has.
    """
    settings = study.by_setting()
    rows = []
    for setting, runs in settings.items():
        reference = find_reference(study, setting)
        comparison = None
        if reference not in (None, setting) and setting.method != TEACHER:
            comparison = compare(runs, settings[reference], metric, class_name)
        rows.append(Row(setting, tuple(run.seed for run in runs), estimate(runs, metric, class_name), comparison))
    compared = [(index, row.comparison) for index, row in enumerate(rows) if row.comparison]
    tested = [(index, each, each.p) for index, each in compared if each.p is not None]
    corrected = correct_by_holm([p for *_, p in tested])
    for (index, each, _), p in zip(tested, corrected, strict=True):
        rows[index] = rows[index]._replace(comparison=each._replace(p_holm=p))
    return rows


def find_reference(study: Study, setting: Setting) -> Setting | None:
    """Return the setting of task-specific KD that another one is compared with, None if no run of it is finished.

    It has as many labels and as large a transfer set; where the other one has none, the largest. Of several LoRA ranks
    it is the first that the study was given.
    """
    candidates = [
        each
        for each in study.by_setting()
        if each.method == REFERENCE
        and each.num_labels == setting.num_labels
        and setting.transfer_size in (None, each.transfer_size)
    ]
    return max(candidates, key=lambda each: _preference(study, each), default=None)


def main_settings(study: Study) -> dict[Setting, list[Run]]:
    """Return the runs that figures and pictures show: those of one transfer-set size and one LoRA rank.

    They are the size and rank of task-specific KD that :func:`find_reference` takes.
    """
    settings = study.by_setting()
    with_transfer_set = [each for each in settings if has_transfer_set(each.method)]
    best = max(with_transfer_set or settings, key=lambda each: (each.method == REFERENCE, *_preference(study, each)))
    ranks = [each for each in settings if each.lora_rank is not None]
    rank = max(ranks, key=lambda each: _preference(study, each)).lora_rank if ranks else None
    return {
        setting: runs
        for setting, runs in settings.items()
        if (setting.transfer_size == best.transfer_size or not has_transfer_set(setting.method))
        and setting.lora_rank in (None, rank)
    }


def _preference(study: Study, setting: Setting) -> tuple[int, float]:
    """Return a key that is greatest for the LoRA rank that was given first, then for the largest transfer set."""
    ranks = study.description["lora_ranks"]
    rank = ranks.index(setting.lora_rank) if setting.lora_rank in ranks else len(ranks)
    return -rank, float("inf") if setting.transfer_size is None else setting.transfer_size


def estimate(runs: Sequence[Run], metric: str, class_name: str | None = None) -> Estimate:
    """Return the mean of a metric over cases and seeds, and how sure it is.

    Args:
        runs: of one setting, one for each seed.
        metric: as for :func:`tabulate`.
        class_name: as for :func:`tabulate`.
    """
    values = np.concatenate([_of_class(run, metric, class_name) for run in runs])
    cases = [case for run in runs for case in run.cases]
    # The results of several seeds on one case are not independent, so they are drawn together.
    summary = summarise(values, [str(column) for column in range(values.shape[1])], groups=cases)["mean"]
    means = [mean_over_classes(_of_class(run, metric, class_name)) for run in runs]
    seed_means = [np.nanmean(column) for column in means if np.isfinite(column).any()]
    measured = np.concatenate(means)
    measured = measured[np.isfinite(measured)]
    return Estimate(
        summary["mean"],
        float(np.median(measured)) if len(measured) else None,
        float(np.std(seed_means, ddof=1)) if len(seed_means) > 1 else None,
        tuple(summary["ci95"]) if summary["ci95"] else None,
        int((~np.isfinite(values)).sum()),
        values.size,
    )


def compare(runs: Sequence[Run], reference: Sequence[Run], metric: str, class_name: str | None = None) -> Comparison:
    """Test the differences between two settings by Wilcoxon's signed-rank test, paired by case and seed.

    A case that several seeds have measured counts once in the test, with the mean of its differences, since the test
    assumes that its differences are independent. The mean difference is over all pairs, as the settings' own means are.
    The test is about cases: it does not know that all cases of a seed share one training of each setting.

    Args:
        runs: of one setting.
        reference: the runs to compare them with.
        metric: as for :func:`tabulate`.
        class_name: as for :func:`tabulate`.
    """
    ours, theirs = _by_case_and_seed(runs, metric, class_name), _by_case_and_seed(reference, metric, class_name)
    by_case: dict[str, list[float]] = {}
    by_seed: dict[int, list[float]] = {}
    shared = sorted(ours.keys() & theirs.keys())
    left_out = 0
    for case, seed in shared:
        # Means over different classes cannot be compared: a class counts where both have measured it.
        difference = mean_over_classes((ours[case, seed] - theirs[case, seed])[None])[0]
        if np.isfinite(difference):
            by_case.setdefault(case, []).append(difference)
            by_seed.setdefault(seed, []).append(difference)
        else:
            left_out += 1
    # The tables are written with six digits: what is smaller than their rounding would break ties.
    differences = np.array([np.mean(each) for each in by_case.values()]).round(9)
    equal = int((differences == 0).sum())
    p, why_not = None, None
    if not len(differences):
        why_not = "no pairs"
    elif equal == len(differences):
        why_not = "no differences"
    elif len(differences) - equal < _FEWEST_DIFFERENCES:
        why_not = "too few cases"
    else:
        p = float(stats.wilcoxon(differences, zero_method="wilcox").pvalue)
    return Comparison(
        reference=reference[0].setting,
        difference=float(np.mean([each for values in by_case.values() for each in values])) if by_case else None,
        by_seed=tuple(float(np.mean(by_seed[seed])) for seed in sorted(by_seed)),
        cases=len(differences),
        pairs=len(shared) - left_out,
        equal=equal,
        left_out=left_out,
        p=p,
        why_not=why_not,
        p_holm=None,
    )


def correct_by_holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being several (Holm, 1979, Scandinavian Journal of Statistics 6:65)."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _of_class(run: Run, metric: str, class_name: str | None) -> np.ndarray:
    """Return values ``(cases, classes)``, of one class or all of them, nan where they are undefined."""
    values = np.where(np.isfinite(run.values[metric]), run.values[metric], np.nan)
    if class_name is None:
        return values
    column = run.classes.index(class_name)
    return values[:, column : column + 1]


def _by_case_and_seed(runs: Sequence[Run], metric: str, class_name: str | None) -> dict[tuple[str, int], np.ndarray]:
    return {
        (case, run.seed): values
        for run in runs
        for case, values in zip(run.cases, _of_class(run, metric, class_name), strict=True)
    }
