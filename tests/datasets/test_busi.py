"""BUSI: what is accepted, what is refused and how, the split by folder, and the real data."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.datasets import find_dataset
from common.datasets.busi import BusiDataset
from common.datasets.splits import SPLITS
from common.errors import InputError

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "BUSI"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="BUSI is not beside the project")
IMAGES = "Dataset_BUSI_with_GT"


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("busi")


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "BUSI"))


def entries_of(folder, split, **settings):
    return BusiDataset(root=folder, **settings).entries(split)


def issues_of(folder, **settings):
    with pytest.raises(InputError) as caught:
        BusiDataset(root=folder, **settings).check()
    return str(caught.value)


def notes_of(folder, **settings):
    dataset = BusiDataset(root=folder, **settings)
    dataset.check()
    return "\n".join(dataset.notes)


def names_of(entries):
    return [Path(entry["image"]).stem for entry in entries]


def kinds_of(entries):
    return Counter(Path(entry["image"]).parent.name for entry in entries)


# Finding the folder


@pytest.mark.parametrize("given", [".", IMAGES, f"{IMAGES}/benign"])
def test_root_is_found_from_one_level_off(phantoms, given):
    assert BusiDataset(root=phantoms / given).folder == phantoms / IMAGES


def test_folder_of_something_else_is_told_the_layout(tmp_path):
    with pytest.raises(InputError, match=r"no benign here or one level down; expected BUSI .*benign \(1\)_mask\.png"):
        entries_of(tmp_path, "training")


# Labels


def test_several_masks_of_an_image_are_united(pristine):
    dataset = BusiDataset(root=pristine)
    (entry,) = (each for split in SPLITS for each in dataset.entries(split) if each["image"].endswith("benign (4).png"))
    masks = [np.asarray(Image.open(path).convert("L")) > 127 for path in entry["label"]]
    assert len(masks) == 2
    image, label = dataset.load(entry)
    np.testing.assert_array_equal(label, masks[0] | masks[1])
    assert label.sum() == masks[0].sum() + masks[1].sum()
    assert image.shape == (*label.shape, 1)


def test_normal_breasts_have_empty_labels(pristine):
    dataset = BusiDataset(root=pristine)
    for split in SPLITS:
        for entry in dataset.entries(split):
            assert dataset.load(entry)[1].any() == (Path(entry["image"]).parent.name != "normal")


def test_image_without_its_mask_is_named(phantoms):
    (phantoms / IMAGES / "malignant" / "malignant (2)_mask.png").unlink()
    assert "malignant/malignant (2).png" in issues_of(phantoms)


def test_mask_of_another_size_is_named(phantoms):
    mask = phantoms / IMAGES / "benign" / "benign (2)_mask.png"
    Image.open(mask).resize((30, 20)).save(mask)
    message = issues_of(phantoms)
    assert "benign (2)_mask.png" in message
    assert "30 x 20" in message


def test_first_of_several_masks_is_missed(phantoms):
    (phantoms / IMAGES / "benign" / "benign (4)_mask.png").unlink()
    message = "benign/benign (4).png: its first label is missing, expected benign/benign (4)_mask.png"
    assert message in issues_of(phantoms)


@pytest.mark.parametrize("kind", ["benign", "malignant", "normal"])
def test_empty_folder_is_named(phantoms, kind):
    for path in (phantoms / IMAGES / kind).iterdir():
        path.unlink()
    advice = ", or set normal to false" if kind == "normal" else ""
    assert f"{kind}: no images in it; expected files such as {kind} (1).png{advice}" in issues_of(phantoms)


def test_folder_of_normal_breasts_may_be_missing_where_they_are_not_taken(phantoms):
    shutil.rmtree(phantoms / IMAGES / "normal")
    assert "normal: no such folder" in issues_of(phantoms)
    assert sum(BusiDataset(root=phantoms, normal=False).check().values()) == 17


def test_second_mask_counts_in_a_check(phantoms):
    (phantoms / IMAGES / "benign" / "benign (4)_mask_1.png").write_bytes(b"")
    assert "benign (4)_mask_1.png: the file is empty" in issues_of(phantoms)


@pytest.mark.parametrize(
    ("name", "filled", "remark"),
    [
        ("benign/benign (2)", False, "1 image with a lesion whose label is empty (benign/benign (2))"),
        ("normal/normal (1)", True, "1 image of normal breasts with a lesion (normal/normal (1))"),
    ],
)
def test_labels_that_do_not_go_with_their_folder_are_named(phantoms, name, filled, remark):
    mask = phantoms / IMAGES / f"{name}_mask.png"
    size = Image.open(mask).size
    values = np.zeros(size[::-1], np.uint8)
    values[:10, :10] = 255 * filled
    Image.fromarray(values).save(mask)
    assert remark in notes_of(phantoms)


# Splits


def test_splits_have_about_the_same_share_of_every_folder(pristine):
    for seed in range(3):
        counts = {split: kinds_of(entries_of(pristine, split, seed=seed, num_validation=5)) for split in SPLITS}
        for each in counts.values():
            for kind, share in {"benign": 11 / 20, "malignant": 6 / 20, "normal": 3 / 20}.items():
                assert abs(each[kind] - share * each.total()) <= 1


def test_small_label_budget_has_every_folder_and_is_part_of_a_larger_one(pristine):
    large, small = (entries_of(pristine, "training", num_labels=number) for number in (10, 6))
    assert small == large[:6]
    assert set(kinds_of(small)) == {"benign", "malignant", "normal"}


def test_normal_breasts_are_left_out_on_demand(pristine):
    """Nobody is tested on images that a student was trained on with the other setting."""
    everything, lesions = BusiDataset(root=pristine), BusiDataset(root=pristine, normal=False)
    for split in SPLITS:
        kept = [entry for entry in everything.entries(split) if "normal" not in Path(entry["image"]).stem]
        assert lesions.entries(split) == kept
    assert sum((kinds_of(lesions.entries(split)) for split in SPLITS), Counter()) == {"benign": 11, "malignant": 6}
    assert sum(lesions.check().values()) == 17
    assert lesions.notes == [], "what is left out is no surprise"


def test_a_split_of_normal_breasts_alone_is_an_issue(phantoms):
    for path in (*phantoms.glob("*/malignant/*"), *phantoms.glob("*/benign/*")):
        if not path.stem.removesuffix("_mask").endswith("(1)"):
            path.unlink()
    assert kinds_of(entries_of(phantoms, "test", num_validation=1)) == {"normal": 1}
    message = "normal: without normal breasts no image is left for test; take them, or add images"
    assert message in issues_of(phantoms, num_validation=1, normal=False)


@pytest.mark.parametrize("normal", ["no", 0, None])
def test_whether_normal_breasts_are_taken_is_true_or_false(normal):
    with pytest.raises(InputError, match=f"normal must be true or false, got {normal!r}"):
        BusiDataset(root="nowhere", normal=normal)


def test_images_that_are_there_twice_are_named(phantoms):
    for suffix in ("", "_mask"):
        copy = phantoms / IMAGES / "benign" / f"benign (12){suffix}.png"
        shutil.copy(phantoms / IMAGES / "malignant" / f"malignant (2){suffix}.png", copy)
    assert "benign/benign (12)" in notes_of(phantoms)
    assert "malignant/malignant (2)" in notes_of(phantoms)


# The real data


@needs_real_data
def test_real_data_is_found_from_any_of_its_folders_and_passes():
    for given in (REAL, REAL / IMAGES, REAL / IMAGES / "normal"):
        dataset = find_dataset("busi")(root=given, num_validation=20)
        assert dataset.folder.samefile(REAL / IMAGES)
    assert dataset.check() == {"training": 100, "validation": 20, "test": 40}
    assert "the patients are not named" in "\n".join(dataset.notes)


@needs_real_data
def test_real_splits_have_the_shares_of_the_whole():
    counts = kinds_of(entries_of(REAL, "test", num_validation=20))
    assert counts == {"benign": 22, "malignant": 13, "normal": 5}


@needs_real_data
def test_real_lesions_of_one_image_are_united():
    dataset = BusiDataset(root=REAL)
    several = [each for split in SPLITS for each in dataset.entries(split) if isinstance(each["label"], list)]
    assert sorted(names_of(several)) == ["benign (25)", "benign (4)", "benign (54)", "benign (58)", "benign (83)"]
    for entry in several:
        masks = [np.asarray(Image.open(path).convert("L")) > 127 for path in entry["label"]]
        np.testing.assert_array_equal(dataset.load(entry)[1], masks[0] | masks[1])
