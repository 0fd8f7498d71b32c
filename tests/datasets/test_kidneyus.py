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
from PIL import Image

from common.datasets.annotators import inter_annotator_dice
from common.datasets.kidneyus import ANNOTATORS, KidneyUSDataset, class_names
from common.datasets.readers.images import to_grey
from common.datasets.readers.kidneyus import TASKS, LoadKidneyLabeld, read_label
from common.datasets.splits import SPLITS
from common.errors import InputError

SIZE = (120, 160)
IMAGES = "kidneyUS_images_14_june_2022"


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("kidneyus")


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "KidneyUS"))


@pytest.fixture
def without_masks(phantoms):
    for number in (1, 2):
        shutil.rmtree(phantoms / "labels" / f"reviewed_masks_{number}")
    return phantoms


def folder_of(root):
    return KidneyUSDataset(root=root).folder


def entries_of(folder, split, **settings):
    return KidneyUSDataset(root=folder, **settings).entries(split)


def check(folder, **settings):
    return KidneyUSDataset(root=folder, **settings).check()


def issues_of(folder, **arguments):
    with pytest.raises(InputError) as caught:
        check(folder, **arguments)
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
    return [entry for split in SPLITS for entry in entries_of(folder, split, **arguments)]


# Finding the folder


@pytest.mark.parametrize("given", [".", "..", IMAGES, "labels", "labels/reviewed_masks_1", "labels/reviewed_masks_2"])
def test_root_is_found_from_its_folders(phantoms, given):
    assert folder_of(phantoms / given) == phantoms


def test_images_unpacked_into_a_folder_of_the_same_name_are_found(pristine, phantoms):
    (phantoms / IMAGES).rename(phantoms / "inner")
    (phantoms / IMAGES).mkdir()
    (phantoms / "inner").rename(phantoms / IMAGES / IMAGES)
    assert check(phantoms) == check(pristine)


def test_labels_without_images_are_told_the_layout(phantoms):
    shutil.rmtree(phantoms / IMAGES)
    with pytest.raises(InputError, match=r"kidneyUS_images_14_june_2022/100_IM.*beside them .*labels/reviewed_masks_1"):
        folder_of(phantoms)


# Splits


@pytest.mark.parametrize("seed", range(5))
def test_splits_share_no_exam(pristine, seed):
    parts = [{Path(e["image"]).name for e in entries_of(pristine, split, seed=seed)} for split in SPLITS]
    assert sorted(name for part in parts for name in part) == names_in(pristine)
    exams = [{name.split("_")[0] for name in part} for part in parts]
    assert not exams[0] & exams[1] | exams[0] & exams[2] | exams[1] & exams[2]
    assert len(parts[1]) in (2, 3)
    assert len(parts[2]) in (3, 4)


def test_splits_are_the_same_for_every_task_and_annotator(pristine):
    for split in SPLITS:
        images = {
            tuple(entry["image"] for entry in entries_of(pristine, split, task=task, annotator=annotator))
            for task in TASKS
            for annotator in ANNOTATORS
        }
        assert len(images) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "train"}, "split must be one of training, validation, test, got 'train'"),
        ({"split": "test", "task": "cortex"}, "task must be one of regions, capsule, all, got 'cortex'"),
        ({"split": "test", "annotator": 3}, "annotator must be one of 1, 2, intersection, got 3"),
    ],
)
def test_unknown_choices_are_refused(pristine, arguments, message):
    with pytest.raises(ValueError, match=message):
        entries_of(pristine, **arguments)


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
        check(pristine, **arguments)


def test_classes_are_those_of_the_task():
    assert class_names("capsule") == ["background", "kidney"]
    with pytest.raises(InputError, match=r"task must be one of regions, capsule, all, got \['regions'\]"):
        class_names(["regions"])


# Labels


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("task", ["regions", "capsule"])
def test_label_of_one_mask_is_that_mask(pristine, task, number):
    for entry in entries_of(pristine, "training", task=task, annotator=number):
        expected = read_array(mask_path(pristine, Path(entry["image"]).name, task, number))
        assert np.array_equal(read_label(entry["label"]), expected)


