"""Labels of KidneyUS, joined from masks."""

import csv
import json

import numpy as np
import pytest
from integration import refused
from PIL import Image

from common.datasets.readers.kidneyus import LoadKidneyLabeld, read_label


def write_masks(folder, number, capsule, regions):
    files = {"image": "not read"}
    for kind, rows in (("capsule", capsule), ("regions", regions)):
        path = folder / f"{kind}_{number}.png"
        Image.fromarray(np.array(rows, np.uint8)).save(path)
        files[kind] = str(path)
    return files


def test_intersection_keeps_a_class_where_both_agree(tmp_path):
    first = write_masks(tmp_path, 1, [[1, 1, 1, 1, 1, 0]], [[1, 2, 3, 0, 0, 3]])
    second = write_masks(tmp_path, 2, [[1, 1, 1, 1, 0, 0]], [[1, 3, 0, 0, 0, 3]])
    assert read_label([first, second]).tolist() == [[1, 0, 0, 4, 0, 3]]
    regions = [{kind: files[kind] for kind in ("regions", "image")} for files in (first, second)]
    assert read_label(regions).tolist() == [[1, 0, 0, 0, 0, 3]]


def test_transform_leaves_alone_what_has_no_label_if_told_so():
    assert LoadKidneyLabeld("label", allow_missing_keys=True)({"image": 1}) == {"image": 1}
    with pytest.raises(KeyError, match="label"):
        LoadKidneyLabeld("label")({"image": 1})


def test_polygons_beyond_their_image_are_refused(tmp_path):
    Image.new("L", (20, 10)).save(tmp_path / "a.png")
    table = tmp_path / "labels.csv"
    for corner, fits in ((20, True), (21, False)):
        shape = {"name": "polygon", "all_points_x": [2, corner, 2], "all_points_y": [2, 2, 9]}
        with table.open("w", newline="") as file:
            rows = csv.DictWriter(file, ["filename", "region_shape_attributes", "region_attributes"])
            rows.writeheader()
            row = {"region_shape_attributes": json.dumps(shape), "region_attributes": '{"Anatomy": "Capsule"}'}
            rows.writerow({"filename": "a.png", **row})
        files = [{"image": str(tmp_path / "a.png"), "capsule": str(table)}]
        if fits:
            assert read_label(files).any()
        else:
            with refused(r"labels\.csv: a\.png: 1 corners lie outside the image of 20 x 10 pixels, first \(21, 2\)"):
                read_label(files)


def test_masks_with_hidden_pixels_or_colours_are_refused(tmp_path):
    files = write_masks(tmp_path, 1, [[0, 1]], [[0, 2]])
    del files["capsule"]
    for mode, reason in (("LA", "has pixels that are not opaque"), ("RGB", "expected one grey channel")):
        mask = Image.new("L", (2, 1)).convert(mode)
        if mode == "LA":
            mask.putalpha(9)
        mask.save(files["regions"])
        with refused(f"regions_1.png: {reason}"):
            read_label([files])
