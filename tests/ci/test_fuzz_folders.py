"""The fuzzer's oracles for images of one's own: labels as they were drawn are right, any others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fuzzing import folders, polygons
from fuzzing.outcomes import Kind
from fuzzing.targets import Target

PLAN = {"layout": "csv", "format": "ids", "change": "sep", "name": "a b {}", "count": 6, "seed": 3, "which": 1}
OUTLINES = {"tool": "coco", "change": None, "boxes": [[[1, 2, 5, 6], [10, 9, 4, 7]]] * 6}


def verdict(target: Target, plan: dict, place: Path, change: str | None = None) -> Kind:
    """Return what the oracle says of the labels that are read, one pixel of one changed, or one image left out."""
    (place / "in").mkdir(parents=True)
    target.make(plan, place, place)
    result = target.run(plan, place)
    name = sorted(result["labels"])[2]
    if change == "pixel":
        result["labels"][name] = result["labels"][name].copy()
        result["labels"][name][5, 7] ^= 1
    elif change == "lost":
        del result["labels"][name]
    return target.judge(plan, place, result, "").kind


@pytest.mark.parametrize(("target", "plan"), [(folders.FOLDER, PLAN), (polygons.POLYGONS, OUTLINES)])
def test_labels_as_drawn_are_right_and_others_are_not(target, plan, tmp_path):
    assert verdict(target, plan, tmp_path / "1") is Kind.RIGHT
    assert verdict(target, plan, tmp_path / "2", "pixel") is Kind.SILENT
    assert verdict(target, plan, tmp_path / "3", "lost") is Kind.SILENT
    assert target.accepts(plan, tmp_path)


def test_what_is_harmful_must_not_be_read(tmp_path):
    assert not folders.FOLDER.accepts({**PLAN, "change": "row twice"}, tmp_path)
    assert not polygons.POLYGONS.accepts({**OUTLINES, "change": "unknown name"}, tmp_path)
    drawn = {f"photos/{index}.png": polygons._ids(OUTLINES, index) for index in range(6)}
    plan = {**OUTLINES, "change": "unknown name"}
    assert polygons.POLYGONS.judge(plan, tmp_path, {"labels": drawn, "notes": []}, "").kind is Kind.SILENT


@pytest.mark.parametrize("layout", folders._LAYOUTS)
def test_every_layout_has_all_classes(layout, tmp_path):
    plan = {**PLAN, "layout": layout, "change": None}
    ids = folders.ids_of(plan, 0)
    assert set(np.unique(ids).tolist()) == {0, 1, 2}
    assert verdict(folders.FOLDER, plan, tmp_path) is Kind.RIGHT
