"""KidneyUS: what is accepted, what is refused and how, labels of three tasks and two annotators, phantoms."""

import csv
import json
import logging
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from monai.data import PILReader
from monai.transforms import LoadImaged
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt

from common.datasets import kidneyus
from common.datasets.issues import Faults
from common.datasets.readers.images import to_grey
from common.errors import InputError

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "kidneyUS" / "labels"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="the labels of KidneyUS are not beside the project")
SIZE = (120, 160)
SECTIONS = ("training", "validation", "test")
IMAGES = "kidneyUS_images_14_june_2022"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return kidneyus.write_phantoms(tmp_path_factory.mktemp("kidneyus") / "KidneyUS", 8, SIZE)


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "KidneyUS"))


@pytest.fixture
def without_masks(phantoms):
    for number in (1, 2):
        shutil.rmtree(phantoms / "labels" / f"reviewed_masks_{number}")
    return phantoms


def faults_of(folder, **arguments):
    with pytest.raises(InputError) as caught:
        kidneyus.check(folder, **arguments)
    return str(caught.value)


def names_in(folder):
    return sorted(path.name for path in (folder / IMAGES).iterdir())


def mask_path(folder, name, kind="regions", number=1):
    return folder / "labels" / f"reviewed_masks_{number}" / kind / name


def read_array(path):
    return np.asarray(Image.open(path))


def edit_rows(folder, change, number=1):
    """Apply ``change`` to the rows of a table of polygons."""
    path = folder / "labels" / f"reviewed_labels_{number}.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = change(rows) or rows
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)


def all_entries(folder, **arguments):
    return [entry for section in SECTIONS for entry in kidneyus.datalist(folder, section, **arguments)]


# Finding the folder


@pytest.mark.parametrize("given", [".", "..", IMAGES, "labels", "labels/reviewed_masks_1", "labels/reviewed_masks_2"])
def test_root_is_found_from_its_folders(phantoms, given):
    assert kidneyus.find_root(phantoms / given) == phantoms


def test_images_unpacked_into_a_folder_of_the_same_name_are_found(pristine, phantoms):
    (phantoms / IMAGES).rename(phantoms / "inner")
    (phantoms / IMAGES).mkdir()
    (phantoms / "inner").rename(phantoms / IMAGES / IMAGES)
    assert kidneyus.check(phantoms) == kidneyus.check(pristine)


def test_labels_without_images_are_told_the_layout(phantoms):
    shutil.rmtree(phantoms / IMAGES)
    with pytest.raises(InputError, match=r"kidneyUS_images_14_june_2022/100_IM.*beside them .*labels/reviewed_masks_1"):
        kidneyus.find_root(phantoms)


# Splits


@pytest.mark.parametrize("seed", range(5))
def test_sections_share_no_exam(pristine, seed):
    parts = [{Path(e["image"]).name for e in kidneyus.datalist(pristine, section, seed)} for section in SECTIONS]
    assert sorted(name for part in parts for name in part) == names_in(pristine)
    exams = [{name.split("_")[0] for name in part} for part in parts]
    assert not exams[0] & exams[1] | exams[0] & exams[2] | exams[1] & exams[2]
    assert len(parts[1]) in (2, 3)
    assert len(parts[2]) in (3, 4)


def test_sections_are_the_same_for_every_task_and_annotator(pristine):
    for section in SECTIONS:
        images = {
            tuple(entry["image"] for entry in kidneyus.datalist(pristine, section, task=task, annotator=annotator))
            for task in kidneyus.TASKS
            for annotator in kidneyus.ANNOTATORS
        }
        assert len(images) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"section": "train"}, "section must be one of training, validation, test, got 'train'"),
        ({"section": "test", "task": "cortex"}, "task must be one of regions, capsule, all, got 'cortex'"),
        ({"section": "test", "annotator": 3}, "annotator must be one of 1, 2, intersection, got 3"),
    ],
)
def test_unknown_choices_are_refused(pristine, arguments, message):
    with pytest.raises(ValueError, match=message):
        kidneyus.datalist(pristine, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        *({"task": task} for task in ("cortex", ["regions"], {"regions": 1}, ("regions", "capsule"), None)),
        *({"annotator": annotator} for annotator in (3, [1, 2], 1.0, True)),
    ],
)
def test_unknown_choices_are_refused_by_the_check_too(pristine, arguments):
    (value,) = arguments.values()
    with pytest.raises(InputError, match=f"must be one of .*, got {re.escape(repr(value))}$"):
        kidneyus.check(pristine, **arguments)