def test_parenchyma_that_no_region_covers_is_a_class_of_its_own(pristine):
    for entry in entries_of(pristine, "training", task="all"):
        name = Path(entry["image"]).name
        label = read_label(entry["label"])
        regions, capsule = read_array(mask_path(pristine, name)), read_array(mask_path(pristine, name, "capsule"))
        assert np.array_equal(np.where(label == 4, 0, label), regions)
        assert np.array_equal(label == 4, (capsule == 1) & (regions == 0))
        assert (label == 4).any()


def test_dice_of_phantom_annotators_is_good_but_not_perfect(pristine):
    entries = all_entries(pristine, task="all", annotator="intersection")
    dice = inter_annotator_dice(entries)
    assert list(dice) == list(TASKS["all"].values())[1:]
    assert all(0.5 < value < 0.99 for value in dice.values())
    (kidney,) = inter_annotator_dice(all_entries(pristine, task="capsule", annotator="intersection")).values()
    assert max(dice.values()) < kidney < 1


def test_agreement_is_that_of_the_images_of_a_split(pristine, caplog):
    entries = entries_of(pristine, "test", num_validation=3, task="capsule", annotator="intersection")
    with caplog.at_level("INFO"):
        found = KidneyUSDataset(root=pristine, num_validation=3, task="capsule").agreement("test")
    assert found == inter_annotator_dice(entries)
    assert f"on {len(entries)} test images: kidney {found['kidney']:.3f}" in caplog.text


def test_agreement_is_unknown_where_one_annotator_has_drawn_nothing(phantoms, caplog):
    shutil.rmtree(phantoms / "labels" / "reviewed_masks_2")
    (phantoms / "labels" / "reviewed_labels_2.csv").unlink()
    with caplog.at_level("INFO"):
        assert KidneyUSDataset(root=phantoms).agreement("test") is None
    assert "the agreement between annotators is unknown" in caplog.text
    assert "reviewed_masks_2" in caplog.text


def test_agreement_is_unknown_where_the_labels_of_one_annotator_are_damaged(phantoms, caplog):
    path = mask_path(phantoms, Path(entries_of(phantoms, "test")[0]["image"]).name, number=2)
    caplog.set_level(logging.INFO)
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(path)
    assert KidneyUSDataset(root=phantoms).agreement("test") is None
    assert "and 8 x 9 pixels; expected one size" in caplog.text
    path.write_bytes(b"")
    assert KidneyUSDataset(root=phantoms).agreement("test") is None
    assert f"{path}: the file is empty" in caplog.text


def test_transform_loads_labels_beside_images_of_any_mode(pristine):
    modes = set()
    for entry in all_entries(pristine, task="all", annotator="intersection"):
        modes.add(Image.open(entry["image"]).mode)
        loaded = LoadImaged("image", reader=PILReader(converter=to_grey), ensure_channel_first=True)(entry)
        loaded = LoadKidneyLabeld("label")(loaded)
        assert len(loaded["image"]) == KidneyUSDataset.in_channels
        assert loaded["image"].shape == loaded["label"].shape
        expected = read_label(entry["label"])
        assert np.array_equal(np.asarray(loaded["label"][0]).T, expected)
        assert np.array_equal(
            np.asarray(loaded["image"][0]).T, read_array(entry["image"]).reshape(*expected.shape, -1)[..., 0]
        )
    assert modes == {"L", "RGB"}


# Polygons


def test_polygons_are_read_where_there_are_no_masks_and_the_log_says_so(pristine, without_masks, caplog):
    caplog.set_level(logging.INFO)
    for task in TASKS:
        for annotator in ANNOTATORS:
            assert check(without_masks, task=task, annotator=annotator) == check(pristine)
            pairs = zip(
                entries_of(pristine, "test", task=task, annotator=annotator),
                entries_of(without_masks, "test", task=task, annotator=annotator),
                strict=True,
            )
            for drawn, polygons in pairs:
                expected = read_label(drawn["label"])
                assert np.array_equal(read_label(polygons["label"]), expected)
    assert "no masks by annotator 2, they are drawn from" in caplog.text


