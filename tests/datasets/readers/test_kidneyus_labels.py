"""Labels of KidneyUS, joined from masks."""

import numpy as np
import pytest
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
