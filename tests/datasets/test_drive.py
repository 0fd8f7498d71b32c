"""DRIVE: what is accepted, what is refused and how, and the phantoms."""

import filecmp
import shutil
from pathlib import Path

import numpy as np
import pytest
from monai.transforms import LoadImaged
from PIL import Image
from scipy.ndimage import binary_dilation, distance_transform_edt

from common.datasets import drive
from common.errors import InputError

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "DRIVE"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="DRIVE is not beside the project")
SIZE = (96, 92)
SECTIONS = ("training", "validation", "test")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return drive.write_phantoms(tmp_path_factory.mktemp("drive") / "DRIVE", 8, 3, SIZE)


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "DRIVE"))


@pytest.fixture
def without_test_labels(phantoms):
    shutil.rmtree(phantoms / "test" / "1st_manual")
    return phantoms


def faults_of(folder, **arguments):
    with pytest.raises(InputError) as caught:
        drive.check(folder, **arguments)
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
    assert drive.find_root(phantoms / given) == phantoms


def test_root_is_found_from_a_relative_path(phantoms, monkeypatch):
    monkeypatch.chdir(phantoms / "training")
    assert drive.find_root(".") == phantoms


def test_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder; expected .*training/images"):
        drive.find_root(tmp_path / "nowhere")


def test_folder_without_the_layout_is_told_the_layout(tmp_path):
    (tmp_path / "DRIVE" / "training").mkdir(parents=True)
    with pytest.raises(InputError, match=r"training/images/21_training\.tif.*training/1st_manual/21_manual1\.gif"):
        drive.find_root(tmp_path)


def test_two_copies_are_not_chosen_between(phantoms):
    shutil.copytree(phantoms, phantoms.parent / "DRIVE2")
    with pytest.raises(InputError, match=r"DRIVE, DRIVE2"):
        drive.find_root(phantoms.parent)


# Splits


def test_official_test_section_is_used_where_it_has_labels(pristine):
    assert drive.check(pristine) == {"training": 6, "validation": 2, "test": 3}
    names = [Path(entry["image"]).name for entry in drive.datalist(pristine, "test")]
    assert names == ["01_test.tif", "02_test.tif", "03_test.tif"]


def test_quarter_is_held_out_where_test_labels_are_missing(without_test_labels):
    assert drive.check(without_test_labels) == {"training": 4, "validation": 2, "test": 2}


def test_entries_join_files_of_one_number(pristine):
    for section, part in (("training", "training"), ("validation", "training"), ("test", "test")):
        for entry in drive.datalist(pristine, section):
            number = Path(entry["image"]).name.split("_")[0]
            assert entry == {
                "image": str(pristine / part / "images" / f"{number}_{part}.tif"),
                "label": str(pristine / part / "1st_manual" / f"{number}_manual1.gif"),
                "fov": str(pristine / part / "mask" / f"{number}_{part}_mask.gif"),
            }


@pytest.mark.parametrize("seed", range(5))
def test_sections_share_no_image(without_test_labels, seed):
    images = [entry["image"] for name in SECTIONS for entry in drive.datalist(without_test_labels, name, seed=seed)]
    assert len(images) == len(set(images)) == 8


def test_sections_do_not_depend_on_the_order_of_the_file_system(without_test_labels, monkeypatch):
    expected = [drive.datalist(without_test_labels, section) for section in SECTIONS]
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: sorted(iterdir(folder), reverse=True))
    assert [drive.datalist(without_test_labels, section) for section in SECTIONS] == expected


def test_seed_changes_the_sections(without_test_labels):
    tests = {str(drive.datalist(without_test_labels, "test", seed=seed)) for seed in range(5)}
    assert len(tests) > 1


def test_label_budget_leaves_validation_and_test_alone(pristine):
    for section in ("validation", "test"):
        assert drive.datalist(pristine, section, num_labels=1) == drive.datalist(pristine, section)


# Bad input


