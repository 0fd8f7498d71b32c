"""Issues are raised together."""

import pytest

from common.datasets.issues import DatasetIssues
from common.errors import InputError


def test_issues_are_raised_together():
    issues = DatasetIssues("DRIVE", "/data/DRIVE")
    issues.raise_if_any()
    issues.add("a.tif: no label")
    with issues.collect():
        raise InputError("b.tif: empty")
    with pytest.raises(InputError) as caught:
        issues.raise_if_any()
    assert str(caught.value).splitlines() == [
        "DRIVE in /data/DRIVE: 2 issues",
        "  - a.tif: no label",
        "  - b.tif: empty",
    ]


def test_files_are_named_from_a_folder(tmp_path):
    issues = DatasetIssues("DRIVE", tmp_path)
    with issues.collect(tmp_path):
        raise InputError(f"{tmp_path}/masks/a.png: the file is empty, unlike {tmp_path}/masks/b.png")
    assert issues.messages == ["masks/a.png: the file is empty, unlike masks/b.png"]


def test_only_input_errors_are_collected():
    with pytest.raises(ZeroDivisionError), DatasetIssues("DRIVE", "").collect():
        raise ZeroDivisionError


def test_many_issues_are_counted_and_cut_short():
    issues = DatasetIssues("DRIVE", "/data")
    for number in range(33):
        issues.add(f"{number}.tif: empty")
    with pytest.raises(InputError) as caught:
        issues.raise_if_any()
    lines = str(caught.value).splitlines()
    assert "33 issues" in lines[0]
    assert len(lines) == 22
    assert lines[-1].strip() == "... and 13 more"


def test_an_issue_of_many_images_is_listed_once():
    issues = DatasetIssues("wounds", "data")
    for _ in range(3):
        issues.add("coco.json: has no category 7")
    assert issues.messages == ["coco.json: has no category 7"]