def test_classes_are_those_of_the_task():
    assert kidneyus.class_names("capsule") == ["background", "kidney"]
    with pytest.raises(InputError, match=r"task must be one of regions, capsule, all, got \['regions'\]"):
        kidneyus.class_names(["regions"])


# Labels


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("task", ["regions", "capsule"])
def test_label_of_one_mask_is_that_mask(pristine, task, number):
    for entry in kidneyus.datalist(pristine, "training", task=task, annotator=number):
        expected = read_array(mask_path(pristine, Path(entry["image"]).name, task, number))
        assert np.array_equal(kidneyus.read_label(entry["label"]), expected)


def test_parenchyma_that_no_region_covers_is_a_class_of_its_own(pristine):
    for entry in kidneyus.datalist(pristine, "training", task="all"):
        name = Path(entry["image"]).name
        label = kidneyus.read_label(entry["label"])
        regions, capsule = read_array(mask_path(pristine, name)), read_array(mask_path(pristine, name, "capsule"))
        assert np.array_equal(np.where(label == 4, 0, label), regions)
        assert np.array_equal(label == 4, (capsule == 1) & (regions == 0))
        assert (label == 4).any()


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
    assert kidneyus.read_label([first, second]).tolist() == [[1, 0, 0, 4, 0, 3]]
    regions = [{kind: files[kind] for kind in ("regions", "image")} for files in (first, second)]
    assert kidneyus.read_label(regions).tolist() == [[1, 0, 0, 0, 0, 3]]


def test_dice_of_two_annotators_is_a_mean_over_the_images_that_show_a_class(tmp_path):
    def entry(name, *pairs):
        (tmp_path / name).mkdir()
        label = [write_masks(tmp_path / name, number, *pair) for number, pair in enumerate(pairs, start=1)]
        return {"image": "not read", "label": label}

    entries = [
        entry("a", ([[1, 1, 1, 1]], [[1, 1, 2, 0]]), ([[1, 1, 1, 1]], [[1, 0, 0, 0]])),
        entry("b", ([[1, 1, 1, 1]], [[1, 1, 0, 0]]), ([[1, 1, 1, 1]], [[1, 1, 0, 0]])),
    ]
    dice = kidneyus.inter_annotator_dice(entries)
    assert dice["central echo complex"] == pytest.approx((2 / 3 + 1) / 2)
    assert dice["medulla"] == 0
    assert math.isnan(dice["cortex"])
    assert dice["other parenchyma"] == pytest.approx((2 / 4 + 1) / 2)
    with pytest.raises(ValueError, match="annotator 'intersection'"):
        kidneyus.inter_annotator_dice([{"label": entries[0]["label"][:1]}])


def test_dice_of_phantom_annotators_is_good_but_not_perfect(pristine):
    entries = all_entries(pristine, task="all", annotator="intersection")
    dice = kidneyus.inter_annotator_dice(entries)
    assert list(dice) == list(kidneyus.TASKS["all"].values())[1:]
    assert all(0.5 < value < 0.99 for value in dice.values())
    (kidney,) = kidneyus.inter_annotator_dice(all_entries(pristine, task="capsule", annotator="intersection")).values()
    assert max(dice.values()) < kidney < 1


def test_agreement_is_that_of_the_images_of_a_section(pristine, caplog):
    entries = kidneyus.datalist(pristine, "test", 0, 3, task="capsule", annotator="intersection")
    with caplog.at_level("INFO"):
        found = kidneyus.agreement(pristine, "test", 0, 3, task="capsule")
    assert found == kidneyus.inter_annotator_dice(entries)
    assert f"on {len(entries)} test images: kidney {found['kidney']:.3f}" in caplog.text


