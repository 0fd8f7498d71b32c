"""What the dataset modules share."""

import io
import random

import numpy as np
import openpyxl
import pytest
from PIL import Image

from common.datasets.issues import Faults
from common.datasets.masks import check_files, mask_fault
from common.datasets.phantoms.folder import written_whole
from common.datasets.readers.images import read_image, to_grey
from common.datasets.readers.labels import LoadLabeld
from common.datasets.roots import find_root, list_images
from common.datasets.splits import cut_sections, repeat, seeded_order, split_groups, stratified_order
from common.datasets.workbooks import read_workbook
from common.errors import InputError
from common.files.provenance import are_phantoms

PATIENTS = [f"patient{number}" for number in range(20)]


def image_bytes(format_name):
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(stream, format_name)
    return stream.getvalue()


def test_read_image_returns_pixels_that_outlive_the_file(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(image_bytes("PNG"))
    image = read_image(path)
    path.unlink()
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(image_bytes("PNG")))))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format_name", ["GIF", "TIFF", "PNG", "BMP", "JPEG"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_image_is_named(tmp_path, format_name, share):
    data = image_bytes(format_name)
    path = tmp_path / "21_training.tif"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"21_training\.tif"):
        read_image(path)


def test_folder_in_the_place_of_an_image_is_named_as_one(tmp_path):
    (tmp_path / "image.png").mkdir()
    with pytest.raises(InputError, match=r"image\.png: is a folder, expected an image"):
        read_image(tmp_path / "image.png")


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"", "empty"), (b"<html>", "cannot be read")])
def test_file_that_is_no_image_is_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "21_training.tif"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"21_training\.tif: .*{reason}"):
        read_image(path)


def test_faults_are_raised_together():
    faults = Faults("DRIVE", "/data/DRIVE")
    faults.raise_if_any()
    faults.add("a.tif: no label")
    with faults.collect():
        raise InputError("b.tif: empty")
    with pytest.raises(InputError) as caught:
        faults.raise_if_any()
    assert str(caught.value).splitlines() == [
        "DRIVE in /data/DRIVE: 2 faults",
        "  - a.tif: no label",
        "  - b.tif: empty",
    ]


def test_only_input_errors_are_collected():
    with pytest.raises(ZeroDivisionError), Faults("DRIVE", "").collect():
        raise ZeroDivisionError


def test_many_faults_are_counted_and_cut_short():
    faults = Faults("DRIVE", "/data")
    for number in range(33):
        faults.add(f"{number}.tif: empty")
    with pytest.raises(InputError) as caught:
        faults.raise_if_any()
    lines = str(caught.value).splitlines()
    assert "33 faults" in lines[0]
    assert len(lines) == 22
    assert lines[-1].strip() == "... and 13 more"


def test_split_is_the_same_for_any_order_of_input():
    shuffled = random.Random(1).sample(PATIENTS, len(PATIENTS))
    assert split_groups(PATIENTS, [0.25, 2], seed=3) == split_groups(shuffled * 2, [0.25, 2], seed=3)


def test_split_parts_are_disjoint_and_complete():
    parts = split_groups(PATIENTS, [0.25, 2], seed=0)
    assert [len(part) for part in parts] == [5, 2, 13]
    assert sorted(name for part in parts for name in part) == sorted(PATIENTS)


def test_split_depends_on_the_seed():
    assert split_groups(PATIENTS, [5], seed=0) != split_groups(PATIENTS, [5], seed=1)


def test_split_is_pinned():
    """Results that were published with a seed must stay reproducible."""
    assert seeded_order(["21", "22", "23", "24", "25", "26"], seed=0) == ["26", "24", "23", "25", "21", "22"]


def test_removing_a_group_keeps_the_order_of_the_others():
    order = seeded_order(PATIENTS, seed=0)
    assert seeded_order([p for p in PATIENTS if p != order[4]], seed=0) == order[:4] + order[5:]


def test_split_with_too_few_groups_says_how_many_are_needed():
    with pytest.raises(InputError, match="at least 4 groups, found 3"):
        split_groups(["a", "b", "c", "c"], [1, 2], seed=0)


@pytest.mark.parametrize("size", [0, -1])
def test_split_refuses_an_empty_part(size):
    with pytest.raises(InputError, match="at least one group"):
        split_groups(PATIENTS, [size], seed=0)


@pytest.mark.parametrize("size", [0.0, 1.0, 1.5])
def test_split_refuses_a_fraction_outside_zero_and_one(size):
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_groups(PATIENTS, [size], seed=0)


STRATA = {f"nevus{number}": "nevus" for number in range(30)} | {f"melanoma{number}": "melanoma" for number in range(10)}


@pytest.mark.parametrize("seed", range(3))
def test_stratified_order_gives_stratified_parts_wherever_it_is_cut(seed):
    order = stratified_order(STRATA, seed)
    assert sorted(order) == sorted(STRATA)
    for count in range(41):
        assert abs([STRATA[name] for name in order[:count]].count("melanoma") - count / 4) <= 1


