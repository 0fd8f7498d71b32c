"""The table at the end of a pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.distillation.methods import find_method
from common.errors import InputError
from common.pipeline.method_record import check_method
from common.pipeline.results import results_table
from common.pipeline.timing import add_seconds


def write_summary(folder: Path, subject: str, dice: float | None) -> None:
    metrics = {name: {"mean": {"mean": dice}} for name in ("dice", "iou", "hd95")}
    summary = {"metrics": metrics, "parameters": 5_684_530, "milliseconds_per_image": 12.4, "distance_unit": "mm"}
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
    assert lines[-1] == ["student:", str(tmp_path / "model.pt")]


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