def test_agreement_is_unknown_where_one_annotator_has_drawn_nothing(phantoms, caplog):
    shutil.rmtree(phantoms / "labels" / "reviewed_masks_2")
    (phantoms / "labels" / "reviewed_labels_2.csv").unlink()
    with caplog.at_level("INFO"):
        assert kidneyus.agreement(phantoms, "test") is None
    assert "how well annotators agree is not known" in caplog.text
    assert "reviewed_masks_2" in caplog.text


def test_agreement_is_unknown_where_the_labels_of_one_annotator_are_damaged(phantoms, caplog):
    path = mask_path(phantoms, Path(kidneyus.datalist(phantoms, "test")[0]["image"]).name, number=2)
    caplog.set_level(logging.INFO)
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(path)
    assert kidneyus.agreement(phantoms, "test") is None
    assert "and 8 x 9 pixels; expected one size" in caplog.text
    path.write_bytes(b"")
    assert kidneyus.agreement(phantoms, "test") is None
    assert f"{path}: the file is empty" in caplog.text


def test_transform_leaves_alone_what_has_no_label_if_told_so():
    assert kidneyus.LoadLabeld("label", allow_missing_keys=True)({"image": 1}) == {"image": 1}
    with pytest.raises(KeyError, match="label"):
        kidneyus.LoadLabeld("label")({"image": 1})


def test_transform_loads_labels_beside_images_of_any_mode(pristine):
    modes = set()
    for entry in all_entries(pristine, task="all", annotator="intersection"):
        modes.add(Image.open(entry["image"]).mode)
        loaded = LoadImaged("image", reader=PILReader(converter=to_grey), ensure_channel_first=True)(entry)
        loaded = kidneyus.LoadLabeld("label")(loaded)
        assert len(loaded["image"]) == kidneyus.IN_CHANNELS
        assert loaded["image"].shape == loaded["label"].shape
        expected = kidneyus.read_label(entry["label"])
        assert np.array_equal(np.asarray(loaded["label"][0]).T, expected)
        assert np.array_equal(
            np.asarray(loaded["image"][0]).T, read_array(entry["image"]).reshape(*expected.shape, -1)[..., 0]
        )
    assert modes == {"L", "RGB"}


# Polygons


def test_polygons_are_read_where_there_are_no_masks_and_the_log_says_so(pristine, without_masks, caplog):
    caplog.set_level(logging.INFO)
    for task in kidneyus.TASKS:
        for annotator in kidneyus.ANNOTATORS:
            assert kidneyus.check(without_masks, task=task, annotator=annotator) == kidneyus.check(pristine)
            pairs = zip(
                kidneyus.datalist(pristine, "test", task=task, annotator=annotator),
                kidneyus.datalist(without_masks, "test", task=task, annotator=annotator),
                strict=True,
            )
            for drawn, polygons in pairs:
                expected = kidneyus.read_label(drawn["label"])
                assert np.array_equal(kidneyus.read_label(polygons["label"]), expected)
    assert "no masks by annotator 2, they are drawn from" in caplog.text


def test_polygons_beside_the_images_are_found(without_masks):
    for path in (without_masks / "labels").glob("*.csv"):
        path.rename(without_masks / IMAGES / path.name)
    assert sum(kidneyus.check(without_masks, annotator="intersection").values()) == 12


def test_polygons_are_read_again_after_a_change(without_masks):
    entry = kidneyus.datalist(without_masks, "training")[0]
    assert kidneyus.read_label(entry["label"]).any()
    edit_rows(without_masks, lambda rows: [row | {"region_shape_attributes": "{}"} for row in rows])
    assert not kidneyus.read_label(entry["label"]).any()


