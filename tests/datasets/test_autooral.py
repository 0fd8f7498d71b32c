"""Autooral: what is accepted, what is refused and how, the split by patient, and the phantoms."""

import logging
import shutil
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from monai.data import PILReader
from monai.transforms import LoadImaged
from PIL import Image

from common.datasets.autooral import AutooralDataset
from common.datasets.readers.images import to_grey
from common.datasets.splits import SPLITS
from common.errors import InputError

SIZE = (60, 80)
WORKBOOK = "Training Set disease classification.xlsx"


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("autooral")


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "Autooral"))


@pytest.fixture
def training_only(phantoms):
    shutil.rmtree(phantoms / "Val")
    shutil.rmtree(phantoms / "Test")
    return phantoms


def folder_of(root):
    return AutooralDataset(root=root).folder


def entries_of(folder, split, **settings):
    return AutooralDataset(root=folder, **settings).entries(split)


def check(folder, **settings):
    return AutooralDataset(root=folder, **settings).check()


def issues_of(folder, **arguments):
    with pytest.raises(InputError) as caught:
        check(folder, **arguments)
    return str(caught.value)


def image_path(folder, stem="0001", part="Train"):
    return folder / part / f"data_{part.lower()}" / f"{stem}.png"


def label_path(folder, stem="0001", part="Train"):
    return folder / part / f"mask_{part.lower()}" / f"{stem}.png"


def names_of(entries):
    """Return part and number of each image, such as ``Train/0001``."""
    return [f"{Path(entry['image']).parts[-3]}/{Path(entry['image']).stem}" for entry in entries]


def write_workbook(folder, rows, columns=("Patient ID", "Image Number")):
    workbook = openpyxl.Workbook()
    for row in (columns, *rows):
        workbook.active.append(row)
    workbook.save(folder / WORKBOOK)


def patients_in(folder):
    rows = list(openpyxl.load_workbook(folder / WORKBOOK).active.values)[1:]
    return {f"Train/{number:04d}": patient for patient, number in rows}


# Finding the folder


@pytest.mark.parametrize("given", [".", "..", "Train", "Train/data_train", "Train/mask_train", "Val", "Test/mask_test"])
def test_root_is_found_from_its_folders(phantoms, given):
    assert folder_of(phantoms / given) == phantoms


def test_folder_without_the_layout_is_told_the_layout(tmp_path):
    (tmp_path / "Train").mkdir()
    with pytest.raises(InputError, match=r"no Train/data_train here .* expected Autooral .*Train/mask_train/0001\.png"):
        folder_of(tmp_path)


# Splits


def test_official_folders_are_the_splits(pristine):
    assert check(pristine) == {"training": 12, "validation": 2, "test": 4}
    assert names_of(entries_of(pristine, "test")) == [f"Test/{number:04d}" for number in range(1, 5)]
    assert names_of(entries_of(pristine, "validation", num_validation=3)) == [
        "Val/0001",
        "Val/0002",
        "Val/0003",
    ]
    training = names_of(entries_of(pristine, "training"))
    assert sorted(training) == [f"Train/{number:04d}" for number in range(1, 13)]


def test_entries_join_files_of_one_number(pristine):
    for split in SPLITS:
        for entry in entries_of(pristine, split):
            (name,) = names_of([entry])
            part, stem = name.split("/")
            expected = {"image": image_path(pristine, stem, part), "label": label_path(pristine, stem, part)}
            assert entry == {key: str(path) for key, path in expected.items()}


@pytest.mark.parametrize("seed", range(6))
def test_splits_drawn_from_the_training_folder_share_no_patient(training_only, seed, caplog):
    caplog.set_level(logging.INFO)
    patients = patients_in(training_only)
    assert len(set(patients.values())) == 6
    parts = [names_of(entries_of(training_only, split, seed=seed)) for split in SPLITS]
    assert sorted(name for part in parts for name in part) == sorted(patients)
    training, validation, test = ({patients[name] for name in part} for part in parts)
    assert not training & validation | training & test | validation & test
    assert len(parts[1]) >= 2
    assert len(parts[2]) >= 3
    assert "no images in Val and Test, drawn from the patients of Train instead" in caplog.text


def test_splits_are_drawn_by_image_without_the_workbook_and_the_log_says_so(training_only, caplog):
    caplog.set_level(logging.INFO)
    (training_only / WORKBOOK).unlink()
    assert check(training_only) == {"training": 7, "validation": 2, "test": 3}
    assert f"there is no '{WORKBOOK}', so patients are unknown" in caplog.text
    assert "images of one patient may lie in several splits" in caplog.text
    assert "drawn from the images of Train" in caplog.text


def test_nothing_is_said_about_patients_where_the_workbook_has_them_all(pristine, caplog):
    check(pristine)
    assert not caplog.records


