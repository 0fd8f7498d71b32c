"""DRIVE: what is accepted, what is refused and how, and the phantoms."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from monai.transforms import LoadImaged
from PIL import Image

from common.datasets.drive import DriveDataset
from common.datasets.splits import SPLITS
from common.errors import InputError

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "DRIVE"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="DRIVE is not beside the project")
SIZE = (96, 92)


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("drive")


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "DRIVE"))


@pytest.fixture
def without_test_labels(phantoms):
    shutil.rmtree(phantoms / "test" / "1st_manual")
    return phantoms


def folder_of(root):
    return DriveDataset(root=root).folder


def entries_of(folder, split, **settings):
    return DriveDataset(root=folder, **settings).entries(split)


def check(folder, **settings):
    return DriveDataset(root=folder, **settings).check()


def issues_of(folder, **arguments):
    with pytest.raises(InputError) as caught:
        check(folder, **arguments)
    return str(caught.value)


def label_path(folder, number=21):
    return folder / "training" / "1st_manual" / f"{number}_manual1.gif"


def save_label(folder, values, number=21):
    Image.fromarray(values).save(label_path(folder, number), optimize=False)


def read_array(path):
    return np.asarray(Image.open(path))


# Finding the folder


@pytest.mark.parametrize("given", [".", "..", "training", "training/images"])
def test_root_is_found_from_one_level_off(phantoms, given):
    assert folder_of(phantoms / given) == phantoms


def test_root_is_found_from_a_relative_path(phantoms, monkeypatch):
    monkeypatch.chdir(phantoms / "training")
    assert folder_of(".") == phantoms


def test_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder; expected .*training/images"):
        folder_of(tmp_path / "nowhere")


def test_folder_without_the_layout_is_told_the_layout(tmp_path):
    (tmp_path / "DRIVE" / "training").mkdir(parents=True)
    with pytest.raises(InputError, match=r"training/images/21_training\.tif.*training/1st_manual/21_manual1\.gif"):
        folder_of(tmp_path)


def test_two_copies_are_not_chosen_between(phantoms):
    shutil.copytree(phantoms, phantoms.parent / "DRIVE2")
    with pytest.raises(InputError, match=r"DRIVE, DRIVE2"):
        folder_of(phantoms.parent)


# Splits


def test_official_test_split_is_used_where_it_has_labels(pristine):
    assert check(pristine) == {"training": 6, "validation": 2, "test": 3}
    names = [Path(entry["image"]).name for entry in entries_of(pristine, "test")]
    assert names == ["01_test.tif", "02_test.tif", "03_test.tif"]


def test_quarter_is_held_out_where_test_labels_are_missing(without_test_labels):
    assert check(without_test_labels) == {"training": 4, "validation": 2, "test": 2}


def test_entries_join_files_of_one_number(pristine):
    for split, part in (("training", "training"), ("validation", "training"), ("test", "test")):
        for entry in entries_of(pristine, split):
            number = Path(entry["image"]).name.split("_")[0]
            assert entry == {
                "image": str(pristine / part / "images" / f"{number}_{part}.tif"),
                "label": str(pristine / part / "1st_manual" / f"{number}_manual1.gif"),
                "fov": str(pristine / part / "mask" / f"{number}_{part}_mask.gif"),
            }


@pytest.mark.parametrize("seed", range(5))
def test_splits_share_no_image(without_test_labels, seed):
    images = [entry["image"] for name in SPLITS for entry in entries_of(without_test_labels, name, seed=seed)]
    assert len(images) == len(set(images)) == 8


def test_splits_do_not_depend_on_the_order_of_the_file_system(without_test_labels, monkeypatch):
    expected = [entries_of(without_test_labels, split) for split in SPLITS]
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: sorted(iterdir(folder), reverse=True))
    assert [entries_of(without_test_labels, split) for split in SPLITS] == expected


def test_seed_changes_the_splits(without_test_labels):
    tests = {str(entries_of(without_test_labels, "test", seed=seed)) for seed in range(5)}
    assert len(tests) > 1


def test_label_budget_leaves_validation_and_test_alone(pristine):
    for split in ("validation", "test"):
        assert entries_of(pristine, split, num_labels=1) == entries_of(pristine, split)


# Bad input


@pytest.mark.parametrize("num_labels", [0, -1, 7])
def test_label_budget_out_of_range_says_how_many_there_are(pristine, num_labels):
    for refused in (check, lambda *given, **more: entries_of(*given, "training", **more)):
        with pytest.raises(InputError, match=f"num_labels must be between 1 and the 6 .*, got {num_labels}"):
            refused(pristine, num_labels=num_labels)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_images_says_how_many_are_needed(without_test_labels, count):
    for path in sorted((without_test_labels / "training" / "images").iterdir())[count:]:
        path.unlink()
    needed = "4 complete images needed (1 for the test, 2 for validation and 1 for training)"
    assert f"{needed}, found {count}" in issues_of(without_test_labels)
    with pytest.raises(InputError, match=f"4 complete images needed .*, found {count}"):
        entries_of(without_test_labels, "training")


def test_fewest_images_that_can_be_split_are_accepted(without_test_labels):
    for path in sorted((without_test_labels / "training" / "images").iterdir())[4:]:
        path.unlink()
    assert check(without_test_labels) == {"training": 1, "validation": 2, "test": 1}


@pytest.mark.parametrize(
    ("missing", "what"),
    [("1st_manual/23_manual1.gif", "label"), ("mask/23_training_mask.gif", "field-of-view mask")],
)
def test_image_without_its_partner_is_named(phantoms, missing, what):
    (phantoms / "training" / missing).unlink()
    message = f"training/images/23_training.tif: no {what}, expected training/{missing}"
    assert message in issues_of(phantoms)
    with pytest.raises(InputError, match="1 issue\n.*" + message):
        entries_of(phantoms, "training")


def test_test_image_without_its_label_is_named(phantoms):
    (phantoms / "test" / "1st_manual" / "02_manual1.gif").unlink()
    assert "test/images/02_test.tif: no label, expected test/1st_manual/02_manual1.gif" in issues_of(phantoms)


@pytest.mark.parametrize("folder", ["training/1st_manual", "training/mask", "test/images", "test/mask"])
def test_missing_folder_is_one_issue_that_names_it(phantoms, folder):
    shutil.rmtree(phantoms / folder)
    message = issues_of(phantoms)
    assert f"{folder}: no such folder; expected files such as" in message
    assert "no label" not in message
    assert "no field-of-view" not in message


def test_two_files_of_one_number_are_named(phantoms):
    shutil.copy(label_path(phantoms), label_path(phantoms).with_name("21_manual2.gif"))
    assert "1st_manual/21_manual2.gif: number 21 is taken by 21_manual1.gif" in issues_of(phantoms)


def test_system_files_are_ignored(phantoms):
    for name in (".DS_Store", "Thumbs.db", "._21_training.tif"):
        (phantoms / "training" / "images" / name).write_bytes(b"x")
    assert check(phantoms)["training"] == 6


@pytest.mark.parametrize("path", ["1st_manual/21_manual1.gif", "mask/21_training_mask.gif"])
def test_mask_of_another_size_is_named_with_both_sizes(phantoms, path):
    Image.open(phantoms / "training" / path).resize((50, 40)).save(phantoms / "training" / path)
    message = f"training/{path}: is 50 x 40, but its image training/images/21_training.tif is 92 x 96"
    assert message in issues_of(phantoms)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(SIZE, np.uint8), "every pixel is 0"),
        (np.full(SIZE, 255, np.uint8), "every pixel is 255"),
        (np.indices(SIZE).sum(0).astype(np.uint8) % 2 + 1, "expected background 0, but the values are 1 and 2"),
        (np.indices(SIZE).sum(0).astype(np.uint8) % 3, "got 3 from 0 to 2"),
    ],
)
def test_label_with_unexpected_values_is_named(phantoms, values, reason):
    save_label(phantoms, values)
    message = issues_of(phantoms)
    assert "1st_manual/21_manual1.gif: " in message
    assert reason in message


@pytest.mark.parametrize("palette", [[0, 0, 0, 255, 255, 255], [0, 0, 0, 1, 1, 1]])
def test_label_with_a_palette_of_0_and_1_is_accepted(phantoms, palette):
    label = Image.fromarray((read_array(label_path(phantoms)) > 0).astype(np.uint8)).convert("P")
    label.putpalette(palette)
    label.save(label_path(phantoms))
    assert check(phantoms)["training"] == 6


def test_label_with_an_inverted_palette_is_named(phantoms):
    label = Image.fromarray((read_array(label_path(phantoms)) > 0).astype(np.uint8)).convert("P")
    label.putpalette([255, 255, 255, 0, 0, 0])
    label.save(label_path(phantoms))
    assert "1st_manual/21_manual1.gif: its palette is inverted" in issues_of(phantoms)


def test_image_that_is_not_rgb_is_named(phantoms):
    path = phantoms / "training" / "images" / "21_training.tif"
    Image.open(path).convert("L").save(path)
    assert "images/21_training.tif: expected 8-bit RGB, got Pillow mode L" in issues_of(phantoms)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize("path", ["images/21_training.tif", "1st_manual/21_manual1.gif", "mask/21_training_mask.gif"])
def test_truncated_or_empty_file_is_named(phantoms, path, share):
    data = (phantoms / "training" / path).read_bytes()
    (phantoms / "training" / path).write_bytes(data[: int(share * len(data))])
    message = issues_of(phantoms)
    assert f"training/{path}: " in message
    assert ("the file is empty" if share == 0 else "cannot be read") in message


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_issues_are_listed_at_once(phantoms):
    training = phantoms / "training"
    (training / "images" / "21_training.tif").write_bytes(b"")
    (training / "1st_manual" / "22_manual1.gif").unlink()
    (training / "mask" / "22_training_mask.gif").write_bytes(b"")
    save_label(phantoms, np.zeros(SIZE, np.uint8), 23)
    (phantoms / "test" / "mask" / "01_test_mask.gif").write_bytes(b"GIF89a")
    message = issues_of(phantoms, num_labels=50)
    assert message.startswith(f"DRIVE in {phantoms}: 6 issues")
    for name in (
        "21_training.tif",
        "22_training.tif",
        "22_training_mask.gif",
        "23_manual1.gif",
        "01_test_mask.gif",
        "num_labels",
    ):
        assert name in message


def test_monai_reads_phantoms_as_pillow_does(pristine):
    assert_monai_agrees_with_pillow(entries_of(pristine, "training")[0], SIZE)


# The real data


@needs_real_data
def test_real_data_is_found_from_any_of_its_folders_and_passes():
    for given in (REAL, REAL.parent, REAL / "training", REAL / "training" / "images"):
        assert folder_of(given).samefile(REAL)
    assert sum(check(REAL).values()) == 20


@needs_real_data
def test_real_vessels_cover_a_plausible_share_of_the_field():
    for split in SPLITS:
        for entry in entries_of(REAL, split):
            share = (read_array(entry["label"]) > 0)[read_array(entry["fov"]) > 0].mean()
            assert 0.07 < share < 0.2, entry["label"]


@needs_real_data
def test_monai_reads_real_data_as_pillow_does():
    assert_monai_agrees_with_pillow(entries_of(REAL, "training")[0], (584, 565))


def assert_monai_agrees_with_pillow(entry, size):
    loaded = LoadImaged(keys=["image", "label", "fov"], reader="PILReader", ensure_channel_first=True)(entry)
    for key, channels in (("image", DriveDataset.in_channels), ("label", 1), ("fov", 1)):
        assert loaded[key].shape == (channels, size[1], size[0])  # MONAI puts x first
        expected = np.atleast_3d(read_array(entry[key])).transpose(2, 1, 0)
        assert np.array_equal(np.asarray(loaded[key]), expected)