def test_border_belongs_to_the_polygon_and_later_classes_cover_earlier_ones():
    square, corner = [(1, 1), (5, 1), (5, 4), (1, 4)], [(5, 4), (7, 4), (7, 6), (5, 6)]
    polygons = {"Cortex": [corner], "Central Echo Complex": [square]}
    mask = kidneyus.draw_mask(polygons, "regions", (9, 8))
    assert mask.shape == (8, 9)
    assert mask[1:5, 1:6].tolist() == [[1] * 5] * 3 + [[1] * 4 + [3]]
    assert mask[4:7, 5:8].tolist() == [[3] * 3] * 3
    assert mask.astype(bool).sum() == 20 + 9 - 1


def test_polygon_within_one_of_its_structure_is_a_hole():
    outer, inner = [(0, 0), (9, 0), (9, 9), (0, 9)], [(3, 3), (6, 3), (6, 6), (3, 6)]
    mask = kidneyus.draw_mask({"Medulla": [outer, inner]}, "regions", (10, 10))
    assert (mask == 0).sum() == 4
    assert not mask[4:6, 4:6].any()


def test_rows_without_a_shape_or_an_anatomy_draw_nothing(without_masks):
    name = names_in(without_masks)[0]

    def empty(rows):
        for row in rows:
            if row["filename"] == name:
                key = "region_attributes" if row["region_id"] == "0" else "region_shape_attributes"
                row[key] = "{}"

    edit_rows(without_masks, empty)
    entries = {Path(entry["image"]).name: entry for entry in all_entries(without_masks, task="all")}
    assert not kidneyus.read_label(entries[name]["label"]).any()


def edit_shape(row, **changes):
    return json.dumps(json.loads(row["region_shape_attributes"]) | changes)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("region_shape_attributes", lambda row: row["region_shape_attributes"][:-1], "malformed JSON"),
        ("region_attributes", lambda row: "Capsule", "malformed JSON"),
        ("region_attributes", lambda row: '{"Anatomy":"Cyst"}', "one of Capsule, Central Echo Complex, .* got 'Cyst'"),
        ("region_shape_attributes", lambda row: "[1, 2]", r"expected a JSON object .*, got \[1, 2\]"),
        ("region_attributes", lambda row: "4", "expected a JSON object .*, got 4"),
        ("region_shape_attributes", lambda row: '{"name":"rect","x":1,"y":2}', "got a region of shape 'rect'"),
        (
            "region_shape_attributes",
            lambda row: edit_shape(row, all_points_x=[1, 2]),
            "3 corners, got 2 x and 2[0-9] y",
        ),
        ("region_shape_attributes", lambda row: edit_shape(row, all_points_x=5), "lists of corners, got .*_x 5"),
        ("region_shape_attributes", lambda row: edit_shape(row, all_points_x=["a"] * 24), "as numbers, got 'a'"),
        ("region_shape_attributes", lambda row: edit_shape(row, all_points_x=[math.inf] * 24), "as numbers, got inf"),
        ("region_shape_attributes", lambda row: edit_shape(row, all_points_y=[math.nan] * 24), "as numbers, got nan"),
    ],
)
def test_faulty_row_is_named_by_line_and_image(without_masks, column, value, reason):
    edit_rows(without_masks, lambda rows: rows[0].update({column: value(rows[0])}))
    with pytest.raises(InputError, match=rf"1 fault\n.*reviewed_labels_1\.csv: line 2, 1_IM.*: .*{reason}"):
        kidneyus.check(without_masks)
    with pytest.raises(InputError, match=r"mend the row in the VGG Image Annotator, or use the mask PNGs"):
        kidneyus.datalist(without_masks, "training")


def test_table_that_is_none_is_one_fault(without_masks):
    path = without_masks / "labels" / "reviewed_labels_1.csv"
    good = path.read_text()
    no_columns = "no column filename, region_shape_attributes, region_attributes; expected a CSV of the VGG"
    for data, reason in (
        (b"file,shape\n", no_columns),
        (b"", no_columns),
        (good.encode("utf-16"), no_columns),
        (good.splitlines()[0].encode(), "has no rows"),
    ):
        path.write_bytes(data)
        message = faults_of(without_masks)
        assert f"1 fault\n  - {path}: {reason}" in message, message