def renumber(folder):
    """Give the images of Val and Test numbers of their own, as if numbers ran through all folders."""
    for part, first in (("Val", 12), ("Test", 15)):
        for path_of in (image_path, label_path):
            for path in sorted(path_of(folder, part=part).parent.iterdir(), reverse=True):
                path.rename(path.with_stem(f"{int(path.stem) + first:04d}"))


def test_patients_of_a_split_held_out_are_left_out_of_training(phantoms, caplog):
    renumber(phantoms)
    patients = {1: "A", 2: "A", 3: "B", 13: "B", 14: "C", 16: "A", 17: "C"}
    write_workbook(phantoms, [(patients.get(number, number), number) for number in range(1, 20)])
    assert check(phantoms) == {"training": 9, "validation": 2, "test": 4}
    assert "Val/0014" not in names_of(entries_of(phantoms, "validation"))
    training = names_of(entries_of(phantoms, "training"))
    assert not {"Train/0001", "Train/0002", "Train/0003"} & set(training)
    assert "3 images of Train are left out" in caplog.text
    assert "1 images of Val are left out" in caplog.text


def test_numbers_that_repeat_are_those_of_the_training_folder(phantoms):
    """The official workbook is about the training set, and every folder counts from 0001."""
    write_workbook(phantoms, [("A", number) for number in range(1, 13)])
    assert check(phantoms) == {"training": 12, "validation": 2, "test": 4}


@pytest.mark.parametrize("written", ["{}", "{:04d}", "{:04d}.png", "{}.0"])
def test_image_numbers_are_understood_in_any_format(pristine, training_only, written):
    expected = [names_of(entries_of(training_only, split)) for split in SPLITS]
    rows = [(patient, written.format(int(name[-4:]))) for name, patient in patients_in(training_only).items()]
    write_workbook(training_only, rows)
    assert [names_of(entries_of(training_only, split)) for split in SPLITS] == expected


def test_images_without_a_patient_are_counted_in_the_log(phantoms, caplog):
    write_workbook(phantoms, [("A", number) for number in range(1, 10)])
    check(phantoms)
    assert "3 images of Train have no patient, first Train/0010" in caplog.text


def test_workbook_without_rows_leaves_all_patients_unknown_and_the_log_says_so(phantoms, caplog):
    write_workbook(phantoms, [])
    check(phantoms)
    assert "12 images of Train have no patient, first Train/0001" in caplog.text


def test_splits_do_not_depend_on_the_order_of_the_file_system(training_only, monkeypatch):
    expected = [entries_of(training_only, split) for split in SPLITS]
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: sorted(iterdir(folder), reverse=True))
    assert [entries_of(training_only, split) for split in SPLITS] == expected


def test_seed_changes_the_splits(training_only):
    assert len({str(entries_of(training_only, "test", seed=seed)) for seed in range(5)}) > 1


# Bad input


@pytest.mark.parametrize("num_labels", [0, 13])
def test_label_budget_out_of_range_says_how_many_there_are(pristine, num_labels):
    for refused in (check, lambda *given, **more: entries_of(*given, "training", **more)):
        with pytest.raises(InputError, match=f"num_labels must be between 1 and the 12 .*, got {num_labels}"):
            refused(pristine, num_labels=num_labels)


@pytest.mark.parametrize(("count", "reason"), [(0, "at least 1, got 0"), (4, "at most the 3 images of Val, got 4")])
def test_number_of_validation_images_out_of_range_is_refused(pristine, count, reason):
    assert f"num_validation must be {reason}" in issues_of(pristine, num_validation=count)


def test_too_few_patients_says_how_many_images_are_needed(training_only):
    write_workbook(training_only, [("A" if number < 7 else "B", number) for number in range(1, 13)])
    expected = (
        "3 for the test, 2 for validation, 1 for training needed, found 12 images of 2 patients, which stay whole"
    )
    assert expected in issues_of(training_only)


def test_workbook_without_the_columns_is_refused(phantoms):
    write_workbook(phantoms, [(1, 2)], columns=("Patient", "Image"))
    message = f"{phantoms / WORKBOOK}: no row names the columns Patient ID, Image Number"
    assert message in issues_of(phantoms)
    with pytest.raises(InputError, match=r"1 issue\n.*no row names the columns"):
        entries_of(phantoms, "training")


def test_damaged_workbook_is_refused(phantoms):
    (phantoms / WORKBOOK).write_bytes(b"PK")
    assert f"{WORKBOOK}: cannot be read as a workbook" in issues_of(phantoms)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((None, 5), "a row has patient '' and image '5'; expected both"),
        (("A", None), "a row has patient 'A' and image ''; expected both"),
        (("Z", 1), "image 1 has patients A and Z; keep one"),
    ],
)
def test_faulty_row_of_the_workbook_is_named(phantoms, row, reason):
    write_workbook(phantoms, [("A", 1), row])
    assert f"{WORKBOOK}: {reason}" in issues_of(phantoms)