def test_stratified_order_depends_on_the_names_and_the_seed_alone():
    shuffled = dict(random.Random(1).sample(list(STRATA.items()), len(STRATA)))
    assert stratified_order(STRATA, seed=3) == stratified_order(shuffled, seed=3)
    assert stratified_order(STRATA, seed=3) != stratified_order(STRATA, seed=4)


def test_stratified_order_of_one_stratum_is_the_seeded_order():
    assert stratified_order(dict.fromkeys(PATIENTS, ""), seed=0) == seeded_order(PATIENTS, seed=0)


def test_sections_are_cut_between_groups():
    faults = Faults("KidneyUS", "")
    groups = [["a2", "a1"], ["b"], ["c2", "c1"], ["e"], ["d"]]
    sections = cut_sections(groups, 3, 1, None, faults)
    assert sections == {"test": ["a1", "a2", "b"], "validation": ["c1", "c2"], "training": ["e", "d"]}
    assert cut_sections(groups, 0, 0, 1, faults) == {"test": [], "validation": [], "training": ["a2"]}
    assert not faults.messages


@pytest.mark.parametrize(("num_test", "num_validation"), [(5, 1), (3, 1), (1, 3), (0, 6)])
def test_too_few_groups_to_cut_says_what_is_needed(num_test, num_validation):
    faults = Faults("KidneyUS", "")
    sections = cut_sections([["a1", "a2"], ["b1", "b2"], ["c"]], num_test, num_validation, None, faults, "exams")
    assert sections == {"training": [], "validation": [], "test": []}
    (message,) = faults.messages
    assert f"{num_validation} for validation, 1 for training needed, found 5 images of 3 exams" in message
    assert ("for the test" in message) == (num_test > 0)
    assert message.endswith("; set num_validation lower or add images")


@pytest.mark.parametrize("num_labels", [-1, 0, 3])
def test_label_budget_out_of_range_is_a_fault(num_labels):
    faults = Faults("KidneyUS", "")
    cut_sections([["a"], ["b"], ["c"], ["d"]], 1, 1, num_labels, faults)
    assert faults.messages == [f"num_labels must be between 1 and the 2 training images available, got {num_labels}"]


def make_dataset(folder):
    (folder / "images_2022" / "left").mkdir(parents=True)
    (folder / "labels").mkdir()
    return folder


@pytest.mark.parametrize("given", [".", "..", "images_2022", "images_2022/left", "labels"])
def test_root_is_found_by_a_pattern_from_one_level_off(tmp_path, given):
    root = make_dataset(tmp_path / "data")
    assert find_root(root / given, "X", ["images_*/left", "labels"], "a layout") == root


def test_folder_that_only_lies_beside_the_data_is_not_taken_for_it(tmp_path):
    root = make_dataset(tmp_path / "data")
    (root / "my own images").mkdir()
    with pytest.raises(InputError, match=r"my own images: no images_\*/left here or one level down; expected a layout"):
        find_root(root / "my own images", "X", ["images_*/left", "labels"], "a layout")


def test_several_roots_are_not_chosen_between(tmp_path):
    make_dataset(tmp_path / "one")
    make_dataset(tmp_path / "two")
    with pytest.raises(InputError, match=r"several copies of X \(one, two\)"):
        find_root(tmp_path, "X", ["images_*/left"], "a layout")


def test_hidden_and_other_files_are_not_listed(tmp_path):
    for name in ("b.PNG", "a.png", "._a.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_images(tmp_path, [".png"])] == ["a.png", "b.PNG"]
    assert list_images(tmp_path / "nowhere", [".png"]) == []


def write_workbook(path, rows, sheet="Sheet1"):
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.create_sheet(sheet, 9).append([]) if row is None else workbook.worksheets[-1].append(row)
    workbook.save(path)
    return path


def test_workbook_is_read_below_the_row_that_names_the_columns(tmp_path):
    rows = [["a title"], [], ["No", "patient id ", "Image Number"], [1, "P1", 7], [None, None, None], [2, "P2", None]]
    path = write_workbook(tmp_path / "table.xlsx", rows)
    assert read_workbook(path, ["Image Number", "Patient ID"]) == [
        {"Image Number": "7", "Patient ID": "P1"},
        {"Image Number": "", "Patient ID": "P2"},
    ]


def test_workbook_is_read_from_whatever_sheet_has_the_columns(tmp_path):
    path = write_workbook(tmp_path / "table.xlsx", [["notes"], None, ["Patient ID"], ["P1"]])
    assert read_workbook(path, ["Patient ID"]) == [{"Patient ID": "P1"}]


def test_workbook_without_the_columns_is_named_with_them(tmp_path):
    path = write_workbook(tmp_path / "table.xlsx", [["Patient", "Image Number"], ["P1", 7]])
    with pytest.raises(InputError, match=r"table\.xlsx: no row names the columns Patient ID, Image Number"):
        read_workbook(path, ["Patient ID", "Image Number"])


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"", "cannot be read"), (b"PK", "cannot be")])
def test_file_that_is_no_workbook_is_named(tmp_path, content, reason):
    path = tmp_path / "table.xlsx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"table\.xlsx: {reason}"):
        read_workbook(path, ["Patient ID"])