def test_rows_that_are_there_twice_change_nothing_and_are_named(without_masks, caplog):
    before = [read_label(entry["label"]) for entry in all_entries(without_masks)]
    rows = len((without_masks / "labels" / "reviewed_labels_1.csv").read_text().splitlines()) - 1
    edit_rows(without_masks, lambda rows: rows + rows)
    check(without_masks)
    assert f"count once: {rows} rows of {without_masks / 'labels' / 'reviewed_labels_1.csv'} (line " in caplog.text
    after = [read_label(entry["label"]) for entry in all_entries(without_masks)]
    assert all(map(np.array_equal, before, after))


def test_polygons_beside_the_images_are_found(without_masks):
    for path in (without_masks / "labels").glob("*.csv"):
        path.rename(without_masks / IMAGES / path.name)
    assert sum(check(without_masks, annotator="intersection").values()) == 12


def test_polygons_are_read_again_after_a_change(without_masks):
    entry = entries_of(without_masks, "training")[0]
    assert read_label(entry["label"]).any()
    edit_rows(without_masks, lambda rows: [row | {"region_shape_attributes": "{}"} for row in rows])
    assert not read_label(entry["label"]).any()


def test_rows_without_a_shape_or_an_anatomy_draw_nothing(without_masks):
    name = names_in(without_masks)[0]

    def empty(rows):
        for row in rows:
            if row["filename"] == name:
                key = "region_attributes" if row["region_id"] == "0" else "region_shape_attributes"
                row[key] = "{}"

    edit_rows(without_masks, empty)
    entries = {Path(entry["image"]).name: entry for entry in all_entries(without_masks, task="all")}
    assert not read_label(entries[name]["label"]).any()


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
    with pytest.raises(InputError, match=rf"1 issue\n.*reviewed_labels_1\.csv: line 2, 1_IM.*: .*{reason}"):
        check(without_masks)
    with pytest.raises(InputError, match=r"repair the row in the VGG Image Annotator, or use the mask PNGs"):
        entries_of(without_masks, "training")


def test_table_that_is_none_is_one_issue(without_masks):
    path = without_masks / "labels" / "reviewed_labels_1.csv"
    good = path.read_text()
    no_columns = "no column filename, region_shape_attributes, region_attributes; expected a CSV of the VGG"
    for data, reason in (
        (b"file,shape\n", no_columns),
        (b"", no_columns),
        (good.encode("utf-16"), "line 1 is not UTF-8; expected a CSV of the VGG"),
        (good.replace(",", ";").encode(), no_columns),
        (good.splitlines()[0].encode(), "has no rows"),
    ):
        path.write_bytes(data)
        message = issues_of(without_masks)
        assert f"1 issue\n  - {path}: {reason}" in message, message


def test_quote_that_is_not_closed_is_named_with_its_line(without_masks):
    path = without_masks / "labels" / "reviewed_labels_1.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], 'a.png,1,"', *["no quote\n"] * 20_000]))
    message = issues_of(without_masks)
    assert f"{path}: cannot be read after line 3 (field larger" in message
    assert "look for a quote that is not closed" in message


