"""The table at the end of a pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.distillation.methods import find_method
from common.errors import InputError
from common.pipeline.method_record import check_method
from common.pipeline.results import results_table
from common.pipeline.settings_record import describe_changes, noted_settings
from common.pipeline.timing import add_seconds


def write_summary(folder: Path, subject: str, dice: float | None, alone: bool | None = True) -> None:
    metrics = {name: {"mean": {"mean": dice}} for name in ("dice", "iou", "hd95")}
    summary = {"metrics": metrics, "parameters": 5_684_530, "milliseconds_per_image": 12.4, "distance_unit": "mm"}
    summary["measured_alone"] = alone
    path = folder / "evaluation" / subject / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(summary))


def test_teacher_and_student_stand_in_one_table(tmp_path):
    write_summary(tmp_path, "teacher", 0.91)
    write_summary(tmp_path, "student", None)
    (tmp_path / "model.pt").touch()
    lines = [line.split() for line in results_table(tmp_path).splitlines()]
    assert lines[1] == ["Dice", "IoU", "HD95", "(mm)", "parameters", "ms", "per", "case"]
    assert lines[2] == ["teacher", "0.910", "0.910", "0.9", "5,684,530", "12"]
    assert lines[3] == ["student", "-", "-", "-", "5,684,530", "12"]
    assert ["student:", str(tmp_path / "model.pt")] in lines
    assert "HD95: 95 % of the border of a mask is at most so far from the label's, in mm" in results_table(tmp_path)


def test_the_next_command_ends_the_table(tmp_path):
    folder = tmp_path / "a run"
    write_summary(folder, "student", 0.9)
    (folder / "model.pt").touch()
    last = results_table(folder).splitlines()[-1]
    command = f"task-distill predict FOLDER_WITH_IMAGES --weights '{folder / 'model.pt'}' --output_dir new_masks"
    assert last == f"next: {command}"


def test_files_in_the_current_folder_are_named_as_they_would_be_given(tmp_path, monkeypatch):
    write_summary(tmp_path / "runs" / "wounds", "student", 0.9)
    (tmp_path / "runs" / "wounds" / "model.pt").touch()
    monkeypatch.chdir(tmp_path)
    text = results_table((tmp_path / "runs" / "wounds").resolve())
    assert str(tmp_path) not in text
    assert "pictures: runs/wounds/evaluation/student/overlays" in text
    assert "--weights runs/wounds/model.pt " in text


@pytest.mark.parametrize("alone", [False, None])
def test_times_that_were_not_measured_alone_are_left_out_and_it_is_said_why(alone, tmp_path):
    write_summary(tmp_path, "student", 0.9, alone)
    text = results_table(tmp_path)
    assert text.splitlines()[2].split() == ["student", "0.900", "0.900", "0.9", "5,684,530", "-"]
    assert "ms per case: -, since other programs used the processors" in text


def test_beside_the_stand_in_stands_what_it_stands_for(tmp_path):
    write_summary(tmp_path, "teacher", 0.5)
    write_summary(tmp_path, "student", 0.9)
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "teacher.json").write_text(json.dumps({"base_name": "embedded"}))
    lines = results_table(tmp_path).splitlines()
    assert lines[2].startswith("stand-in teacher ")
    assert lines[3].split("  ")[0] == "SAM (ViT-B), as published"
    assert lines[3].split()[-5:] == ["-", "-", "-", "93,735,472", "-"]
    assert "was not measured" in lines[7]
    assert len({line.rindex(line.split()[-2]) + len(line.split()[-2]) for line in lines[2:5]}) == 1, "in one column"


@pytest.mark.parametrize(
    ("base_name", "title"), [("embedded", "stand-in teacher"), ("facebook/sam-vit-base", "teacher")]
)
def test_the_stand_in_teacher_is_called_so(tmp_path, base_name, title):
    write_summary(tmp_path, "teacher", 0.91)
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "teacher.json").write_text(json.dumps({"base_name": base_name}))
    assert results_table(tmp_path).splitlines()[2].partition("  ")[0] == title


def test_without_an_evaluation_there_is_no_table(tmp_path):
    assert results_table(tmp_path) == ""


@pytest.mark.parametrize(
    "content", [b"\x80{", b"{", b"[]", b"{}", b'{"metrics": 7, "parameters": 1, "milliseconds_per_image": 1}']
)
def test_a_damaged_summary_is_named(tmp_path, content):
    write_summary(tmp_path, "student", 0.9)
    path = tmp_path / "evaluation" / "student" / "summary.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"student/summary\.json.*: |damaged") as caught:
        results_table(tmp_path)
    assert str(caught.value).endswith("delete it, and run the same command again")


@pytest.mark.parametrize("content", [b"\x80", b"{", b"[1]"])
def test_damaged_records_of_a_pipeline_are_named(tmp_path, content):
    (tmp_path / "seconds.json").write_bytes(content)
    (tmp_path / "method.json").write_bytes(content)
    with pytest.raises(InputError, match=r"seconds\.json.*delete it"):
        add_seconds(tmp_path, "train", 1.0)
    with pytest.raises(InputError, match=r"method\.json.*delete it"):
        check_method(tmp_path, ["distill"], find_method("mae"))


def test_values_of_another_kind_in_records_of_a_pipeline_are_named(tmp_path):
    (tmp_path / "seconds.json").write_text('{"train": "long"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"seconds\.json: train is 'long', expected a number; delete it"):
        add_seconds(tmp_path, "train", 1.0)
    (tmp_path / "settings.json").write_text('{"distill": {}, "train": 7}', encoding="utf-8")
    expected = r"settings\.json: train is 7, expected an object; delete it"
    for stage in ("train", "distill"):
        with pytest.raises(InputError, match=expected):
            describe_changes(tmp_path, stage, {"epochs": 3})
        with pytest.raises(InputError, match=expected), noted_settings(tmp_path, stage, {"epochs": 3}):
            pytest.fail("the stage was run")