GREY = np.array([[0, 0], [0, 200]], np.uint8)


def test_mask_in_colour_is_accepted_only_where_it_is_asked_for():
    mask = Image.fromarray(GREY).convert("RGB")
    assert mask_fault(mask) == "expected one grey channel, got Pillow mode RGB"
    assert mask_fault(mask, colour=True) is None
    red = Image.fromarray(np.stack([GREY, GREY * 0, GREY * 0], axis=-1))
    assert mask_fault(red, colour=True) == "expected shades of grey, got colours"


def test_mask_that_fills_the_image_is_accepted_only_where_it_is_asked_for():
    full, empty = Image.new("L", (4, 4), 255), Image.new("L", (4, 4), 0)
    assert mask_fault(full) == "expected background 0 and a foreground above, but every pixel is 255"
    assert mask_fault(full, fill=True) is None
    assert mask_fault(empty, fill=True) == "expected background 0 and a foreground above, but every pixel is 0"


@pytest.mark.parametrize(("foreground", "accepted"), [(1, True), (2, False), (127, False), (128, True), (255, True)])
def test_what_is_a_mask_to_the_checks_is_one_to_the_training(foreground, accepted, tmp_path):
    mask = Image.fromarray(np.eye(4, dtype=np.uint8) * foreground)
    full = Image.new("L", (4, 4), foreground)
    mask.save(tmp_path / "mask.png")
    if accepted:
        assert mask_fault(mask) is None
        assert mask_fault(full, fill=True) is None
        label = LoadLabeld(num_classes=2)({"label": str(tmp_path / "mask.png")})["label"]
        assert np.array_equal(label[0], np.eye(4))
    else:
        expected = f"expected 1 or white (at least 128) for the foreground, got {foreground}, a class of its own"
        assert mask_fault(mask) == expected
        assert mask_fault(full, fill=True) == expected
        with pytest.raises(InputError, match=f"has pixels of class {foreground}, which the model does not have"):
            LoadLabeld(num_classes=2)({"label": str(tmp_path / "mask.png")})


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_grey_is_one_channel_with_the_same_foreground(mode):
    grey = to_grey(Image.fromarray(GREY).convert(mode))
    assert grey.mode == "L"
    assert np.array_equal(np.asarray(grey) > 0, GREY > 0)


def test_file_checks_name_files_below_the_root(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "image.png")
    Image.new("L", (5, 4)).save(tmp_path / "mask.png")
    faults = Faults("X", tmp_path)
    masks = {tmp_path / "mask.png": lambda mask: "wrong", tmp_path / "lost.png": lambda mask: "not looked at"}
    check_files(tmp_path / "image.png", masks, tmp_path, faults, modes=("RGB", "RGBA"))
    assert faults.messages == [
        f"{tmp_path / 'lost.png'}: no such file",
        "image.png: expected 8-bit RGB or RGBA, got Pillow mode L",
        "mask.png: is 5 x 4, but its image image.png is 4 x 4 pixels",
        "mask.png: wrong",
    ]


def test_repeat_cycles_and_cuts():
    assert repeat(["a", "b", "c"], 7) == ["a", "b", "c", "a", "b", "c", "a"]
    assert repeat(["a", "b", "c"], 2) == ["a", "b"]


@pytest.mark.parametrize(("items", "length"), [([], 3), (["a"], 0)])
def test_repeat_refuses_nothing(items, length):
    with pytest.raises(ValueError, match=r"items must not be empty|length must be at least 1"):
        repeat(items, length)


def test_folder_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "DRIVE"
    with written_whole(target) as partial:
        (partial / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert list(tmp_path.iterdir()) == [target]


def test_phantoms_are_known_by_a_file_wherever_they_are_taken(tmp_path):
    with written_whole(tmp_path / "phantoms") as partial:
        (partial / "images").mkdir()
        (partial / "images" / "1.png").write_text("x")
    (tmp_path / "phantoms").rename(tmp_path / "DRIVE")
    (tmp_path / "link").symlink_to(tmp_path / "DRIVE" / "images")
    for path in ("DRIVE", "DRIVE/images", "DRIVE/images/1.png", "link/1.png"):
        assert are_phantoms(tmp_path / path), path
    (tmp_path / "phantoms" / "photographs").mkdir(parents=True)  # which are real
    for path in ("phantoms/photographs", "phantoms", "."):
        assert not are_phantoms(tmp_path / path), path


def test_interrupted_writer_leaves_nothing(tmp_path):
    def write():
        with written_whole(tmp_path / "DRIVE") as partial:
            (partial / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_existing_data_is_never_overwritten(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InputError, match="exists already"), written_whole(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "precious"
