"""Annotation files with anything anywhere: read, or refused with a message, and never another error."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from drawn_labels import (
    BETWEEN,
    IDS,
    ON_PIXELS,
    SIZE,
    coco,
    labelme,
    labelme_shape,
    runs_of,
    source,
    via_project,
    via_region,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.datasets.readers.folder_labels import read_folder_label
from common.datasets.readers.label_survey import describe_label_files
from common.errors import InputError

CIRCLE = {"name": "ellipse", "cx": 8, "cy": 6, "rx": 2, "ry": 3, "theta": 0.5}
REGIONS = [via_region(points, kind=name) for name, points in ON_PIXELS.items()]
SOUND = {
    "VIA": via_project({"a.png": [*REGIONS, {"shape_attributes": CIRCLE, "region_attributes": {"kind": "scar"}}]}),
    "COCO": coco(
        [
            {"category": "wound", "segmentation": [[side for corner in BETWEEN["wound"] for side in corner]]},
            {"category": "scar", "segmentation": {"size": list(SIZE[::-1]), "counts": runs_of(IDS == 2)}},
        ]
    ),
    "labelme": labelme(
        [
            *(labelme_shape(name, points) for name, points in ON_PIXELS.items()),
            labelme_shape("scar", [(8, 6), (8, 3)], "circle"),
        ]
    ),
}
ODD = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        2**70,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "a.png",
        "wound",
        [],
        {},
        [[]],
        [None],
        {"a": {}},
    ]
)


def places_in(content: Any, place: tuple = ()) -> list[tuple]:
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []
    return [place, *(found for key in keys for found in places_in(content[key], (*place, key)))]


def replaced(content: Any, place: tuple, value: Any) -> Any:
    if not place:
        return value
    changed = copy.deepcopy(content)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


@pytest.mark.parametrize("tool", list(SOUND))
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_are_read_or_refused(tmp_path, tool, data):
    place = data.draw(st.sampled_from(places_in(SOUND[tool])))
    path = tmp_path / "a.json"
    path.unlink(missing_ok=True)  # lest the file before it is taken for it
    path.write_text(json.dumps(replaced(SOUND[tool], place, data.draw(ODD))), encoding="utf-8")
    describe_label_files([path])
    refusal, ids = None, np.zeros(SIZE[::-1], np.uint8)
    try:
        ids = read_folder_label({"polygons": str(path), "image": str(tmp_path / "a.png")}, source("polygons"), SIZE)
    except InputError as error:
        refusal = str(error)
    assert refusal is None or ("a.json" in refusal and "\n" not in refusal)
    assert (ids.shape, ids.dtype) == (SIZE[::-1], np.uint8)
    assert ids.max() <= 2
