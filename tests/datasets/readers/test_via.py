"""Masks that are drawn from polygons."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt

from common.datasets.issues import DatasetIssues
from common.datasets.readers.kidneyus import STRUCTURES, VALUES
from common.datasets.readers.via import draw_mask, read_polygons

REAL = Path(__file__).parents[3] / ".." / "shared" / "data" / "kidneyUS" / "labels"


needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="the labels of KidneyUS are not beside the project")


def real_names():
    return sorted(path.name for path in (REAL / "reviewed_masks_1" / "capsule").glob("*.png"))


def read_array(path):
    return np.asarray(Image.open(path))


def test_border_belongs_to_the_polygon_and_later_classes_cover_earlier_ones():
    square, corner = [(1, 1), (5, 1), (5, 4), (1, 4)], [(5, 4), (7, 4), (7, 6), (5, 6)]
    polygons = {"Cortex": [corner], "Central Echo Complex": [square]}
    mask = draw_mask(polygons, VALUES["regions"], (9, 8))
    assert mask.shape == (8, 9)
    assert mask[1:5, 1:6].tolist() == [[1] * 5] * 3 + [[1] * 4 + [3]]
    assert mask[4:7, 5:8].tolist() == [[3] * 3] * 3
    assert mask.astype(bool).sum() == 20 + 9 - 1


def test_polygon_within_one_of_its_structure_is_a_hole():
    outer, inner = [(0, 0), (9, 0), (9, 9), (0, 9)], [(3, 3), (6, 3), (6, 6), (3, 6)]
    mask = draw_mask({"Medulla": [outer, inner]}, VALUES["regions"], (10, 10))
    assert (mask == 0).sum() == 4
    assert not mask[4:6, 4:6].any()


@needs_real_data
@pytest.mark.parametrize("number", [1, 2])
def test_real_masks_and_polygons_agree_up_to_the_border(number):
    issues = DatasetIssues("KidneyUS", REAL)
    polygons = read_polygons(REAL / f"reviewed_labels_{number}.csv", STRUCTURES, issues)
    issues.raise_if_any()
    assert sorted(polygons) == real_names()
    for name in real_names():
        for kind in ("capsule", "regions"):
            mask = read_array(REAL / f"reviewed_masks_{number}" / kind / name)
            size = mask.shape[::-1]
            drawn = draw_mask(polygons[name], VALUES[kind], size)
            assert set(np.unique(drawn)) == set(np.unique(mask))
            border = Image.new("1", size)
            for shape in (corners for shapes in polygons[name].values() for corners in shapes):
                ImageDraw.Draw(border).line([*shape, shape[0]], fill=1)
            distance = distance_transform_edt(~np.asarray(border))
            wrong = drawn != mask
            assert not wrong[distance > 1].any()
            assert wrong.sum() < 0.005 * (mask > 0).sum()
