"""Gathering: what was measured ends in results.csv, what is missing is told, what is damaged is named."""

from __future__ import annotations

import csv
import json
import math
import shutil

import numpy as np
import pytest

from common.errors import InputError
from common.report import write_report
from common.report.runs import read_study
from common.report.settings import Setting

RUN = {"method": "task_specific_kd", "num_labels": 5, "transfer_size": 100, "lora_rank": 16, "seed": 3}
GRID = {"methods": ["task_specific_kd"], "labels": [5], "transfer_sizes": [100], "lora_ranks": [16], "seeds": [3]}
VALUES = {
    "dice": np.array([[0.8125, 0.5], [0.25, float("nan")]]),
    "iou": np.array([[0.684211, 0.333333], [0.142857, float("nan")]]),
    "hd95": np.array([[3.5, 12.0416], [float("inf"), float("nan")]]),
}


@pytest.fixture
def one_run(tmp_path, write_run):
    """A study with one run of two cases and two classes, the second class absent from the second case."""
    (tmp_path / "study.json").write_text(
        json.dumps({"bundle": "chaos_segmentation", "phantoms": False, **GRID, "grids": [GRID]})
    )
    write_run(tmp_path / "runs/a", RUN, cases=["7", "12"], classes=["liver", "spleen"], values=VALUES)
    return tmp_path


def damage(study, name, text):
    path = study / "runs/a" / name
    path.write_text(text)
    return path


def test_results_have_a_row_for_each_case_and_class_as_it_was_measured(one_run, write_run):
    scratch = {"method": "scratch", "num_labels": None, "transfer_size": None, "lora_rank": None, "seed": 3}
    write_run(one_run / "runs/b", scratch, cases=["7", "12"], classes=["liver", "spleen"], values=VALUES)
    teacher = {"num_labels": 5, "lora_rank": 16, "seed": 3}
    write_run(one_run / "shared/teacher_5", teacher, cases=["7", "12"], classes=["liver", "spleen"], values=VALUES)
    write_report(one_run)
    with (one_run / "results.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[:5] == [
        ["case", "class", "method", "num_labels", "transfer_size", "lora_rank", "seed", "dice", "iou", "hd95"],
        ["7", "liver", "task_specific_kd", "5", "100", "16", "3", "0.8125", "0.684211", "3.5"],
        ["7", "spleen", "task_specific_kd", "5", "100", "16", "3", "0.5", "0.333333", "12.0416"],
        ["12", "liver", "task_specific_kd", "5", "100", "16", "3", "0.25", "0.142857", "inf"],
        ["12", "spleen", "task_specific_kd", "5", "100", "16", "3", "nan", "nan", "nan"],
    ]
    assert rows[5] == ["7", "liver", "teacher", "5", "", "16", "3", "0.8125", "0.684211", "3.5"]
    assert rows[9] == ["7", "liver", "scratch", "", "", "", "3", "0.8125", "0.684211", "3.5"]
    assert len(rows) == 13


def test_empty_value_is_undefined(one_run):
    path = one_run / "runs/a/evaluation/student/metrics.csv"
    path.write_text(path.read_text().replace("inf", ""))
    run = read_study(one_run).runs[0]
    assert math.isnan(run.values["hd95"][1, 0])
    assert run.values["hd95"][0].tolist() == [3.5, 12.0416]


def test_nothing_is_missing_from_a_whole_study(whole_study):
    study = read_study(whole_study)
    assert study.missing == []
    # Four methods with a transfer set, two without, and the teachers.
    assert len(study.runs) == 4 * 2 * 2 * 2 + 2 * 2 * 2 + 2 * 2


def test_only_runs_that_some_run_planned_can_be_missing(tmp_path, write_study):
    folder = write_study(tmp_path / "study", ("scratch", "task_specific_kd"), (5,), (100,), seeds=(0, 1))
    description = json.loads((folder / "study.json").read_text())
    description["labels"] = [5, 20]
    later = {"methods": ["scratch"], "labels": [20], "transfer_sizes": [100], "lora_ranks": [16], "seeds": [0, 1]}
    description["grids"].append(later)
    (folder / "study.json").write_text(json.dumps(description))
    assert read_study(folder).missing == [(Setting("scratch", 20, None, None), seed) for seed in (0, 1)]