def test_quote_that_is_not_closed_is_named_with_its_line(without_masks):
    path = without_masks / "labels" / "reviewed_labels_1.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], 'a.png,1,"', *["no quote\n"] * 20_000]))
    message = faults_of(without_masks)
    assert f"{path}: cannot be read after line 3 (field larger" in message
    assert "look for a quote that is not closed" in message


def test_polygons_of_an_image_of_another_size_are_named(without_masks):
    name = names_in(without_masks)[0]
    path = without_masks / IMAGES / name
    image = Image.open(path)
    image.resize((image.width // 2, image.height // 2)).save(path)
    message = faults_of(without_masks)
    assert f"reviewed_labels_1.csv: {name}: " in message
    assert f"corners lie outside the image of {image.width // 2} x {image.height // 2} pixels" in message
    assert message.count("corners lie outside") == 1


def test_image_without_rows_is_named(without_masks):
    name = names_in(without_masks)[0]
    edit_rows(without_masks, lambda rows: [row for row in rows if row["filename"] != name])
    assert f"{IMAGES}/{name}: no label, expected rows of this name in" in faults_of(without_masks)


# Bad input


@pytest.mark.parametrize("num_labels", [0, 50])
def test_label_budget_out_of_range_says_how_many_there_are(pristine, num_labels):
    for refused in (kidneyus.check, lambda *given, **more: kidneyus.datalist(*given, "training", **more)):
        with pytest.raises(InputError, match=f"num_labels must be between 1 and the 5 .*, got {num_labels}"):
            refused(pristine, num_labels=num_labels)


def test_too_few_exams_says_how_many_images_are_needed(phantoms):
    for name in names_in(phantoms):
        if not name.startswith(("1_", "2_")):
            (phantoms / IMAGES / name).unlink()
    expected = "1 for the test, 2 for validation, 1 for training needed, found 3 images of 2 exams, which stay whole"
    assert expected in faults_of(phantoms)


@pytest.mark.parametrize(("kind", "task"), [("regions", "regions"), ("capsule", "all")])
def test_image_without_its_mask_is_named(phantoms, kind, task):
    name = names_in(phantoms)[0]
    mask_path(phantoms, name, kind).unlink()
    message = f"{IMAGES}/{name}: no label, expected labels/reviewed_masks_1/{kind}/{name}"
    assert message in faults_of(phantoms, task=task)
    with pytest.raises(InputError, match="1 fault\n.*" + message):
        kidneyus.datalist(phantoms, "training", task=task)


def test_only_the_labels_of_the_task_and_annotator_are_needed(phantoms):
    shutil.rmtree(phantoms / "labels" / "reviewed_masks_1" / "capsule")
    shutil.rmtree(phantoms / "labels" / "reviewed_masks_2")
    (phantoms / "labels" / "reviewed_labels_2.csv").unlink()
    assert sum(kidneyus.check(phantoms).values()) == 12
    message = faults_of(phantoms, task="all", annotator="intersection")
    assert "labels/reviewed_masks_1/capsule: no masks in it" in message
    assert "labels/reviewed_masks_2: no such folder, and no labels/reviewed_labels_2.csv" in message


def test_folder_without_images_is_named(phantoms):
    for name in names_in(phantoms):
        (phantoms / IMAGES / name).unlink()
    assert "kidneyUS_images*: no images in it; expected files such as 100_IM-0246-0030_anon.png" in faults_of(phantoms)


def test_mask_of_another_size_is_named_with_both_sizes(phantoms):
    name = names_in(phantoms)[0]
    Image.new("L", (50, 40)).save(mask_path(phantoms, name))
    message = f"labels/reviewed_masks_1/regions/{name}: is 50 x 40, but its image {IMAGES}/{name} is "
    assert message + "{} x {} pixels".format(*Image.open(phantoms / IMAGES / name).size) in faults_of(phantoms)


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        ("regions", [0, 1, 4, 255], "expected grey values from 0 to 3, got 4, 255"),
        ("capsule", [0, 255], "expected grey values from 0 to 1, got 255"),
    ],
)
def test_mask_with_unexpected_values_is_named(phantoms, kind, values, reason):
    name = names_in(phantoms)[0]
    shape = read_array(mask_path(phantoms, name)).shape
    Image.fromarray(np.resize(np.array(values, np.uint8), shape)).save(mask_path(phantoms, name, kind))
    assert f"reviewed_masks_1/{kind}/{name}: {reason}" in faults_of(phantoms, task="all")