@pytest.mark.parametrize("num_labels", [0, -1, 7])
def test_label_budget_out_of_range_says_how_many_there_are(pristine, num_labels):
    for refused in (drive.check, lambda *given, **more: drive.datalist(*given, "training", **more)):
        with pytest.raises(InputError, match=f"num_labels must be between 1 and the 6 .*, got {num_labels}"):
            refused(pristine, num_labels=num_labels)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_images_says_how_many_are_needed(without_test_labels, count):
    for path in sorted((without_test_labels / "training" / "images").iterdir())[count:]:
        path.unlink()
    needed = "4 complete images needed (1 for the test, 2 for validation and 1 for training)"
    assert f"{needed}, found {count}" in faults_of(without_test_labels)
    with pytest.raises(InputError, match=f"4 complete images needed .*, found {count}"):
        drive.datalist(without_test_labels, "training")


def test_fewest_images_that_can_be_split_are_accepted(without_test_labels):
    for path in sorted((without_test_labels / "training" / "images").iterdir())[4:]:
        path.unlink()
    assert drive.check(without_test_labels) == {"training": 1, "validation": 2, "test": 1}


@pytest.mark.parametrize(
    ("missing", "what"),
    [("1st_manual/23_manual1.gif", "label"), ("mask/23_training_mask.gif", "field-of-view mask")],
)
def test_image_without_its_partner_is_named(phantoms, missing, what):
    (phantoms / "training" / missing).unlink()
    message = f"training/images/23_training.tif: no {what}, expected training/{missing}"
    assert message in faults_of(phantoms)
    with pytest.raises(InputError, match="1 fault\n.*" + message):
        drive.datalist(phantoms, "training")


def test_test_image_without_its_label_is_named(phantoms):
    (phantoms / "test" / "1st_manual" / "02_manual1.gif").unlink()
    assert "test/images/02_test.tif: no label, expected test/1st_manual/02_manual1.gif" in faults_of(phantoms)


@pytest.mark.parametrize("folder", ["training/1st_manual", "training/mask", "test/images", "test/mask"])
def test_missing_folder_is_one_fault_that_names_it(phantoms, folder):
    shutil.rmtree(phantoms / folder)
    message = faults_of(phantoms)
    assert f"{folder}: no such folder; expected files such as" in message
    assert "no label" not in message
    assert "no field-of-view" not in message


def test_two_files_of_one_number_are_named(phantoms):
    shutil.copy(label_path(phantoms), label_path(phantoms).with_name("21_manual2.gif"))
    assert "1st_manual/21_manual2.gif: number 21 is taken by 21_manual1.gif" in faults_of(phantoms)


def test_system_files_are_ignored(phantoms):
    for name in (".DS_Store", "Thumbs.db", "._21_training.tif"):
        (phantoms / "training" / "images" / name).write_bytes(b"x")
    assert drive.check(phantoms)["training"] == 6


@pytest.mark.parametrize("path", ["1st_manual/21_manual1.gif", "mask/21_training_mask.gif"])
def test_mask_of_another_size_is_named_with_both_sizes(phantoms, path):
    Image.open(phantoms / "training" / path).resize((50, 40)).save(phantoms / "training" / path)
    message = f"training/{path}: is 50 x 40, but its image training/images/21_training.tif is 92 x 96"
    assert message in faults_of(phantoms)


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
    message = faults_of(phantoms)
    assert "1st_manual/21_manual1.gif: " in message
    assert reason in message


@pytest.mark.parametrize("palette", [[0, 0, 0, 255, 255, 255], [0, 0, 0, 1, 1, 1]])
def test_label_with_a_palette_of_0_and_1_is_accepted(phantoms, palette):
    label = Image.fromarray((read_array(label_path(phantoms)) > 0).astype(np.uint8)).convert("P")
    label.putpalette(palette)
    label.save(label_path(phantoms))
    assert drive.check(phantoms)["training"] == 6


