"""The tables in words: what a reader of table.md is told."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from scipy import stats

from common.errors import InputError
from common.report.runs import read_study
from common.report.tables import metric_table, size_table
from common.report.text import write_text


def text_of(folder, tmp_path):
    write_text(read_study(folder), tmp_path / "table.md")
    return (tmp_path / "table.md").read_text()


def rows_of(text, title):
    """Return the lines of one table of a Markdown text as dictionaries."""
    section = re.search(rf"## {re.escape(title)}\n\n(.*?)(\n\n|$)", text, re.DOTALL)[1]
    head, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines())
    return [dict(zip(head, line, strict=True)) for line in lines]


def measured(folder, name):
    """Return the Dice of a run of one class from its metrics.csv."""
    path = folder / "runs" / name / "evaluation/student/metrics.csv"
    return np.array([float(line.split(",")[2]) for line in path.read_text().splitlines()[1:]])


def set_dice(folder, name, dice):
    """Give all cases of a run the same Dice."""
    path = folder / "runs" / name / "evaluation/student/metrics.csv"
    head, *lines = path.read_text().splitlines()
    rows = [[*line.split(",")[:2], str(dice), *line.split(",")[3:]] for line in lines]
    path.write_text("\n".join([head, *map(",".join, rows)]) + "\n")


def test_row_tells_mean_spread_interval_difference_and_test(whole_study, tmp_path):
    rows = rows_of(text_of(whole_study, tmp_path), "Dice: lesion")
    row = next(row for row in rows if (row["labels"], row["transfer images"], row["method"]) == ("5", "100", "MAE"))
    ours = [measured(whole_study, f"mae_5_100_None_{seed}") for seed in (0, 1)]
    theirs = [measured(whole_study, f"task_specific_kd_5_100_16_{seed}") for seed in (0, 1)]
    spread = abs(ours[0].mean() - ours[1].mean()) / np.sqrt(2)
    assert row["Dice"] == f"{np.mean(ours):.3f} ± {spread:.3f}"
    assert row["median"] == f"{np.median(ours):.3f}"
    low, high = (float(bound) for bound in row["95 % interval"].split(" to "))
    assert low < np.mean(ours) < high
    difference = np.concatenate(ours) - np.concatenate(theirs)
    assert row["difference"] == f"\N{MINUS SIGN}{-difference.mean():.3f}"
    assert row["n"] == "16", "the two seeds have different cases"
    assert row["seeds"] == "2"
    assert row["IoU"] == f"{np.mean(np.array(ours) / (2 - np.array(ours))):.3f}"
    p = stats.wilcoxon(difference).pvalue
    shown = float(row["p"].removeprefix("< "))
    assert p < shown < 16 * p + 0.001, "corrected by at most the number of tests"


def test_rows_are_in_order_and_the_reference_says_so(whole_study, tmp_path):
    rows = rows_of(text_of(whole_study, tmp_path), "Dice: lesion")
    pretrained = ["task-specific KD", "task-agnostic KD", "MoCo v3", "MAE"]
    others = ["from scratch", "U-Net", "fine-tuned teacher"]
    expected = [("100", name) for name in pretrained] + [("200", name) for name in pretrained]
    expected += [("-", name) for name in others]
    found = [(row["labels"], row["transfer images"], row["method"]) for row in rows]
    assert found == [(labels, *each) for labels in ("5", "10") for each in expected]
    assert {row["difference"] for row in rows if row["method"] == "task-specific KD"} == {"reference"}


def test_summary_names_the_best_of_the_others(whole_study, tmp_path):
    text = text_of(whole_study, tmp_path)
    sentence = (
        r"- With (\d+) labelled images task-specific KD has Dice 0\.\d{3}; the best of the others is ([\w-]+) with "
        r"0\.\d{3} \(paired difference \+0\.\d{3}, p .*?\); its teacher has 0\.\d{3}\.\n"
    )
    lines = re.findall(sentence, text)
    assert lines == [("5", "U-Net"), ("10", "U-Net")]


def test_summary_does_not_hold_means_of_other_seeds_against_each_other(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("mae", "scratch", "task_specific_kd"), (5,), (100,), seeds=(0, 1))
    easy, hard = 0.9, 0.3
    for seed, best in enumerate((easy, hard)):
        set_dice(folder, f"task_specific_kd_5_100_16_{seed}", best)
        set_dice(folder, f"scratch_5_None_None_{seed}", best - 0.2)
    set_dice(folder, "mae_5_100_None_0", easy - 0.3)
    shutil.rmtree(folder / "runs/mae_5_100_None_1")
    text = text_of(folder, tmp_path)
    assert "has Dice 0.600; the best of the others is from scratch with 0.400 (paired difference +0.200" in text
    shutil.rmtree(folder / "runs/scratch_5_None_None_1")
    text = text_of(folder, tmp_path)
    assert "the best of the others is from scratch with 0.700, of 1 of 2 seeds (paired difference +0.200" in text


def test_one_seed_shows_no_spread(tmp_path, write_study):
    text = text_of(write_study(tmp_path / "study", seeds=(4,)), tmp_path)
    assert "±" not in text.partition("## Size")[0]
    assert "One seed says nothing of the spread between trainings and splits." in text


def test_several_classes_have_a_table_each_and_one_for_their_mean(tmp_path, write_study):
    folder = write_study(tmp_path / "study", labels=(5,), transfer_sizes=(100,), classes=("liver", "spleen"))
    titles = re.findall(r"^## (.*)$", text_of(folder, tmp_path), re.MULTILINE)
    assert titles == [
        "Dice: mean over classes", "Dice: liver", "Dice: spleen", "HD95: mean over classes", "HD95: liver",
        "HD95: spleen", "Size and speed", "How to read this",
    ]  # fmt: skip


def test_several_lora_ranks_are_told_apart(tmp_path, write_study):
    folder = write_study(tmp_path / "study", labels=(5,), transfer_sizes=(100,), lora_ranks=(64, 16))
    smaller, larger, other, *_ = rows_of(text_of(folder, tmp_path), "Dice: lesion")
    assert (smaller["method"], smaller["difference"][0]) in [
        ("task-specific KD, rank 16", sign) for sign in ("+", "\N{MINUS SIGN}")
    ], "the rank given first is the reference of the other one"
    assert (larger["method"], larger["difference"]) == ("task-specific KD, rank 64", "reference")
    assert other["method"] == "task-agnostic KD"


def test_one_method_alone_has_a_report(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("scratch",), (5,), (100,), seeds=(0,))
    text = text_of(folder, tmp_path)
    (row,) = rows_of(text, "Dice: lesion")
    assert (row["method"], row["difference"], row["p"], row["n"]) == ("from scratch", "-", "-", "-")
    assert "Wilcoxon" not in text


def test_too_few_cases_are_said(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("mae", "task_specific_kd"), (5,), (100,), seeds=(0,), num_cases=4)
    row = rows_of(text_of(folder, tmp_path), "Dice: lesion")[1]
    assert (row["method"], row["p"], row["n"]) == ("MAE", "too few cases", "4")


def test_undefined_distances_are_counted_and_said(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("mae", "task_specific_kd"), (5,), (100,), seeds=(0,))
    path = folder / "runs/mae_5_100_None_0/evaluation/student/metrics.csv"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ",inf"
    lines[2] = lines[2].rpartition(",")[0] + ","
    path.write_text("\n".join(lines) + "\n")
    text = text_of(folder, tmp_path)
    assert [row["undefined"] for row in rows_of(text, "HD95: lesion")] == [
        "0 of 8",
        "2 of 8",
        "0 of 8",
    ]
    assert "HD95 is undefined in 2 of 24 measurements" in text
    assert "2 pairs are left out of the tests" in text
    assert rows_of(text, "HD95: lesion")[1]["n"] == "6"


@pytest.mark.parametrize("base_name", ["embedded", "facebook/sam-vit-base"])
def test_the_stand_in_teacher_is_called_so(tmp_path, write_study, base_name):
    folder = write_study(tmp_path / "study", ("task_specific_kd",), (5,), (100,), seeds=(0,))
    (folder / "shared/teacher_5_16_0/teacher").mkdir()
    (folder / "shared/teacher_5_16_0/teacher/teacher.json").write_text(json.dumps({"base_name": base_name}))
    assert ("The teacher is the stand-in teacher" in text_of(folder, tmp_path)) == (base_name == "embedded")


@pytest.mark.parametrize("teacher", ["embedded", "facebook/sam-vit-base", None])
def test_the_stand_in_teacher_of_a_student_is_called_so_without_a_fine_tuned_one(tmp_path, write_study, teacher):
    folder = write_study(tmp_path / "study", ("task_agnostic_kd",), (5,), (100,), seeds=(0,))
    (run,) = (folder / "runs").iterdir()
    record = {"weights": "a hash", "provenance": {"teacher": teacher, "method": "task_agnostic_kd"}}
    (run / "model.provenance.json").write_text(json.dumps(record))
    assert ("The teacher is the stand-in teacher" in text_of(folder, tmp_path)) == (teacher == "embedded")


CARD = {"name": "LiteMedSAM", "licence": "Apache-2.0", "trained_on": "some images", "overlap": "maybe BUSI"}


def write_teacher_record(folder, **record):
    for teacher in (folder / "shared").glob("teacher_*"):
        (teacher / "teacher").mkdir()
        (teacher / "teacher/teacher.json").write_text(json.dumps(record))


def test_what_a_foundation_model_was_trained_on_is_said_once(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("task_specific_kd",), (5,), (100,), seeds=(0, 1))
    write_teacher_record(folder, base_name="LiteMedSAM", card={**CARD, "seen": "not known"})
    text = text_of(folder, tmp_path)
    assert text.count("- The teacher: LiteMedSAM (Apache-2.0) was trained on some images; maybe BUSI.\n") == 1


@pytest.mark.parametrize("record", [{"base_name": "embedded", "card": CARD}, {"base_name": "a", "card": None}, {}])
def test_of_the_stand_in_and_of_unknown_weights_nothing_is_said(tmp_path, write_study, record):
    folder = write_study(tmp_path / "study", ("task_specific_kd",), (5,), (100,), seeds=(0,))
    write_teacher_record(folder, **record)
    assert "The teacher: " not in text_of(folder, tmp_path)


@pytest.mark.parametrize("card", ["LiteMedSAM", {"name": "LiteMedSAM"}, [1]])
def test_a_damaged_card_is_named(tmp_path, write_study, card):
    folder = write_study(tmp_path / "study", ("task_specific_kd",), (5,), (100,), seeds=(0,))
    write_teacher_record(folder, base_name="LiteMedSAM", card=card)
    with pytest.raises(InputError, match=r"teacher\.json: 'card' cannot be"):
        text_of(folder, tmp_path)


@pytest.mark.parametrize("phantoms", [True, False])
def test_phantoms_are_called_phantoms(tmp_path, write_study, phantoms):
    folder = write_study(tmp_path / "study", ("scratch",), (5,), (100,), seeds=(0,), phantoms=phantoms)
    assert ("> **Phantoms.** These images are phantoms" in text_of(folder, tmp_path)) == phantoms


def test_missing_runs_are_listed(tmp_path, whole_study):
    study = shutil.copytree(whole_study, tmp_path / "study")
    for seed in (0, 1):
        shutil.rmtree(study / f"runs/mae_10_200_None_{seed}")
    shutil.rmtree(study / "runs/mocov3_5_100_None_1")
    text = text_of(study, tmp_path)
    assert "> **Partial.** 3 planned evaluations are not finished; everything below is without them." in text
    assert "> - MoCo v3, 5 labels, 100 transfer images: seed 1\n" in text
    assert "> - MAE, 10 labels, 200 transfer images: seeds 0, 1\n" in text
    seeds = {
        (row["labels"], row["transfer images"], row["method"]): row["seeds"] for row in rows_of(text, "Dice: lesion")
    }
    assert seeds["5", "100", "MoCo v3"] == "1 of 2"
    assert ("10", "200", "MAE") not in seeds


def test_size_and_speed_are_held_against_the_teacher(whole_study):
    table = size_table(read_study(whole_study))
    assert table.rows[0][:3] == ["fine-tuned teacher", "93,735,472", "60.0"]
    assert table.rows[1] == ["student", "5,684,530", "12.0", "12.0 to 12.0", "6.06 %", "5 \N{MULTIPLICATION SIGN}"]


def test_distance_unit_is_that_of_the_study(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("scratch",), (5,), (100,), seeds=(0,))
    path = folder / "runs/scratch_5_None_None_0/evaluation/student/summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "distance_unit": "mm"}))
    assert metric_table(read_study(folder), "hd95").head[3] == "HD95 (mm)"
