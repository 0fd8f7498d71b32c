"""PH2: what is accepted, what is refused and how, the split by diagnosis, and the phantoms."""

import logging
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from monai.data import PILReader
from monai.transforms import LoadImaged
from PIL import Image

from common.datasets.ph2 import PH2Dataset
from common.datasets.readers.images import to_grey
from common.datasets.splits import SPLITS
from common.errors import InputError

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "PH2" / "PH2Dataset"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="PH2 is not beside the project")
SIZE = (60, 80)


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("ph2")


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "PH2"))


def folder_of(root):
    return PH2Dataset(root=root).folder


def entries_of(folder, split, **settings):
    return PH2Dataset(root=folder, **settings).entries(split)


def check(folder, **settings):
    return PH2Dataset(root=folder, **settings).check()


def issues_of(folder, **arguments):
    with pytest.raises(InputError) as caught:
        check(folder, **arguments)
    return str(caught.value)


def image_path(folder, name="IMD004"):
    return folder / "PH2 Dataset images" / name / f"{name}_Dermoscopic_Image" / f"{name}.bmp"


def label_path(folder, name="IMD004"):
    return folder / "PH2 Dataset images" / name / f"{name}_lesion" / f"{name}_lesion.bmp"


def names_of(entries):
    return [Path(entry["image"]).stem for entry in entries]


def diagnosis_of(name):
    """As :func:`write_phantoms` promises: two in five common nevi, two atypical nevi, one melanoma."""
    return ("common", "atypical", "melanoma", "common", "atypical")[(int(name[3:]) - 2) % 5]


# Finding the folder


@pytest.mark.parametrize("given", [".", "..", "PH2 Dataset images"])
def test_root_is_found_from_one_level_off(phantoms, given):
    assert folder_of(phantoms / given) == phantoms


@pytest.mark.parametrize("given", ["PH2 Dataset images/IMD002", "../.."])
def test_two_levels_off_is_told_the_layout(phantoms, given):
    with pytest.raises(InputError, match=r"PH2 Dataset images/IMD002/IMD002_Dermoscopic_Image/IMD002\.bmp"):
        folder_of(phantoms / given)


# Splits


def test_splits_are_stratified_by_diagnosis(pristine, caplog):
    caplog.set_level(logging.INFO)
    expected = {
        "test": {"common": 2, "atypical": 2, "melanoma": 1},
        "validation": {"common": 2, "atypical": 2, "melanoma": 1},
        "training": {"common": 4, "atypical": 4, "melanoma": 2},
    }
    for seed in range(3):
        for split, counts in expected.items():
            names = names_of(entries_of(pristine, split, seed=seed, num_validation=5))
            assert Counter(map(diagnosis_of, names)) == counts
    assert "the split is stratified by diagnosis" in caplog.text


def test_small_label_budget_is_stratified_and_part_of_a_larger_one(pristine):
    large = entries_of(pristine, "training", num_labels=10)
    small = entries_of(pristine, "training", num_labels=5)
    assert small == large[:5]
    counts = Counter(map(diagnosis_of, names_of(small)))
    assert counts["common"] == counts["atypical"] == 2


@pytest.mark.parametrize("kept", ["PH2_dataset.xlsx", "PH2_dataset.txt"])
def test_either_table_gives_the_same_split(pristine, phantoms, kept):
    for table in {"PH2_dataset.xlsx", "PH2_dataset.txt"} - {kept}:
        (phantoms / table).unlink()
    for split in SPLITS:
        assert names_of(entries_of(phantoms, split)) == names_of(entries_of(pristine, split))


def test_split_without_tables_is_plain_and_says_so(phantoms, caplog):
    for table in ("PH2_dataset.xlsx", "PH2_dataset.txt"):
        (phantoms / table).unlink()
    assert check(phantoms) == {"training": 13, "validation": 2, "test": 5}
    assert "the split is not stratified, because no diagnosis could be read" in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("columns", "no row names the columns Image Name, Common Nevus, Atypical Nevus, Melanoma"),
        (b"PK\x03\x04 cut off", "cannot be read as a workbook"),
        (b"", "cannot be read as a workbook"),
    ],
)
def test_damaged_workbook_is_named_and_the_text_file_taken(pristine, phantoms, caplog, content, reason):
    path = phantoms / "PH2_dataset.xlsx"
    if content == "columns":
        workbook = openpyxl.load_workbook(path)
        workbook.active["D13"] = "Something else"
        workbook.save(path)
    else:
        path.write_bytes(content)
    assert names_of(entries_of(phantoms, "test")) == names_of(entries_of(pristine, "test"))
    assert "PH2_dataset.xlsx" in caplog.text
    assert reason in caplog.text