def test_label_with_an_inverted_palette_is_named(phantoms):
    label = Image.fromarray((read_array(label_path(phantoms)) > 0).astype(np.uint8)).convert("P")
    label.putpalette([255, 255, 255, 0, 0, 0])
    label.save(label_path(phantoms))
    assert "1st_manual/21_manual1.gif: its palette is inverted" in faults_of(phantoms)


def test_image_that_is_not_rgb_is_named(phantoms):
    path = phantoms / "training" / "images" / "21_training.tif"
    Image.open(path).convert("L").save(path)
    assert "images/21_training.tif: expected 8-bit RGB, got Pillow mode L" in faults_of(phantoms)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize("path", ["images/21_training.tif", "1st_manual/21_manual1.gif", "mask/21_training_mask.gif"])
def test_truncated_or_empty_file_is_named(phantoms, path, share):
    data = (phantoms / "training" / path).read_bytes()
    (phantoms / "training" / path).write_bytes(data[: int(share * len(data))])
    message = faults_of(phantoms)
    assert f"training/{path}: " in message
    assert ("the file is empty" if share == 0 else "cannot be read") in message


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_faults_are_listed_at_once(phantoms):
    training = phantoms / "training"
    (training / "images" / "21_training.tif").write_bytes(b"")
    (training / "1st_manual" / "22_manual1.gif").unlink()
    (training / "mask" / "22_training_mask.gif").write_bytes(b"")
    save_label(phantoms, np.zeros(SIZE, np.uint8), 23)
    (phantoms / "test" / "mask" / "01_test_mask.gif").write_bytes(b"GIF89a")
    message = faults_of(phantoms, num_labels=50)
    assert message.startswith(f"DRIVE in {phantoms}: 6 faults")
    for name in (
        "21_training.tif",
        "22_training.tif",
        "22_training_mask.gif",
        "23_manual1.gif",
        "01_test_mask.gif",
        "num_labels",
    ):
        assert name in message


# Phantoms


def test_phantoms_have_the_layout_and_formats_of_drive(pristine):
    expected = {
        f"{part}/{name.format(number)}"
        for part, numbers in (("training", range(21, 29)), ("test", ("01", "02", "03")))
        for name in (f"images/{{}}_{part}.tif", f"mask/{{}}_{part}_mask.gif", "1st_manual/{}_manual1.gif")
        for number in numbers
    }
    assert {path.relative_to(pristine).as_posix() for path in pristine.rglob("*.*")} == expected
    image = Image.open(pristine / "training/images/21_training.tif")
    assert (image.format, image.mode, image.size) == ("TIFF", "RGB", SIZE[::-1])
    for path in ("training/1st_manual/21_manual1.gif", "test/mask/01_test_mask.gif"):
        mask = Image.open(pristine / path)
        assert (mask.format, mask.mode, mask.size) == ("GIF", "L", SIZE[::-1])
        assert np.unique(mask).tolist() == [0, 255]


def test_test_labels_can_be_withheld_as_in_the_present_release(tmp_path):
    root = drive.write_phantoms(tmp_path / "DRIVE", 5, 1, SIZE, test_labels=False)
    assert (root / "test" / "images" / "01_test.tif").is_file()
    assert not (root / "test" / "1st_manual").exists()
    assert drive.check(root) == {"training": 2, "validation": 2, "test": 1}


def test_same_seed_writes_the_same_bytes_and_another_seed_others(pristine, tmp_path):
    again = drive.write_phantoms(tmp_path / "again", 8, 3, SIZE)
    other = drive.write_phantoms(tmp_path / "other", 2, 1, SIZE, seed=1)
    names = [path.relative_to(pristine) for path in pristine.rglob("*.*")]
    assert filecmp.cmpfiles(pristine, again, names, shallow=False)[0] == names
    images = sorted(path.relative_to(other) for path in other.rglob("*.tif"))
    assert filecmp.cmpfiles(pristine, other, images, shallow=False)[1] == images


def test_phantoms_differ_from_each_other(pristine):
    labels = {read_array(path).tobytes() for path in pristine.rglob("*_manual1.gif")}
    assert len(labels) == 11


