"""Masks that are drawn from polygons."""

import csv
import json
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


SQUARE = [(2, 2), (8, 2), (8, 7), (2, 7)]


def write_table(path: Path, *rows: tuple[str, str, list[tuple[int, int]]]) -> Path:
    """Write a row for each image, structure and polygon, as the annotator does."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filename", "file_size", "region_id", "region_shape_attributes", "region_attributes"])
        for number, (name, structure, corners) in enumerate(rows):
            columns, lines = zip(*corners, strict=True)
            shape = {"name": "polygon", "all_points_x": columns, "all_points_y": lines}
            table.writerow([name, 9, number, json.dumps(shape), json.dumps({"Anatomy": structure})])
    return path


def read(path: Path) -> tuple[dict, list[str], list[str]]:
    """Return the polygons, the rows that repeat another, and the issues."""
    issues, repeats = DatasetIssues("KidneyUS", path.parent), []
    return read_polygons(path, STRUCTURES, issues, repeats), repeats, issues.messages


class TestRepeatedPolygons:
    @pytest.mark.parametrize(
        "again",
        [SQUARE, SQUARE[2:] + SQUARE[:2], SQUARE[::-1], SQUARE[1::-1] + SQUARE[:1:-1], [*SQUARE, SQUARE[0]]],
        ids=["as it is", "from another corner", "backwards", "backwards from another corner", "closed"],
    )
    def test_count_once_and_are_named(self, tmp_path, again):
        once = write_table(tmp_path / "once.csv", ("a.png", "Medulla", SQUARE))
        twice = write_table(tmp_path / "twice.csv", *[("a.png", "Medulla", corners) for corners in (SQUARE, again)])
        masks = [draw_mask(read(path)[0]["a.png"], VALUES["regions"], (12, 10)) for path in (once, twice)]
        assert (masks[0] == 2).sum() == 7 * 6
        np.testing.assert_array_equal(masks[1], masks[0])
        assert read(once)[1:] == ([], [])
        assert read(twice)[1:] == (["line 3 = line 2"], [])

    def test_of_another_image_or_structure_count(self, tmp_path):
        rows = [("a.png", "Medulla", SQUARE), ("b.png", "Medulla", SQUARE), ("a.png", "Cortex", SQUARE)]
        polygons, repeats, _ = read(write_table(tmp_path / "table.csv", *rows))
        assert repeats == []
        assert polygons == {"a.png": {"Medulla": [SQUARE], "Cortex": [SQUARE]}, "b.png": {"Medulla": [SQUARE]}}

    def test_of_the_same_corners_in_another_order_count(self, tmp_path):
        crossed = [SQUARE[place] for place in (0, 2, 1, 3)]
        rows = [("a.png", "Medulla", corners) for corners in (SQUARE, crossed)]
        assert read(write_table(tmp_path / "table.csv", *rows))[1] == []

    def test_that_touch_a_corner_twice_are_known_too(self, tmp_path):
        bow = [(2, 2), (6, 2), (2, 2), (2, 6)]
        rows = [("a.png", "Medulla", corners) for corners in (bow, bow[2:] + bow[:2], bow[::-1])]
        assert read(write_table(tmp_path / "table.csv", *rows))[1] == ["line 3 = line 2", "line 4 = line 2"]

    @needs_real_data
    @pytest.mark.parametrize("number", [1, 2])
    def test_are_not_in_the_real_tables(self, number):
        assert read(REAL / f"reviewed_labels_{number}.csv")[1:] == ([], [])


class TestDamagedTables:
    @pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "gbk"])
    def test_of_another_encoding_are_named_by_line(self, tmp_path, encoding):
        path = write_table(tmp_path / "table.csv", ("a.png", "Medulla", SQUARE), ("b.png", "Medulla", SQUARE))
        name = {"cp1252": "M\u00fcller.png", "gbk": "\u80be.png"}.get(encoding, "b.png")
        path.write_bytes(path.read_text().replace("b.png", name).encode(encoding))
        (issue,) = read(path)[2]
        line = 1 if encoding == "utf-16" else 3
        assert issue.startswith(f"{path}: line {line} is not UTF-8; expected a CSV of the VGG Image Annotator")

    def test_with_semicolons_are_told_about_commas(self, tmp_path):
        path = write_table(tmp_path / "table.csv", ("a.png", "Medulla", SQUARE))
        path.write_text(path.read_text().replace(",", ";"))
        (issue,) = read(path)[2]
        assert "no column filename" in issue
        assert issue.endswith("with commas")

    @pytest.mark.parametrize("fields", [1, 3, 4])
    def test_that_are_cut_off_in_their_last_row_are_named(self, tmp_path, fields):
        path = write_table(tmp_path / "table.csv", ("a.png", "Medulla", SQUARE))
        path.write_text(path.read_text() + ",".join(["b.png", "9", "1", "{}"][:fields]))
        assert read(path)[2] == [
            f"{path}: line 3, b.png: has not as many fields as the first row; repair the row in the VGG Image "
            "Annotator, or use the mask PNGs"
        ]

    @pytest.mark.parametrize("far", [10**30, -70_000, 1e9])
    def test_with_a_corner_outside_of_any_image_are_named(self, tmp_path, far):
        path = write_table(tmp_path / "table.csv", ("a.png", "Medulla", [*SQUARE, (far, 3)]))
        (issue,) = read(path)[2]
        assert f"line 2, a.png: expected the corners of the polygon in pixels, got {far!r}" in issue

    def test_without_permission_are_named(self, tmp_path, monkeypatch):
        def deny(path):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "read_bytes", deny)
        assert read(tmp_path / "table.csv")[2] == [f"{tmp_path / 'table.csv'}: cannot be opened (Permission denied)"]


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