def test_mask_in_colour_is_named(phantoms):
    path = mask_path(phantoms, names_in(phantoms)[0])
    Image.open(path).convert("RGB").save(path)
    assert f"{path.name}: expected one grey channel, got Pillow mode RGB" in faults_of(phantoms)


def test_empty_mask_is_accepted(phantoms):
    """Sonographers left regions out where they could not tell them."""
    path = mask_path(phantoms, names_in(phantoms)[0])
    Image.new("L", Image.open(path).size).save(path)
    assert sum(kidneyus.check(phantoms).values()) == 12


def test_all_faults_are_listed_at_once(phantoms):
    names = names_in(phantoms)
    (phantoms / IMAGES / names[0]).write_bytes(b"")
    mask_path(phantoms, names[1]).unlink()
    mask_path(phantoms, names[2], "capsule").write_bytes(b"\x89PNG")
    mask_path(phantoms, names[3], number=2).write_bytes(b"")
    message = faults_of(phantoms, num_labels=50, task="all", annotator="intersection")
    assert message.startswith(f"KidneyUS in {phantoms}: 5 faults")
    assert all(name in message for name in (*names[:4], "num_labels"))


# Phantoms


def test_phantoms_have_the_layout_and_formats_of_kidneyus(pristine):
    names = names_in(pristine)
    assert len(names) == 12
    expected = {f"{IMAGES}/{name}" for name in names} | {f"labels/reviewed_labels_{number}.csv" for number in (1, 2)}
    expected |= {
        mask_path(Path(), name, kind, number).as_posix()
        for name in names
        for kind in ("capsule", "regions")
        for number in (1, 2)
    }
    assert {path.relative_to(pristine).as_posix() for path in pristine.rglob("*.*")} == expected
    assert len({Image.open(pristine / IMAGES / name).size for name in names}) > 8
    assert {Image.open(path).mode for path in (pristine / "labels").rglob("*.png")} == {"L"}


def test_phantom_table_is_written_as_the_annotator_does(pristine):
    lines = (pristine / "labels" / "reviewed_labels_1.csv").read_text().splitlines()
    columns = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    assert lines[0] == columns
    assert '"{""name"":""polygon"",""all_points_x"":[' in lines[1]
    assert lines[1].endswith('"{""Anatomy"":""Capsule""}"')


def test_every_section_shows_every_class(pristine):
    for section in SECTIONS:
        entries = kidneyus.datalist(pristine, section, task="all", annotator="intersection")
        shown = {value for entry in entries for value in np.unique(kidneyus.read_label(entry["label"])).tolist()}
        assert shown == set(kidneyus.TASKS["all"])


def test_same_seed_writes_the_same_bytes_and_another_seed_others(pristine, tmp_path):
    again = kidneyus.write_phantoms(tmp_path / "again", 1, SIZE)
    other = kidneyus.write_phantoms(tmp_path / "other", 1, SIZE, seed=1)
    (name,) = names_in(again)
    assert (again / IMAGES / name).read_bytes() == (pristine / IMAGES / name).read_bytes()
    assert mask_path(again, name).read_bytes() == mask_path(pristine, name).read_bytes()
    assert (other / IMAGES / names_in(other)[0]).read_bytes() != (again / IMAGES / name).read_bytes()


def test_existing_dataset_is_not_overwritten_by_phantoms(pristine):
    with pytest.raises(InputError, match="exists already"):
        kidneyus.write_phantoms(pristine, 1, SIZE)