def test_polygons_of_an_image_of_another_size_are_named(without_masks):
    name = names_in(without_masks)[0]
    path = without_masks / IMAGES / name
    image = Image.open(path)
    image.resize((image.width // 2, image.height // 2)).save(path)
    message = issues_of(without_masks)
    assert f"reviewed_labels_1.csv: {name}: " in message
    assert f"corners lie outside the image of {image.width // 2} x {image.height // 2} pixels" in message
    assert message.count("corners lie outside") == 1


def test_image_without_rows_is_named(without_masks):
    name = names_in(without_masks)[0]
    edit_rows(without_masks, lambda rows: [row for row in rows if row["filename"] != name])
    assert f"{IMAGES}/{name}: no label, expected rows of this name in" in issues_of(without_masks)


# Bad input


@pytest.mark.parametrize("num_labels", [0, 50])
def test_label_budget_out_of_range_says_how_many_there_are(pristine, num_labels):
    for refused in (check, lambda *given, **more: entries_of(*given, "training", **more)):
        with pytest.raises(InputError, match=f"num_labels must be between 1 and the 5 .*, got {num_labels}"):
            refused(pristine, num_labels=num_labels)


def test_too_few_exams_says_how_many_images_are_needed(phantoms):
    for name in names_in(phantoms):
        if not name.startswith(("1_", "2_")):
            (phantoms / IMAGES / name).unlink()
    expected = "1 for the test, 2 for validation, 1 for training needed, found 3 images of 2 exams, which stay whole"
    assert expected in issues_of(phantoms)


@pytest.mark.parametrize(("kind", "task"), [("regions", "regions"), ("capsule", "all")])
def test_image_without_its_mask_is_named(phantoms, kind, task):
    name = names_in(phantoms)[0]
    mask_path(phantoms, name, kind).unlink()
    message = f"{IMAGES}/{name}: no label, expected labels/reviewed_masks_1/{kind}/{name}"
    assert message in issues_of(phantoms, task=task)
    with pytest.raises(InputError, match="1 issue\n.*" + message):
        entries_of(phantoms, "training", task=task)


def test_only_the_labels_of_the_task_and_annotator_are_needed(phantoms):
    shutil.rmtree(phantoms / "labels" / "reviewed_masks_1" / "capsule")
    shutil.rmtree(phantoms / "labels" / "reviewed_masks_2")
    (phantoms / "labels" / "reviewed_labels_2.csv").unlink()
    assert sum(check(phantoms).values()) == 12
    message = issues_of(phantoms, task="all", annotator="intersection")
    assert "labels/reviewed_masks_1/capsule: no masks in it" in message
    assert "labels/reviewed_masks_2: no such folder, and no labels/reviewed_labels_2.csv" in message


def test_folder_without_images_is_named(phantoms):
    for name in names_in(phantoms):
        (phantoms / IMAGES / name).unlink()
    assert "kidneyUS_images*: no images in it; expected files such as 100_IM-0246-0030_anon.png" in issues_of(phantoms)


def test_mask_of_another_size_is_named_with_both_sizes(phantoms):
    name = names_in(phantoms)[0]
    Image.new("L", (50, 40)).save(mask_path(phantoms, name))
    message = f"labels/reviewed_masks_1/regions/{name}: is 50 x 40, but its image {IMAGES}/{name} is "
    assert message + "{} x {} pixels".format(*Image.open(phantoms / IMAGES / name).size) in issues_of(phantoms)


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
    assert f"reviewed_masks_1/{kind}/{name}: {reason}" in issues_of(phantoms, task="all")


def test_mask_in_colour_is_named(phantoms):
    path = mask_path(phantoms, names_in(phantoms)[0])
    Image.open(path).convert("RGB").save(path)
    assert f"{path.name}: expected one grey channel, got Pillow mode RGB" in issues_of(phantoms)


def test_empty_mask_is_accepted(phantoms):
    """Sonographers left regions out where they could not tell them."""
    path = mask_path(phantoms, names_in(phantoms)[0])
    Image.new("L", Image.open(path).size).save(path)
    assert sum(check(phantoms).values()) == 12


def test_all_issues_are_listed_at_once(phantoms):
    names = names_in(phantoms)
    (phantoms / IMAGES / names[0]).write_bytes(b"")
    mask_path(phantoms, names[1]).unlink()
    mask_path(phantoms, names[2], "capsule").write_bytes(b"\x89PNG")
    mask_path(phantoms, names[3], number=2).write_bytes(b"")
    message = issues_of(phantoms, num_labels=50, task="all", annotator="intersection")
    assert message.startswith(f"KidneyUS in {phantoms}: 5 issues")
    assert all(name in message for name in (*names[:4], "num_labels"))
