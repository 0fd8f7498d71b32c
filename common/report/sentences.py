"""What a report says in sentences: its summary, and how its numbers came about."""

from __future__ import annotations

from common.report.runs import Study
from common.report.settings import REFERENCE, TEACHER, title_of
from common.report.statistics import Row, main_settings, tabulate
from common.report.tables import describe_p, describe_seeds, signed


def summary_lines(study: Study) -> list[str]:
    """Return a sentence for each number of labels: task-specific KD, the best of the others, and the teacher."""
    main = main_settings(study)
    tested = {row.setting: row for row in tabulate(study, "dice")}
    lines = []
    for reference in (each for each in main if each.method == REFERENCE):
        rows = [tested[each] for each in main if each.num_labels == reference.num_labels]
        others = [row for row in rows if row.comparison and row.estimate.mean is not None]
        own = tested[reference].estimate.mean
        if own is None:
            continue
        line = f"With {reference.labels_in_print} labelled images {title_of(REFERENCE)} has Dice {own:.3f}"
        if others:
            best = max(others, key=lambda row: _lead(row, own))
            comparison = best.comparison
            line += f"; the best of the others is {best.setting.title} with {best.estimate.mean:.3f}"
            if best.seeds != tested[reference].seeds:
                line += f", of {describe_seeds(study, best)} seeds"
            if comparison and comparison.difference is not None:
                p = describe_p(comparison)
                p = p if comparison.p_holm is None else f"p {p if p[0] == '<' else f'= {p}'}"
                line += f" (paired difference {signed(-comparison.difference, 3)}, {p})"
        teacher = [row.estimate.mean for row in rows if row.setting.method == TEACHER]
        if teacher and teacher[0] is not None:
            line += f"; its teacher has {teacher[0]:.3f}"
        lines.append(line + ".")
    return lines


def explain(study: Study) -> list[str]:
    """Say how the numbers in the tables came about."""
    several_seeds = len(study.description["seeds"]) > 1
    lines = []
    if study.stand_in:
        lines.append(
            "The teacher is the stand-in teacher, pre-trained on drawn shapes: nothing here is about foundation models."
        )
    lines += [f"The teacher: {card}." for card in study.cards]
    if several_seeds:
        lines.append(
            "Means are over the cases of all seeds. ± is the standard deviation of the means by seed. A seed sets the "
            "split and the training, so ± includes the spread of both."
        )
    else:
        lines.append("Means are over cases. One seed says nothing of the spread between trainings and splits.")
    lines.append(
        "95 % interval of the mean: bootstrap, 2,000 samples of cases, each drawn with the results of all its seeds."
    )
    reference = next((each for each in main_settings(study) if each.method == REFERENCE), None)
    if reference:
        rank = f" and LoRA rank {reference.lora_rank}" if reference.lora_rank else ""
        lines += [
            f"Difference: the row minus {title_of(REFERENCE)} with as many labels and as large a transfer set, over "
            "the cases and seeds that both have measured. Methods without a transfer set are compared with its runs on "
            f"{reference.transfer_size_in_print} images{rank}.",
            "p: two-sided Wilcoxon signed-rank test, paired by case and seed, corrected for several tests by Holm's "
            "method. A case that several seeds have measured counts once, with the mean of its differences. n is the "
            "number of cases that differ; equal ones are left out of the test and stand after the plus. Fewer than six "
            "cannot give a p below 0.05, so none is shown.",
            "p compares these trained networks only. Whether another training would agree, "
            + ('see the column "by seed".' if several_seeds else "one seed cannot say."),
        ]
    lines.append("The tests assume that cases are independent. Images of one patient are not.")
    return lines


def _lead(row: Row, own: float) -> float:
    """Return by how much a row leads on what both have measured, since the two means may be of different seeds."""
    assert row.comparison is not None  # nor is the mean: the row is one of the others
    assert row.estimate.mean is not None
    difference = row.comparison.difference
    return row.estimate.mean - own if difference is None else difference
