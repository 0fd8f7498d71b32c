"""Class ids drawn from what annotation tools save: the same, whichever tool."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from drawn_labels import (
    BETWEEN,
    CLASSES,
    IDS,
    ON_PIXELS,
    SIZE,
    coco,
    compress,
    labelme,
    labelme_shape,
    runs_of,
    save,
    source,
    via_project,
    via_region,
    write_json,
    write_via_table,
)
from integration import refused
from PIL import Image

from common.datasets.readers.folder_labels import read_folder_label
from common.datasets.readers.polygons.files import read_annotations
from common.datasets.readers.via import draw_mask

SOURCE = source("polygons")
WOUND = source("polygons", ["background", "wound"])
INNER, OUTER = [(4, 4), (6, 4), (6, 6), (4, 6)], [(2, 2), (9, 2), (9, 9), (2, 9)]


def draw(path, own=SOURCE, image="a.png", size=SIZE) -> np.ndarray:
    return read_folder_label({"polygons": str(path), "image": str(path.parent / image)}, own, size)


def via_regions(corners=ON_PIXELS):
    return [via_region(points, kind=name) for name, points in corners.items()]


def write(tool: str, folder):
    """Write the ids of ``drawn_labels`` as a tool saves them."""
    path = folder / "annotations.json"
    if tool == "VIA CSV":
        return write_via_table(folder / "annotations.csv", {"a.png": via_regions(), "b.png": []})
    if tool == "VIA project":
        return write_json(path, via_project({"a.png": via_regions(), "b.png": []}))
    if tool == "VIA export":
        return write_json(path, via_project({"a.png": via_regions(), "b.png": []})["_via_img_metadata"])
    if tool == "labelme":
        return write_json(path, labelme([labelme_shape(name, points) for name, points in ON_PIXELS.items()]))
    masks = {name: number == IDS for number, name in enumerate(CLASSES) if number}
    height_and_width = list(SIZE[::-1])
    shapes = {
        "COCO polygons": {name: [[side for corner in points for side in corner]] for name, points in BETWEEN.items()},
        "COCO runs": {name: {"size": height_and_width, "counts": runs_of(mask)} for name, mask in masks.items()},
        "COCO compressed": {
            name: {"size": height_and_width, "counts": compress(runs_of(mask))} for name, mask in masks.items()
        },
    }[tool]
    annotations = [{"category": name, "segmentation": shape} for name, shape in shapes.items()]
    return write_json(path, coco(annotations, ("a.png", "b.png")))


TOOLS = ["VIA CSV", "VIA project", "VIA export", "labelme", "COCO polygons", "COCO runs", "COCO compressed"]


@pytest.mark.parametrize("tool", TOOLS)
def test_ids_come_back_as_they_were_drawn(tmp_path, tool):
    path = write(tool, tmp_path)
    ids = draw(path)
    np.testing.assert_array_equal(ids, IDS)
    assert ids.dtype == np.uint8
    assert read_annotations(path).tool == tool.split()[0].replace("VIA", "VGG Image Annotator")


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != "labelme"])
def test_a_listed_image_without_regions_is_background_and_another_is_refused(tmp_path, tool):
    path = write(tool, tmp_path)
    assert not draw(path, image="b.png").any()
    with refused(r"annotations\..*: does not list c\.png; images without the structure are listed, too"):
        draw(path, image="c.png")


def test_a_file_of_labelme_without_shapes_is_background(tmp_path):
    assert not draw(write_json(tmp_path / "a.json", labelme([]))).any()


def test_the_size_is_that_of_the_image_where_none_is_given(tmp_path):
    path = write("VIA CSV", tmp_path)
    save(tmp_path / "a.png", IDS)
    np.testing.assert_array_equal(draw(path, size=None), IDS)


def test_classes_may_be_called_otherwise_in_the_file(tmp_path):
    own = source("polygons", ["background", "Wunde", "Narbe"], polygons={"Wunde": "wound", "Narbe": "scar"})
    np.testing.assert_array_equal(draw(write("labelme", tmp_path), own), IDS)


def test_regions_without_a_name_are_the_only_structure(tmp_path):
    path = write_json(tmp_path / "via.json", via_project({"a.png": [via_region(each) for each in ON_PIXELS.values()]}))
    np.testing.assert_array_equal(draw(path, WOUND), IDS > 0)
    with refused(r"via\.json: 2 regions are without a class \(first: a\.png, region 1\); expected wound, scar$"):
        draw(path)


class TestOverlaps:
    def test_higher_classes_cover_lower_ones_whichever_was_drawn_first(self, tmp_path):
        shapes = [labelme_shape("scar", INNER), labelme_shape("wound", OUTER)]
        first = draw(write_json(tmp_path / "a.json", labelme(shapes)))
        assert first[5, 5] == 2
        assert first[3, 3] == 1
        np.testing.assert_array_equal(draw(write_json(tmp_path / "b.json", labelme(shapes[::-1]))), first)

    def test_regions_of_background_are_holes(self, tmp_path):
        regions = [via_region(INNER, kind="background"), via_region(OUTER, kind="wound")]
        ids = draw(write_json(tmp_path / "via.json", via_project({"a.png": regions})))
        assert not ids[4:7, 4:7].any()
        assert (ids == 1).sum() == 64 - 9

    def test_a_region_that_is_there_again_counts_once(self, tmp_path):
        again = [*OUTER[2:], *OUTER[:2]][::-1]
        regions = [via_region(OUTER, kind="wound"), via_region(again, kind="wound"), via_region(again, kind="scar")]
        path = write_json(tmp_path / "via.json", via_project({"a.png": regions}))
        assert read_annotations(path).repeats == ["region 2 = region 1"]
        assert (draw(path) == 2).sum() == 64

    def test_of_one_class_are_united(self, tmp_path):
        shifted = [(x + 3, y) for x, y in OUTER]
        regions = [via_region(OUTER, kind="wound"), via_region(shifted, kind="wound")]
        assert (draw(write_json(tmp_path / "via.json", via_project({"a.png": regions}))) == 1).sum() == 8 * 11
        for corners in ([OUTER, INNER], [OUTER, shifted]):
            flat = [[side for corner in each for side in corner] for each in corners]
            united = draw(write_json(tmp_path / "coco.json", coco([{"category": "wound", "segmentation": flat}])))
            apart = [{"category": "wound", "segmentation": [each]} for each in flat]
            np.testing.assert_array_equal(draw(write_json(tmp_path / "apart.json", coco(apart))), united)
            assert united[5, 5] == 1

    def test_nobody_can_tell_whether_a_region_within_another_is_a_hole_in_the_vgg_image_annotator(self, tmp_path):
        regions = [via_region(INNER, kind="wound"), via_region(OUTER, kind="wound")]
        path = write_json(tmp_path / "via.json", via_project({"a.png": regions}))
        with refused(
            r"via\.json: a\.png: region 1 lies within region 2 and has its class, which may mean a hole; call holes"
        ):
            draw(path)


class TestShapes:
    def test_polygons_are_drawn_with_their_border_as_those_of_kidneyus_are(self, tmp_path):
        generator = np.random.default_rng(0)
        for _ in range(20):
            corners = [tuple(corner) for corner in generator.integers(0, 60, (7, 2)).tolist()]
            path = write_json(tmp_path / "via.json", via_project({"a.png": [via_region(corners, kind="wound")]}))
            expected = draw_mask({"wound": [corners]}, {"wound": 1}, (60, 70))
            np.testing.assert_array_equal(draw(path, size=(60, 70)), expected)

    def test_of_the_vgg_image_annotator_beside_polygons(self, tmp_path):
        shapes = {
            "rect": {"name": "rect", "x": 3, "y": 2, "width": 5, "height": 3},
            "circle": {"name": "circle", "cx": 8, "cy": 6, "r": 4},
            "ellipse": {"name": "ellipse", "cx": 8, "cy": 6, "rx": 2, "ry": 5, "theta": np.pi / 2},
        }
        masks = {}
        for name, shape in shapes.items():
            region = {"shape_attributes": shape, "region_attributes": {"kind": "wound"}}
            masks[name] = draw(write_json(tmp_path / f"{name}.json", via_project({"a.png": [region]}))) == 1
        np.testing.assert_array_equal(masks["rect"], IDS == 1)
        rows, columns = np.indices(SIZE[::-1])
        distance = np.hypot(columns - 8, rows - 6)
        np.testing.assert_array_equal(masks["circle"], distance <= 4)
        turned = ((columns - 8) / 5) ** 2 + ((rows - 6) / 2) ** 2 <= 1  # by a right angle
        np.testing.assert_array_equal(masks["ellipse"], turned)

    def test_of_labelme_beside_polygons(self, tmp_path):
        mask = io.BytesIO()
        Image.fromarray(np.ones((4, 6), np.uint8) * 255).save(mask, "PNG")
        text = base64.b64encode(mask.getvalue()).decode()
        shapes = {
            "rectangle": labelme_shape("wound", [(8, 5), (3, 2)], "rectangle"),
            "mask": labelme_shape("wound", [(3, 2), (8, 5)], "mask", mask=text),
        }
        for name, shape in shapes.items():
            ids = draw(write_json(tmp_path / f"{name}.json", labelme([shape])))
            np.testing.assert_array_equal(ids, IDS * (IDS == 1))
        circle = draw(write_json(tmp_path / "c.json", labelme([labelme_shape("wound", [(8, 6), (8, 2)], "circle")])))
        assert circle[6, 4:13].all()
        assert not circle[2, [4, 12]].any()

    def test_that_have_no_area_are_refused(self, tmp_path):
        path = write_json(tmp_path / "a.json", labelme([labelme_shape("wound", [(1, 2), (3, 4)], "line")]))
        with refused(r"a\.json: shape 1: expected a polygon, rectangle, circle or mask, got a shape of type 'line'"):
            draw(path)
        point = {"shape_attributes": {"name": "point", "cx": 3, "cy": 4}, "region_attributes": {"kind": "wound"}}
        path = write_json(tmp_path / "via.json", via_project({"a.png": [point]}))
        with refused(r"via\.json: a\.png, region 1: expected a polygon, rect, circle or ellipse, got .* 'point'"):
            draw(path)
        path = write_json(tmp_path / "coco.json", coco([{"category": "wound", "segmentation": []}]))
        with refused(r"coco\.json: annotation 1: has no outline, only a box; expected a polygon or a mask"):
            draw(path)


class TestAttributes:
    def draw(self, folder, *attributes):
        regions = [via_region(ON_PIXELS["wound"], **each) for each in attributes]
        return draw(write_json(folder / "via.json", via_project({"a.png": regions})))

    def test_the_one_that_has_the_classes_is_found(self, tmp_path):
        assert self.draw(tmp_path, {"reader": "Ann", "tissue": "wound", "sure": ""}).any()

    def test_may_be_boxes_of_which_one_is_ticked(self, tmp_path):
        assert self.draw(tmp_path, {"tissue": {"wound": True, "scar": False}}).any()
        with refused("region 1: has 'wound' and 'scar' in tissue; a region has one class"):
            self.draw(tmp_path, {"tissue": {"wound": True, "scar": True}})

    def test_two_that_have_classes_are_refused(self, tmp_path):
        with refused(
            r"its regions have the attributes first, second; not one of them alone has the classes wound, scar"
        ):
            self.draw(tmp_path, {"first": "wound", "second": "scar"})


class TestRefused:
    def test_a_name_that_is_no_class(self, tmp_path):
        own = source("polygons", ["background", "ulcer", "scar"])
        for tool in TOOLS:
            with refused(
                r"annotations\..*: a region is called 'wound' \(first: a\.png, \w+ [12]\); expected ulcer, scar$"
            ):
                draw(write(tool, tmp_path), own)

    def test_regions_beyond_the_image(self, tmp_path):
        path = write("VIA CSV", tmp_path)
        with refused(
            r"annotations\.csv: a\.png: a region reaches beyond its image of 12 x 16 pixels, first line 3 with the "
            r"corner \(14, 7\); take image and annotations that belong together"
        ):
            draw(path, size=SIZE[::-1])
        corners = [(0, 0), (SIZE[0], 0), (*SIZE,)]  # on the border
        assert draw(write_json(tmp_path / "a.json", labelme([labelme_shape("wound", corners)]))).any()
        wide = [[-2.0, 0, 4, 0, 4, 4]]
        path = write_json(tmp_path / "coco.json", coco([{"category": "wound", "segmentation": wide}]))
        with refused(r"first annotation 1 with the corner \(-2, 0\)"):
            draw(path)

    @pytest.mark.parametrize("tool", ["labelme", "COCO polygons"])
    def test_an_image_of_another_size_than_was_drawn_on(self, tmp_path, tool):
        path = write(tool, tmp_path)
        with refused("a.png: was drawn on 16 x 12 pixels, but its image has 20 x 12; take those that match"):
            draw(path, size=(20, 12))
        with refused("but its image has 12 x 16; viewers turn it by its EXIF orientation, turn its pixels"):
            draw(path, size=(12, 16))

    def test_masks_of_another_size(self, tmp_path):
        runs = {"size": [2, 3], "counts": [2, 4]}
        path = write_json(tmp_path / "coco.json", coco([{"category": "wound", "segmentation": runs}]))
        with refused("first annotation 1 with a mask of 3 x 2 pixels"):
            draw(path)

    @pytest.mark.parametrize(
        ("name", "content", "why"),
        [
            ("a.json", "{", "cannot be read"),
            ("a.json", "[" * 100_000, "is nested too deeply"),
            ("a.json", b"\xff\xfe\x00", "cannot be read"),
            ("a.json", "{}", "is of no annotation tool that is known"),
            ("a.json", '{"info": 3}', "is of no annotation tool that is known"),
            ("a.csv", "", "is of no annotation tool that is known"),
            ("a.csv", "image,label\na,b\n", "is of no annotation tool that is known"),
        ],
    )
    def test_files_that_no_tool_has_written(self, tmp_path, name, content, why):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with refused(rf"{name}: {why}.*; expected a CSV or JSON of the VGG Image Annotator, the JSON of COCO"):
            read_annotations(tmp_path / name)

    def test_a_missing_file(self, tmp_path):
        with refused(r"a\.json: cannot be opened \(No such file or directory\)"):
            read_annotations(tmp_path / "a.json")

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"images": "none"}, "expected a list of images, as in COCO, got str"),
            ({"categories": []}, "annotation 1: there is no category 1 in the file"),
            (
                {"images": [{"id": 7, "file_name": "a.png", "width": 16, "height": 12}]},
                "there is no image 0 in the file",
            ),
            ({"images": [{"id": 0, "file_name": "a.png", "width": 16}]}, "expected width and height in pixels"),
            ({"images": [{"id": 0, "width": 16, "height": 12}]}, "image 0: has no file_name"),
            ({"images": 2 * [{"id": 0, "file_name": "a.png", "width": 16, "height": 12}]}, "expected an id of its own"),
        ],
    )
    def test_what_contradicts_itself_in_coco(self, tmp_path, change, why):
        content = coco([{"category": "wound", "segmentation": [[3, 2, 9, 2, 9, 6]]}])
        with refused(why):
            draw(write_json(tmp_path / "coco.json", {**content, **change}))

    @pytest.mark.parametrize(
        ("segmentation", "why"),
        [
            ([[1, 2, 3]], "expected a polygon as a list of x, y, x, y"),
            ([[1, 2, 3, 4]], "expected a polygon of at least 3 corners, got 2"),
            ([[1, 2, 3, None, 5, 6]], "expected the corners of the polygon as numbers, got None"),
            ([[1, 2, 3, 1e9, 5, 6]], "which is outside of any image"),
            ([[1, 2, 3, float("nan"), 5, 6]], "expected the corners of the polygon as numbers, got nan"),
            ({"size": [12, 16], "counts": [5]}, "expected a mask whose runs of pixels add up to 16 x 12"),
            ({"size": [12, 16], "counts": "!"}, "got the character '!'"),
            ({"size": [12], "counts": []}, r"expected a mask with height and width as its size, got \[12\]"),
        ],
    )
    def test_shapes_that_are_none_in_coco(self, tmp_path, segmentation, why):
        path = write_json(tmp_path / "coco.json", coco([{"category": "wound", "segmentation": segmentation}]))
        with refused(rf"coco\.json: annotation 1: .*{why}"):
            draw(path)

    @pytest.mark.parametrize(
        ("shape", "why"),
        [
            (3, "expected a shape, got 3"),
            ({"label": 3}, "expected its label as a text, got 3"),
            (labelme_shape("wound", [[1, 2]]), "expected a polygon of at least 3 corners, got 1"),
            (labelme_shape("wound", [[1, 2]], "circle"), "expected two points of a circle"),
            (labelme_shape("wound", [[1, 2], [3, 4]], "mask", mask="AAAA"), "expected a mask as a PNG"),
            (labelme_shape("wound", [[1, 2], [3, 4]], "mask"), "expected a mask as a PNG"),
        ],
    )
    def test_shapes_that_are_none_in_labelme(self, tmp_path, shape, why):
        with refused(rf"a\.json: shape 1: .*{why}"):
            draw(write_json(tmp_path / "a.json", labelme([shape])))

    def test_every_fault_of_a_file_is_kept(self, tmp_path):
        shapes = [labelme_shape("wound", [[1, 2]]), labelme_shape("scar", [[1, 2]])]
        path = write_json(tmp_path / "a.json", labelme(shapes))
        assert [fault.split(": ")[1] for fault in read_annotations(path).faults] == ["shape 1", "shape 2"]

    def test_rows_of_a_table_that_are_none(self, tmp_path):
        path = write("VIA CSV", tmp_path)
        text = path.read_text(encoding="utf-8")
        for old, new, why in (
            ("wound", 'wo"und', "line 2, a.png: malformed JSON"),
            ("[3, 8, 8, 3]", "[3, 8, 8]", "line 2, a.png: expected a polygon of at least 3 corners, got 3 x and 4 y"),
            ("polygon", "polyline", "line 2, a.png: expected a polygon, rect, circle or ellipse"),
        ):
            path.write_text(text.replace(old, new, 1), encoding="utf-8")
            with refused(why):
                draw(path)

    def test_an_image_that_is_there_twice(self, tmp_path):
        project = via_project({"a.png": []})
        project["_via_img_metadata"]["again"] = project["_via_img_metadata"]["a.png99"]
        with refused(r"a\.png: is there twice; remove one of the two images"):
            draw(write_json(tmp_path / "via.json", project))