def test_existing_dataset_is_not_overwritten_by_phantoms(pristine):
    before = (pristine / "training/images/21_training.tif").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        drive.write_phantoms(pristine, 1, 1, SIZE, seed=5)
    assert (pristine / "training/images/21_training.tif").read_bytes() == before


@pytest.fixture(scope="module")
def full_size(tmp_path_factory):
    root = drive.write_phantoms(tmp_path_factory.mktemp("full") / "DRIVE", num_training=1, num_test=2)
    entries = [("training", "21"), ("test", "01"), ("test", "02")]
    return [
        (
            read_array(root / part / "images" / f"{number}_{part}.tif").astype(float),
            read_array(root / part / "1st_manual" / f"{number}_manual1.gif") > 0,
            read_array(root / part / "mask" / f"{number}_{part}_mask.gif") > 0,
        )
        for part, number in entries
    ]


def test_phantom_vessels_are_darker_than_what_surrounds_them(full_size):
    for image, vessels, field in full_size:
        ring = binary_dilation(vessels, iterations=6) & ~binary_dilation(vessels, iterations=2) & field
        contrast = image[vessels].mean(0) / image[ring].mean(0)
        assert contrast[1] < 0.95, "vessels show best in green"
        assert contrast[1] == contrast.min()


def test_phantom_vessels_have_several_widths_and_thin_ones_are_fainter(full_size):
    for image, vessels, _ in full_size:
        depth = distance_transform_edt(vessels)
        assert 3.5 <= depth.max() <= 12
        wide = binary_dilation(depth > 2.5, iterations=3) & vessels
        thin = vessels & ~wide
        assert min(thin.mean(), wide.mean()) > 0.01

        def contrast(part, green=image[..., 1], vessels=vessels):
            ring = binary_dilation(part, iterations=6) & ~binary_dilation(vessels, iterations=2)
            return green[ring].mean() / green[part].mean()

        assert 1.0 < contrast(thin) < contrast(wide)


def test_phantom_vessels_cover_the_share_that_drive_has(full_size):
    for _, vessels, field in full_size:
        assert not (vessels & ~field).any()
        assert 0.07 < vessels[field].mean() < 0.17  # 0.12 in DRIVE


def test_phantom_is_black_outside_its_round_field(full_size):
    for image, _, field in full_size:
        assert image[~binary_dilation(field, iterations=2)].max() < 20
        assert image[field].mean() > 50
        assert 0.65 < field.mean() < 0.72  # 0.69 in DRIVE


def test_monai_reads_phantoms_as_pillow_does(pristine):
    assert_monai_agrees_with_pillow(drive.datalist(pristine, "training")[0], SIZE)


# The real data


@needs_real_data
def test_real_data_is_found_from_any_of_its_folders_and_passes():
    for given in (REAL, REAL.parent, REAL / "training", REAL / "training" / "images"):
        assert drive.find_root(given).samefile(REAL)
    assert sum(drive.check(REAL).values()) == 20


@needs_real_data
def test_real_vessels_cover_a_plausible_share_of_the_field():
    for section in SECTIONS:
        for entry in drive.datalist(REAL, section):
            share = (read_array(entry["label"]) > 0)[read_array(entry["fov"]) > 0].mean()
            assert 0.07 < share < 0.2, entry["label"]


@needs_real_data
def test_monai_reads_real_data_as_pillow_does():
    assert_monai_agrees_with_pillow(drive.datalist(REAL, "training")[0], (584, 565))


def assert_monai_agrees_with_pillow(entry, size):
    loaded = LoadImaged(keys=["image", "label", "fov"], reader="PILReader", ensure_channel_first=True)(entry)
    for key, channels in (("image", drive.IN_CHANNELS), ("label", 1), ("fov", 1)):
        assert loaded[key].shape == (channels, size[1], size[0])  # MONAI puts x first
        expected = np.atleast_3d(read_array(entry[key])).transpose(2, 1, 0)
        assert np.array_equal(np.asarray(loaded[key]), expected)