def test_damaged_text_file_is_named(phantoms, caplog):
    (phantoms / "PH2_dataset.xlsx").unlink()
    (phantoms / "PH2_dataset.txt").write_text("nothing of use")
    check(phantoms)
    assert "PH2_dataset.txt: no row such as '|| IMD003 || || 0 ||'" in caplog.text
    assert "not stratified" in caplog.text


def test_header_row_is_found_wherever_it_is(pristine, phantoms):
    (phantoms / "PH2_dataset.txt").unlink()
    workbook = openpyxl.load_workbook(phantoms / "PH2_dataset.xlsx")
    workbook.active.delete_rows(1, 9)
    workbook.save(phantoms / "PH2_dataset.xlsx")
    assert names_of(entries_of(phantoms, "test")) == names_of(entries_of(pristine, "test"))


def test_folders_without_an_image_of_their_name_are_left_out_and_named(phantoms, caplog):
    images = phantoms / "PH2 Dataset images"
    (images / "IMD004").rename(images / "IMD004 copy")
    path = image_path(phantoms, "IMD006")
    path.rename(path.with_suffix(".png"))
    (images / ".cache").mkdir()
    assert sum(check(phantoms).values()) == 18
    assert "2 folders without an image of their name are left out; expected IMD004 copy/IMD004 copy_Derm" in caplog.text
    assert "in IMD004 copy, IMD006" in caplog.text


def test_images_without_a_diagnosis_are_named(phantoms, caplog):
    (phantoms / "PH2_dataset.txt").unlink()
    workbook = openpyxl.load_workbook(phantoms / "PH2_dataset.xlsx")
    sheet = workbook.active
    sheet["A14"] = "IMD999"
    sheet["D15"] = sheet["C15"].value  # two diagnoses are none
    names = [sheet["A15"].value, "IMD002"]
    workbook.save(phantoms / "PH2_dataset.xlsx")
    assert sum(check(phantoms).values()) == 20
    assert "2 of 20 images have no diagnosis" in caplog.text
    assert all(name in caplog.text for name in names)


@pytest.mark.parametrize("seed", range(3))
def test_splits_share_no_image(pristine, seed):
    names = [name for split in SPLITS for name in names_of(entries_of(pristine, split, seed=seed))]
    assert len(names) == len(set(names)) == 20


def test_entries_join_files_of_one_name(pristine):
    for split in SPLITS:
        for entry in entries_of(pristine, split):
            name = Path(entry["image"]).stem
            assert entry == {"image": str(image_path(pristine, name)), "label": str(label_path(pristine, name))}


# Bad input


@pytest.mark.parametrize("num_labels", [0, 14])
def test_label_budget_out_of_range_says_how_many_there_are(pristine, num_labels):
    for refused in (check, lambda *given, **more: entries_of(*given, "training", **more)):
        with pytest.raises(InputError, match=f"num_labels must be between 1 and the 13 .*, got {num_labels}"):
            refused(pristine, num_labels=num_labels)


def test_too_few_images_says_how_many_are_needed(phantoms):
    for folder in sorted((phantoms / "PH2 Dataset images").iterdir())[3:]:
        shutil.rmtree(folder)
    needed = "too few complete images: 1 for the test, 2 for validation, 1 for training needed, found 3 images"
    assert needed in issues_of(phantoms)


def test_folder_without_images_is_told_the_layout(phantoms):
    for folder in (phantoms / "PH2 Dataset images").iterdir():
        shutil.rmtree(folder)
    assert "PH2 Dataset images: no images in it; expected files such as IMD002/IMD002_Derm" in issues_of(phantoms)


def test_image_without_its_label_is_named(phantoms):
    label_path(phantoms).unlink()
    name = "PH2 Dataset images/IMD004"
    expected = f"{name}/IMD004_Dermoscopic_Image/IMD004.bmp: no label, expected {name}/IMD004_lesion/IMD004_lesion.bmp"
    assert expected in issues_of(phantoms)
    with pytest.raises(InputError, match="1 issue\n.*" + expected):
        entries_of(phantoms, "training")