@pytest.fixture(scope="module")
def half_size(tmp_path_factory):
    root = kidneyus.write_phantoms(tmp_path_factory.mktemp("half") / "KidneyUS", 3, (384, 512))
    entries = all_entries(root, num_validation=1, task="all", annotator="intersection")
    pairs = [(read_array(entry["image"]).astype(float), kidneyus.read_label(entry["label"])) for entry in entries]
    return [pair for pair in pairs if pair[0].ndim == 2]


def test_phantom_structures_differ_in_brightness(half_size):
    for image, label in half_size:
        background, echo_complex, medulla, cortex, other = (image[label == value].mean() for value in range(5))
        inside = image[(label == 0) & (image > 0)].mean()
        assert medulla < other < cortex < echo_complex
        assert cortex < 0.95 * inside
        assert background < inside


def test_phantom_is_black_outside_a_sector(half_size):
    for image, label in half_size:
        field = image > 0
        height, width = image.shape
        assert not field[-height // 50 :, : width // 8].any()
        assert not field[: height // 2, : width // 8].any()
        assert 0.3 < field.mean() < 0.7
        assert not label[~np.maximum.accumulate(field, axis=0)].any()


def test_phantom_speckle_is_granular(half_size):
    """Its deviation is a sizeable part of its mean, and neighbouring pixels are alike but distant ones are not."""
    for image, label in half_size:
        echo_complex = np.where(label == 1, image, np.nan)
        deviation = echo_complex - np.nanmean(echo_complex)
        assert np.nanstd(echo_complex) > 0.1 * np.nanmean(echo_complex)
        near, far = (np.nanmean(deviation[:, step:] * deviation[:, :-step]) for step in (1, 12))
        assert near > 0.5 * np.nanvar(echo_complex)
        assert abs(far) < 0.3 * np.nanvar(echo_complex)


def test_phantom_labels_are_asymmetric(half_size):
    """A flip or a turn that is applied to the image alone must not go unnoticed."""
    for _, label in half_size:
        for flipped in (label[::-1], label[:, ::-1], label[::-1, ::-1]):
            assert (label != flipped).sum() > 0.2 * (label > 0).sum()


# The real labels


def real_names():
    return sorted(path.name for path in (REAL / "reviewed_masks_1" / "capsule").glob("*.png"))


@needs_real_data
@pytest.mark.parametrize("number", [1, 2])
def test_real_masks_and_polygons_agree_up_to_the_border(number):
    faults = Faults("KidneyUS", REAL)
    polygons = kidneyus.read_polygons(REAL / f"reviewed_labels_{number}.csv", faults)
    faults.raise_if_any()
    assert sorted(polygons) == real_names()
    for name in real_names():
        for kind in ("capsule", "regions"):
            mask = read_array(REAL / f"reviewed_masks_{number}" / kind / name)
            size = mask.shape[::-1]
            drawn = kidneyus.draw_mask(polygons[name], kind, size)
            assert set(np.unique(drawn)) == set(np.unique(mask))
            border = Image.new("1", size)
            for shape in (corners for shapes in polygons[name].values() for corners in shapes):
                ImageDraw.Draw(border).line([*shape, shape[0]], fill=1)
            distance = distance_transform_edt(~np.asarray(border))
            wrong = drawn != mask
            assert not wrong[distance > 1].any()
            assert wrong.sum() < 0.005 * (mask > 0).sum()


@needs_real_data
def test_real_annotators_agree_as_far_as_two_sonographers_do():
    entries = [
        {
            "label": [
                {kind: str(REAL / f"reviewed_masks_{number}" / kind / name) for kind in ("capsule", "regions")}
                for number in (1, 2)
            ]
        }
        for name in real_names()
    ]
    dice = kidneyus.inter_annotator_dice(entries)
    assert dice["central echo complex"] > dice["medulla"] > 0.5
    assert 0.4 < dice["cortex"] < 0.9
    capsules = [{"label": [{"capsule": files["capsule"]} for files in entry["label"]]} for entry in entries]
    assert 0.95 < kidneyus.inter_annotator_dice(capsules)["kidney"] < 1
