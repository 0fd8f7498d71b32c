"""The tables of a report, as text for Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.evaluation.metrics import DIGITS, TITLES
from common.report.runs import Run, Study
from common.report.settings import REFERENCE, TEACHER, is_aside, title_of
from common.report.statistics import Comparison, Row, estimate, tabulate


class Table(NamedTuple):
    """A table in words."""

    title: str
    head: list[str]
    rows: list[list[str]]
    methods: list[str]  # the method of each row
    notes: list[str]

    def to_markdown(self) -> str:
        """Return the table in Markdown, its notes below it."""
        lines = [f"| {' | '.join(line)} |" for line in (self.head, ["---"] * len(self.head), *self.rows)]
        return "\n".join([*lines, "", *self.notes]).rstrip()


def metric_table(study: Study, metric: str, class_name: str | None = None) -> Table:
    """Return the table of one metric: a line for each setting, with intervals and tests.

    Args:
        study: what is reported on.
        metric: ``dice`` or ``hd95``.
        class_name: one structure; by default the mean over those that a case has.
    """
    rows = tabulate(study, metric, class_name)
    several_ranks = len({row.setting.lora_rank for row in rows} - {None}) > 1
    unit = f" ({study.distance_unit})" if metric == "hd95" else ""
    head = ["labels", "transfer images", "method", f"{TITLES[metric]}{unit}", "median", "95 % interval", "difference"]
    several_seeds = len(study.description["seeds"]) > 1
    head += [*(["by seed"] if several_seeds else []), "p", "n", "IoU" if metric == "dice" else "undefined", "seeds"]
    runs = study.by_setting()
    lines = []
    for row in rows:
        setting = row.setting
        name = f"{setting.title}, rank {setting.lora_rank}" if several_ranks and setting.lora_rank else setting.title
        line = [setting.labels_in_print, setting.transfer_size_in_print, name]
        line += [_describe_mean(row, metric), _describe_median(row, metric), _describe_interval(row, metric)]
        line += _describe_test(row, metric, several_seeds)
        if metric == "dice":
            iou = estimate(runs[setting], "iou", class_name).mean
            line.append("-" if iou is None else f"{iou:.{DIGITS['iou']}f}")
        else:
            line.append(f"{row.estimate.undefined} of {row.estimate.measurements}")
        lines.append([*line, describe_seeds(study, row)])
    subject = class_name or ("mean over classes" if len(study.classes) > 1 else study.classes[0])
    title = f"{TITLES[metric]}: {subject}"
    return Table(title, head, lines, [row.setting.method for row in rows], _table_notes(rows, metric))


def describe_seeds(study: Study, row: Row) -> str:
    """Return how many seeds a row has, and of how many where some are missing."""
    planned = len(row.seeds) + sum(setting == row.setting for setting, _ in study.missing)
    return str(planned) if len(row.seeds) == planned else f"{len(row.seeds)} of {planned}"


def _describe_mean(row: Row, metric: str) -> str:
    mean, sd, digits = row.estimate.mean, row.estimate.sd, DIGITS[metric]
    if mean is None:
        return "undefined"
    return f"{mean:.{digits}f}" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def _describe_median(row: Row, metric: str) -> str:
    return "-" if row.estimate.median is None else f"{row.estimate.median:.{DIGITS[metric]}f}"


def _describe_interval(row: Row, metric: str) -> str:
    if row.estimate.ci95 is None:
        return "-"
    return " to ".join(f"{bound:.{DIGITS[metric]}f}" for bound in row.estimate.ci95)


def _describe_test(row: Row, metric: str, several_seeds: bool) -> list[str]:
    """Return the difference, where there are several seeds that of each, p and n."""
    comparison = row.comparison
    if comparison is None:
        return ["reference" if row.setting.method == REFERENCE else "-", *["-"] * (2 + several_seeds)]
    difference = "-" if comparison.difference is None else signed(comparison.difference, DIGITS[metric])
    equal = f" + {comparison.equal} equal" if comparison.equal else ""
    by_seed = ", ".join(signed(each, DIGITS[metric]) for each in comparison.by_seed) or "-"
    return [
        difference,
        *[by_seed] * several_seeds,
        describe_p(comparison),
        f"{comparison.cases - comparison.equal}{equal}",
    ]


def describe_p(comparison: Comparison) -> str:
    """Return the corrected p-value in print, or why there is none."""
    if comparison.p_holm is None:
        return comparison.why_not or "-"
    return "< 0.001" if comparison.p_holm < 0.001 else f"{comparison.p_holm:.3f}"


def signed(number: float, digits: int) -> str:
    """Return a number with its sign, and with a true minus."""
    return f"{number:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _table_notes(rows: Sequence[Row], metric: str) -> list[str]:
    notes = []
    comparisons = [row.comparison for row in rows if row.comparison]
    tests = sum(each.p is not None for each in comparisons)
    if tests:
        notes.append(f"p is corrected for the {tests} tests of this table." if tests > 1 else "One test: p as it is.")
    left_out = sum(each.left_out for each in comparisons)
    if left_out:
        notes.append(f"{left_out} pairs are left out of the tests: {TITLES[metric]} is undefined in one or both.")
    undefined = sum(row.estimate.undefined for row in rows)
    if undefined:
        of_all = sum(row.estimate.measurements for row in rows)
        notes.append(f"{TITLES[metric]} is undefined in {undefined} of {of_all} measurements, {_WHY[metric]}")
    return notes


_WHY = {
    "dice": "of structures that the label does not have; they are left out of the means.",
    "hd95": "where prediction or label has nothing of a structure; they are left out of the means, which therefore do "
    "not charge a method for structures that it misses altogether: read HD95 together with Dice.",
}


def all_metric_tables(study: Study, metric: str) -> list[Table]:
    """Return the table of the mean over classes, and where there are several, one for each class."""
    classes = study.classes if len(study.classes) > 1 else ()
    return [metric_table(study, metric, name) for name in (None, *classes)]


def size_table(study: Study) -> Table:
    """Return the table of parameters and speed: the teachers, the student and the reference network."""
    networks: dict[tuple[str, int], list[Run]] = {}
    for setting, runs in study.by_setting().items():
        kind = setting.title if is_aside(setting.method) else "student"
        for run in runs:
            networks.setdefault((kind, run.parameters), []).append(run)
    ordered = sorted(networks, key=lambda each: (each[0] != title_of(TEACHER), each[0] != "student", each[1]))
    teachers = [each for each in ordered if each[0] == title_of(TEACHER)]
    base = teachers[0] if teachers else None
    head = ["network", "parameters", "ms per case", "range", "of the teacher's size", "speed to the teacher's"]
    rows = []
    for kind, parameters in ordered:
        times = [run.milliseconds_per_image for run in networks[kind, parameters]]
        line = [kind, f"{parameters:,}", f"{np.median(times):.1f}", f"{min(times):.1f} to {max(times):.1f}"]
        if base:
            pace = np.median([run.milliseconds_per_image for run in networks[base]]) / np.median(times)
            line += [f"{100 * parameters / base[1]:.3g} %", f"{pace:.2g} \N{MULTIPLICATION SIGN}"]
        else:
            line += ["-", "-"]
        rows.append(line)
    notes = [
        "Milliseconds of inference for one case, on the machine of the study: median and range of the evaluations."
    ]
    return Table("Size and speed", head, rows, [networks[each][0].setting.method for each in ordered], notes)