@pytest.mark.parametrize("path_of", [image_path, label_path])
@pytest.mark.parametrize("share", [0, 0.5])
def test_truncated_or_empty_bmp_is_named(phantoms, path_of, share):
    path = path_of(phantoms)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    message = issues_of(phantoms)
    assert f"{path}: " in message
    assert ("the file is empty" if share == 0 else "cannot be read") in message


def test_label_of_another_size_is_named_with_both_sizes(phantoms):
    size = Image.open(image_path(phantoms)).size
    Image.open(label_path(phantoms)).resize((50, 40)).save(label_path(phantoms))
    message = issues_of(phantoms)
    assert "IMD004_lesion.bmp: is 50 x 40, but its image" in message
    assert "IMD004.bmp is {} x {} pixels".format(*size) in message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda label: label * 0, "every pixel is 0"),
        (lambda label: label * 100 + np.indices(label.shape).sum(0) % 2, "expected two grey values"),
        (lambda label: label * 100 + 7, "expected background 0, but the values are 7 and 107"),
        (lambda label: np.stack([label * 255, label * 0, label * 0], axis=-1), "expected shades of grey, got colours"),
    ],
)
def test_label_with_unexpected_values_is_named(phantoms, change, reason):
    label = np.asarray(Image.open(label_path(phantoms))).astype(np.uint8)
    Image.fromarray(change(label).astype(np.uint8)).save(label_path(phantoms))
    message = issues_of(phantoms)
    assert "IMD004_lesion.bmp: " in message
    assert reason in message


def test_lesion_that_fills_the_image_is_accepted(phantoms):
    size = Image.open(image_path(phantoms)).size
    Image.new("1", size, 1).save(label_path(phantoms))
    assert sum(check(phantoms).values()) == 20


def test_image_that_is_not_rgb_is_named(phantoms):
    Image.open(image_path(phantoms)).convert("L").save(image_path(phantoms))
    assert "IMD004.bmp: expected 8-bit RGB, got Pillow mode L" in issues_of(phantoms)


def test_all_issues_are_listed_at_once(phantoms):
    image_path(phantoms, "IMD003").write_bytes(b"")
    label_path(phantoms, "IMD004").unlink()
    label_path(phantoms, "IMD005").write_bytes(b"BM")
    message = issues_of(phantoms, num_labels=50)
    assert message.startswith(f"PH2 in {phantoms}: 4 issues")
    assert all(name in message for name in ("IMD003.bmp", "IMD004.bmp", "IMD005_lesion.bmp", "num_labels"))


# Reading with MONAI, and the real data


def assert_monai_agrees_with_pillow(entry):
    image = LoadImaged("image", reader="PILReader", ensure_channel_first=True)(entry)["image"]
    label = LoadImaged("label", reader=PILReader(converter=to_grey), ensure_channel_first=True)(entry)["label"]
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(entry["image"])).transpose(2, 1, 0))
    expected = np.asarray(Image.open(entry["label"]).convert("RGB"))[..., 0] > 0
    assert np.array_equal(np.asarray(label[0]) > 0, expected.T)
    assert len(label) == 1


@pytest.mark.parametrize("name", ["IMD002", "IMD003"])
def test_monai_reads_labels_of_24_and_of_1_bit(pristine, name):
    entry = {"image": str(image_path(pristine, name)), "label": str(label_path(pristine, name))}
    assert_monai_agrees_with_pillow(entry)


@needs_real_data
def test_real_data_is_found_from_any_of_its_folders_and_passes(caplog):
    caplog.set_level(logging.INFO)
    for given in (REAL, REAL.parent, REAL / "PH2 Dataset images"):
        assert folder_of(given).samefile(REAL)
    assert check(REAL) == {"training": 58, "validation": 2, "test": 20}
    assert "the split is stratified by diagnosis" in caplog.text
    assert "no diagnosis" not in caplog.text


@needs_real_data
def test_real_test_split_has_the_shares_of_the_whole():
    rows = list(openpyxl.load_workbook(REAL / "PH2_dataset.xlsx").active.values)[13:]
    column = {row[0]: next(place for place in (2, 3, 4) if row[place]) for row in rows}
    assert Counter(column[name] for name in names_of(entries_of(REAL, "test"))) == {2: 8, 3: 8, 4: 4}


@needs_real_data
def test_monai_reads_real_data_as_pillow_does():
    assert_monai_agrees_with_pillow(
        {"image": str(image_path(REAL, "IMD002")), "label": str(label_path(REAL, "IMD002"))}
    )
    assert_monai_agrees_with_pillow(entries_of(REAL, "training")[0])