def test_unfinished_and_absent_runs_are_missing(tmp_path, whole_study):
    study = shutil.copytree(whole_study, tmp_path / "study")
    (study / "runs/mae_10_200_None_1/evaluation/student/summary.json").unlink()
    shutil.rmtree(study / "runs/scratch_5_None_None_0")
    shutil.rmtree(study / "shared/teacher_5_16_1")
    gathered = read_study(study)
    assert gathered.missing == [
        (Setting("scratch", 5, None, None), 0),
        (Setting("teacher", 5, None, 16), 1),
        (Setting("mae", 10, 200, None), 1),
    ]
    assert not [run for run in gathered.runs if (run.setting, run.seed) in gathered.missing]


def test_study_without_a_finished_run_is_refused(one_run):
    (one_run / "runs/a/evaluation/student/summary.json").unlink()
    with pytest.raises(InputError, match=r"has no finished run yet: run python -m common study again"):
        write_report(one_run)
    assert not (one_run / "report.html").exists()


def test_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"study\.json does not exist: expected the output_dir of python -m common st"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", '{"method": "mae"', "cannot be read as JSON"),
        ("run.json", "[]", "expected a JSON object, got a list"),
        ("run.json", json.dumps({**RUN, "seed": "3"}), "'seed' cannot be '3'"),
        ("evaluation/student/summary.json", "", "cannot be read as JSON"),
        ("evaluation/student/summary.json", "{}", "'cases' is missing"),
        ("evaluation/student/metrics.csv", "", "has no column 'case'"),
        ("evaluation/student/metrics.csv", "case,class,dice,iou\n", "has no column 'hd95'"),
        ("evaluation/student/metrics.csv", "case,class,dice,iou,hd95\n7,liver,1,1,0\n", "one row for each case and"),
        (
            "evaluation/student/metrics.csv",
            "case,class,dice,iou,hd95\n7,liver,1,1,0\n7,spleen,a,1,0\n",
            "not a number",
        ),
        (
            "evaluation/student/metrics.csv",
            "case,class,dice,iou,hd95\n7,liver,1,1,0\n7,spleen,1,1\n",
            "not a number",
        ),
        ("evaluation/student/metrics.csv", "case,class,dice,iou,hd95\n7,liver,1,1,0\n7,spleen,1,1,0\n", "has 1 cases"),
        ("evaluation/student/overlays/7.png", "no picture", "cannot be read as an image"),
    ],
)
def test_damaged_file_is_named(one_run, name, text, message):
    path = damage(one_run, name, text)
    with pytest.raises(InputError, match=message) as error:
        write_report(one_run)
    assert str(path) in str(error.value)


def test_damaged_evaluation_is_to_be_deleted_whole(one_run):
    damage(one_run, "evaluation/student/metrics.csv", "")
    with pytest.raises(InputError, match=r"delete .*/runs/a/evaluation/student and run python -m common study again"):
        write_report(one_run)


def test_binary_rubbish_in_a_table_is_named(one_run):
    path = one_run / "runs/a/evaluation/student/metrics.csv"
    path.write_bytes(b"\xff\xfe\x00rubbish")
    with pytest.raises(InputError, match=r"metrics\.csv cannot be read"):
        write_report(one_run)


def test_same_run_twice_is_refused(one_run):
    shutil.copytree(one_run / "runs/a", one_run / "runs/b")
    with pytest.raises(InputError, match=r"b/run\.json describes the same run as .*a/run\.json"):
        write_report(one_run)


@pytest.mark.parametrize("change", [{"classes": ["liver", "kidney"]}, {"unit": "mm"}])
def test_runs_that_cannot_stand_in_one_table_are_refused(one_run, write_run, change):
    evaluation = {"cases": ["7", "12"], "classes": ["liver", "spleen"], "values": VALUES, **change}
    write_run(one_run / "runs/b", {**RUN, "seed": 4}, **evaluation)
    with pytest.raises(InputError, match="they are not of one study"):
        write_report(one_run)