@pytest.mark.parametrize("part", ["Train", "Test"])
def test_image_without_its_mask_is_named(phantoms, part):
    label_path(phantoms, part=part).unlink()
    low = part.lower()
    message = f"{part}/data_{low}/0001.png: no label, expected {part}/mask_{low}/0001.png"
    assert message in issues_of(phantoms)
    with pytest.raises(InputError, match="1 issue\n.*" + message):
        entries_of(phantoms, "training")


def test_missing_folder_of_masks_is_one_issue_that_names_it(phantoms):
    shutil.rmtree(phantoms / "Val" / "mask_val")
    message = issues_of(phantoms)
    assert "Val/mask_val: no such folder; expected files such as 0001.png" in message
    assert "no label" not in message


def test_empty_training_folder_is_named(phantoms):
    for path in (phantoms / "Train" / "data_train").iterdir():
        path.unlink()
    assert "Train/data_train: no images in it; expected files such as 0001.png" in issues_of(phantoms)


def test_two_files_of_one_number_are_named(phantoms):
    Image.open(image_path(phantoms)).save(image_path(phantoms).with_suffix(".jpg"))
    assert "Train/data_train/0001.png: number 0001 is taken by 0001.jpg; keep one" in issues_of(phantoms)


@pytest.mark.parametrize("path_of", [image_path, label_path])
@pytest.mark.parametrize("share", [0, 0.5])
def test_truncated_or_empty_file_is_named(phantoms, path_of, share):
    path = path_of(phantoms)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    message = issues_of(phantoms)
    assert f"{path}: " in message
    assert ("the file is empty" if share == 0 else "cannot be read") in message


def test_mask_of_another_size_is_named_with_both_sizes(phantoms):
    Image.open(label_path(phantoms)).resize((50, 40)).save(label_path(phantoms))
    message = "Train/mask_train/0001.png: is 50 x 40, but its image Train/data_train/0001.png is {} x {} pixels"
    assert message.format(*Image.open(image_path(phantoms)).size) in issues_of(phantoms)


def save_label(folder, change):
    label = (np.asarray(Image.open(label_path(folder))) > 0).astype(np.uint8)
    Image.fromarray(change(label).astype(np.uint8)).save(label_path(folder))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda label: label * 0, "every pixel is 0"),
        (lambda label: label * 0 + 255, "every pixel is 255"),
        (lambda label: label * 200 + np.indices(label.shape).sum(0) % 9, "expected two grey values, 0 and one above"),
        (lambda label: label + 1, "expected background 0, but the values are 1 and 2"),
        (lambda label: np.stack([label * 255, label * 0, label * 0], axis=-1), "expected shades of grey, got colours"),
    ],
)
def test_mask_with_unexpected_values_is_named(phantoms, change, reason):
    save_label(phantoms, change)
    message = issues_of(phantoms)
    assert "Train/mask_train/0001.png: " in message
    assert reason in message


@pytest.mark.parametrize(
    "change", [lambda label: label, lambda label: label * 255, lambda label: np.stack([label * 255] * 3, axis=-1)]
)
def test_masks_of_0_and_1_of_0_and_255_and_in_rgb_read_the_same(pristine, phantoms, change):
    save_label(phantoms, change)
    assert check(phantoms) == check(pristine)
    load = LoadImaged("label", reader=PILReader(converter=to_grey), ensure_channel_first=True)
    loaded, expected = (load({"label": str(label_path(root))})["label"] for root in (phantoms, pristine))
    assert np.array_equal(np.asarray(loaded) > 0, np.asarray(expected) > 0)


def test_image_that_is_not_rgb_is_named(phantoms):
    Image.open(image_path(phantoms)).convert("L").save(image_path(phantoms))
    assert "Train/data_train/0001.png: expected 8-bit RGB, got Pillow mode L" in issues_of(phantoms)


def test_all_issues_are_listed_at_once(phantoms):
    image_path(phantoms, "0001").write_bytes(b"")
    label_path(phantoms, "0002").unlink()
    label_path(phantoms, "0003", "Val").write_bytes(b"\x89PNG")
    (phantoms / WORKBOOK).write_bytes(b"")
    message = issues_of(phantoms, num_labels=50)
    assert message.startswith(f"Autooral in {phantoms}: 5 issues")
    assert all(name in message for name in ("0001.png", "0002.png", "mask_val/0003.png", WORKBOOK, "num_labels"))


def test_monai_reads_phantoms_as_pillow_does(pristine):
    entry = entries_of(pristine, "training")[0]
    loaded = LoadImaged(["image", "label"], reader="PILReader", ensure_channel_first=True)(entry)
    for key in ("image", "label"):
        expected = np.atleast_3d(np.asarray(Image.open(entry[key]))).transpose(2, 1, 0)
        assert np.array_equal(np.asarray(loaded[key]), expected)
