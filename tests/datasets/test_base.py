"""What the rest of the project asks of every dataset, the same for each."""

import re
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from folder_sources import OWN_SOURCES
from monai.data import PILReader, PydicomReader
from monai.transforms import Compose, LoadImaged
from PIL import Image

from common.datasets import DATASETS, find_dataset
from common.datasets.base import SegmentationDataset
from common.datasets.busi import BusiDataset
from common.datasets.readers.chaos import GroundReader
from common.datasets.readers.folder_labels import LoadFolderLabeld
from common.datasets.readers.images import to_grey
from common.datasets.readers.kidneyus import LoadKidneyLabeld
from common.datasets.readers.slices import LoadSliced
from common.datasets.splits import SPLITS
from common.errors import InputError
from common.files.phantom_mark import are_phantoms

OWN_KEYS = [
    ("drive", {}),
    ("kidneyus", {}),
    ("kidneyus", {"task": "capsule", "annotator": 2}),
    ("kidneyus", {"task": "all", "annotator": "intersection"}),
    ("autooral", {}),
    ("chaos", {"modality": "ct"}),
    ("chaos", {"modality": "t1_in"}),
    ("chaos", {"modality": "t1_out"}),
    ("chaos", {"modality": "t2"}),
    ("ph2", {}),
    ("busi", {}),
    ("busi", {"normal": False}),
    *OWN_SOURCES.items(),
]
VOLUMES = ("chaos", "folder_volumes")
every_dataset = pytest.mark.parametrize(
    ("name", "own"),
    OWN_KEYS,
    ids=["-".join([name, *(str(value) for key, value in own.items() if key != "source")]) for name, own in OWN_KEYS],
)


def open_dataset(name, folder, **settings) -> SegmentationDataset:
    return find_dataset(name)(root=folder, **settings)


def all_entries(dataset: SegmentationDataset) -> list[dict]:
    return [entry for split in SPLITS for entry in dataset.entries(split)]


def monai_reader(name, own):
    """Return how a config reads an entry: arrays of channel, column and row."""
    grey = PILReader(converter=to_grey)
    readers = {
        "drive": [("image", "PILReader"), ("label", "PILReader")],
        "autooral": [("image", "PILReader"), ("label", grey)],
        "ph2": [("image", "PILReader"), ("label", grey)],
        "kidneyus": [("image", grey)],
        "busi": [("image", grey)],
        "chaos": [("image", PydicomReader()), ("label", GroundReader(own.get("modality", "ct")))],
        "folder": [("image", "PILReader"), ("label", grey)],
        "folder_volumes": [],
    }
    transforms = [LoadImaged(key, reader=reader, ensure_channel_first=True) for key, reader in readers[name]]
    if name == "kidneyus":
        transforms.append(LoadKidneyLabeld("label"))
    if name == "busi":
        transforms.append(LoadFolderLabeld("label", source=BusiDataset(root="").source))
    if name == "folder_volumes":
        transforms += [LoadSliced("image"), LoadFolderLabeld("label", source=own["source"])]
    return Compose(transforms)


def for_the_eye(values, modality):
    """Return what a slice looks like between 0 and 255."""
    low, high = (-160, 240) if modality == "ct" else np.percentile(values, (1, 99))
    return 255 * np.clip((values - low) / (high - low), 0, 1)


def test_every_dataset_is_tested_here():
    assert {name for name, _ in OWN_KEYS} == set(DATASETS)


@every_dataset
def test_load_gives_rows_columns_channels_of_what_monai_reads(tiny_phantoms, name, own):
    dataset, read = open_dataset(name, tiny_phantoms(name), **own), monai_reader(name, own)
    for entry in all_entries(dataset)[::3]:
        image, label = dataset.load(entry)
        expected = read(entry)
        values, ids = (np.asarray(expected[key]).transpose(2, 1, 0) for key in ("image", "label"))
        if name in VOLUMES:
            np.testing.assert_allclose(image, for_the_eye(values, own.get("modality")), atol=1)
        else:
            np.testing.assert_array_equal(image, values)
        binary = set(dataset.classes) == {0, 1} and name != "chaos"
        np.testing.assert_array_equal(label, (ids > 0 if binary else ids)[..., 0])
        assert image.dtype == label.dtype == np.uint8
        assert image.shape[-1] == dataset.in_channels


@every_dataset
def test_beyond_the_budget_are_the_other_training_images_without_their_labels(tiny_phantoms, name, own):
    first, *others = open_dataset(name, tiny_phantoms(name), num_validation=1, **own).entries("training")
    dataset = open_dataset(name, tiny_phantoms(name), num_validation=1, num_labels=1, **own)
    assert dataset.entries("training") == [first]
    assert dataset.beyond_budget() == [{key: each[key] for key in each if key != "label"} for each in others]
    with pytest.raises(InputError, match=rf"^num_labels: null takes all {len(others) + 1} training (images|slices), "):
        dataset.with_settings(num_labels=None).beyond_budget()


@every_dataset
def test_every_image_is_known_to_be_a_phantom(tiny_phantoms, name, own):
    assert all(are_phantoms(entry["image"]) for entry in all_entries(open_dataset(name, tiny_phantoms(name), **own)))


@every_dataset
def test_classes_are_those_of_the_labels(tiny_phantoms, name, own):
    dataset = open_dataset(name, tiny_phantoms(name), **own)
    found = set().union(*(np.unique(dataset.load(entry)[1]).tolist() for entry in all_entries(dataset)))
    assert found == set(dataset.classes) == set(range(dataset.num_classes))
    assert dataset.classes[0] == "background"


@pytest.mark.parametrize(
    ("name", "own", "expected"),
    [
        ("drive", {}, ["vessel"]),
        ("kidneyus", {"task": "capsule"}, ["kidney"]),
        ("kidneyus", {"task": "all"}, ["central echo complex", "medulla", "cortex", "other parenchyma"]),
        ("chaos", {"modality": "ct"}, ["liver"]),
        ("chaos", {"modality": "t2"}, ["liver", "right kidney", "left kidney", "spleen"]),
    ],
)
def test_classes_have_the_names_of_the_task(name, own, expected):
    assert list(open_dataset(name, "nowhere", **own).classes.values())[1:] == expected


@every_dataset
def test_load_names_a_file_that_cannot_be_read(tiny_phantoms, name, own, tmp_path):
    dataset = open_dataset(name, shutil.copytree(tiny_phantoms(name), tmp_path / "copy"), **own)
    entry = dataset.entries("training")[0]
    Path(entry["image"]).write_bytes(b"")
    with pytest.raises(InputError, match=re.escape(Path(entry["image"]).name)):
        dataset.load(entry)


@every_dataset
def test_nothing_is_read_before_it_is_asked_for(name, own, tmp_path):
    """A server, or a site of a federation, gives data of its own, and no dataset lies in the folder."""
    dataset = open_dataset(name, tmp_path / "nowhere", **own)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        dataset.entries("training")


@every_dataset
def test_entries_hold_paths_as_strings(tiny_phantoms, name, own):
    def leaves(value):
        for each in value.values() if isinstance(value, dict) else [] if isinstance(value, int) else value:
            yield from [each] if isinstance(each, str) else leaves(each)

    for entry in all_entries(open_dataset(name, tiny_phantoms(name), **own)):
        assert all(Path(leaf).is_file() for leaf in leaves(entry) if leaf != entry.get("patient"))


@every_dataset
@pytest.mark.parametrize("seed", range(3))
def test_splits_share_no_group(tiny_phantoms, name, own, seed):
    dataset = open_dataset(name, tiny_phantoms(name), seed=seed, **own)
    groups = [{dataset.group_of(entry) for entry in dataset.entries(split)} - {None} for split in SPLITS]
    assert len(set.union(*groups)) == sum(map(len, groups)) > 0


@every_dataset
def test_splits_do_not_depend_on_the_order_of_the_file_system(tiny_phantoms, name, own, monkeypatch):
    expected = all_entries(open_dataset(name, tiny_phantoms(name), **own))
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: sorted(iterdir(folder), reverse=True))
    assert all_entries(open_dataset(name, tiny_phantoms(name), **own)) == expected


@every_dataset
def test_seed_changes_the_training_split(tiny_phantoms, name, own):
    dataset = open_dataset(name, tiny_phantoms(name), **own)
    assert len({str(dataset.with_settings(seed=seed).entries("training")) for seed in range(5)}) > 1


@every_dataset
def test_seed_changes_what_is_held_out_where_no_folder_is_for_the_test(tiny_phantoms, name, own):
    dataset = open_dataset(name, tiny_phantoms(name), **own)
    tests = {str(dataset.with_settings(seed=seed).entries("test")) for seed in range(5)}
    assert (len(tests) > 1) == (name not in ("drive", "autooral"))


@every_dataset
def test_small_label_budget_is_part_of_a_larger_one(tiny_phantoms, name, own):
    large = open_dataset(name, tiny_phantoms(name), num_labels=3, **own)
    assert len(large.entries("training")) == 3
    assert large.with_settings(num_labels=2).entries("training") == large.entries("training")[:2]
    assert large.all_entries() == large.with_settings(num_labels=None).all_entries()


@every_dataset
def test_label_budget_out_of_range_is_an_issue(tiny_phantoms, name, own):
    available = len(open_dataset(name, tiny_phantoms(name), **own).entries("training"))
    for num_labels in (-1, 0, available + 1):
        units = "slices" if name in VOLUMES else "images"
        message = f"num_labels must be between 1 and the {available} training {units} available, got {num_labels}"
        with pytest.raises(InputError, match=message):
            open_dataset(name, tiny_phantoms(name), num_labels=num_labels, **own).entries("test")


@every_dataset
def test_unknown_split_is_refused(tiny_phantoms, name, own):
    dataset = open_dataset(name, tiny_phantoms(name), **own)
    for refused in [dataset.entries, *([dataset.volumes] if name in VOLUMES else [])]:
        with pytest.raises(ValueError, match="split must be one of training, validation, test, got 'train'"):
            refused("train")


@every_dataset
def test_no_validation_at_all_is_refused(tiny_phantoms, name, own):
    with pytest.raises(InputError, match="num_validation must be at least 1, got 0"):
        open_dataset(name, tiny_phantoms(name), num_validation=0, **own).check()


@every_dataset
@pytest.mark.parametrize(
    "settings", [{"num_validation": "two"}, {"num_validation": None}, {"num_labels": True}, {"seed": 1.5}]
)
def test_settings_that_are_no_whole_numbers_are_refused(name, own, settings):
    ((key, value),) = settings.items()
    with pytest.raises(InputError, match=f"{key} must be a whole number, got {value!r}"):
        open_dataset(name, "nowhere", **settings, **own)


@every_dataset
def test_settings_build_the_same_dataset_again(tiny_phantoms, name, own):
    dataset = open_dataset(name, tiny_phantoms(name), seed=3, num_labels=2, **own)
    assert dataset.settings == {"num_validation": 2, "num_labels": 2, "seed": 3, **dataset.settings | own}
    again = find_dataset(name)(root=dataset.root, **dataset.settings)
    assert again.entries("training") == dataset.entries("training")


@every_dataset
def test_the_check_counts_the_splits_of_a_seed(tiny_phantoms, name, own):
    dataset = open_dataset(name, tiny_phantoms(name), **own)
    for seed in range(5):
        seeded = dataset.with_settings(seed=seed)
        assert seeded.check() == {split: len(seeded.entries(split)) for split in SPLITS}


def test_the_size_of_splits_of_whole_exams_depends_on_the_seed(tiny_phantoms):
    """Otherwise the test above could not tell whether the check takes the seed."""
    dataset = open_dataset("kidneyus", tiny_phantoms("kidneyus"))
    sizes = [dataset.with_settings(seed=seed).check()["training"] for seed in range(5)]
    assert len(set(sizes)) > 1
    available = min(sizes)
    with pytest.raises(InputError, match=f"between 1 and the {available} training images"):
        dataset.with_settings(num_labels=available + 1, seed=sizes.index(available)).check()


# The manifest of what has been checked


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The images that a check decodes."""
    seen: list[Path] = []
    for module, function in (
        ("contents", "read_stored"),
        ("contents", "read_label_picture"),
        ("chaos_contents", "read_pixels"),
        ("folder_files.contents", "read_stored"),
        ("readers.volumes", "read_volume_values"),
    ):
        read = getattr(import_module(f"common.datasets.{module}"), function)
        monkeypatch.setattr(
            f"common.datasets.{module}.{function}", lambda path, read=read: (seen.append(Path(path)), read(path))[1]
        )
    return seen


@every_dataset
def test_a_dataset_that_has_passed_is_not_decoded_again(tiny_phantoms, name, own, decoded, tmp_path):
    manifest = tmp_path / "runs" / "dataset_manifest.json"
    dataset = open_dataset(name, tiny_phantoms(name), manifest=manifest, **own)
    counts = dataset.check()
    assert decoded
    decoded.clear()
    assert dataset.with_settings().check() == counts
    changed = dataset.with_settings(seed=3, num_labels=2, num_validation=1)  # which decide nothing of what is read
    assert changed.check()["training"] == 2
    assert changed.entries("training", checked=True) == changed.entries("training")
    assert not decoded
    assert dataset.with_settings(num_labels=1).settings["num_labels"] == 1
    with pytest.raises(InputError, match="num_labels must be between 1 and"):
        dataset.with_settings(num_labels=10_000).check()


@every_dataset
def test_files_that_were_added_removed_or_changed_since_are_noticed(tiny_phantoms, name, own, decoded, tmp_path):
    folder = shutil.copytree(tiny_phantoms(name), tmp_path / "copy")
    dataset = open_dataset(name, folder, manifest=tmp_path / "manifest.json", **own)
    dataset.check()
    image = Path(dataset.entries("training")[0]["image"])
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=re.escape(image.name)):
        dataset.with_settings().check()
    image.write_bytes(content)
    decoded.clear()
    dataset.with_settings().check()
    assert image in decoded, "its time has changed"
    label = next(folder.rglob("*_manual1.gif"), None) or next(folder.rglob("*_lesion.bmp"), None)
    if label is not None:
        label.unlink()
        with pytest.raises(InputError, match="no label"):
            dataset.with_settings().check()


def test_another_task_is_read_for_itself(tiny_phantoms, decoded, tmp_path):
    keys = {"manifest": tmp_path / "manifest.json"}
    open_dataset("kidneyus", tiny_phantoms("kidneyus"), **keys).check()
    decoded.clear()
    open_dataset("kidneyus", tiny_phantoms("kidneyus"), task="capsule", **keys).check()
    assert any("capsule" in path.parts for path in decoded)


def test_a_dataset_with_issues_leaves_no_manifest(tiny_phantoms, tmp_path):
    folder = shutil.copytree(tiny_phantoms("ph2"), tmp_path / "copy")
    next(folder.rglob("IMD004.bmp")).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(InputError, match=r"IMD004.bmp: the file is empty"):
            open_dataset("ph2", folder, manifest=tmp_path / "manifest.json").check()
        assert not (tmp_path / "manifest.json").exists()


def test_without_a_manifest_everything_is_decoded_each_time(tiny_phantoms, decoded):
    dataset = open_dataset("drive", tiny_phantoms("drive"))
    dataset.check()
    once = len(decoded)
    dataset.check()
    assert len(decoded) == 2 * once > 0


# Groups


@pytest.mark.parametrize("name", ["drive", "ph2"])
def test_every_image_stands_alone_where_patients_are_not_named(tiny_phantoms, name):
    dataset = open_dataset(name, tiny_phantoms(name))
    entries = all_entries(dataset)
    assert dataset.group == "image"
    assert len({dataset.group_of(entry) for entry in entries}) == len(entries)


def test_exam_is_the_number_before_the_first_bar():
    entry = {"image": "/data/kidneyUS_images_14_june_2022/100_IM-0246-0030_anon.png", "label": []}
    dataset = open_dataset("kidneyus", "nowhere")
    assert (dataset.group, dataset.group_of(entry)) == ("exam", "100")


def test_patient_is_that_of_the_workbook(tiny_phantoms):
    folder = tiny_phantoms("autooral")
    workbook = openpyxl.load_workbook(folder / "Training Set disease classification.xlsx")
    patients = {int(number): str(patient) for patient, number in list(workbook.active.values)[1:]}
    dataset = open_dataset("autooral", folder)
    assert len(dataset.entries("training")) == 12
    for entry in dataset.entries("training"):
        assert dataset.group_of(entry) == patients[int(Path(entry["image"]).stem)]
    for split in ("validation", "test"):  # the workbook is of the training set alone
        assert {dataset.group_of(entry) for entry in dataset.entries(split)} == {None}


def test_patient_is_unknown_without_a_workbook_and_known_with_another(tiny_phantoms, tmp_path):
    folder = Path(shutil.copytree(tiny_phantoms("autooral"), tmp_path / "copy"))
    path = folder / "Training Set disease classification.xlsx"

    def patient_of_first() -> str | None:
        dataset = open_dataset("autooral", folder)
        entry = next(each for each in dataset.entries("training") if each["image"].endswith("0001.png"))
        assert open_dataset("autooral", folder).group_of(entry) == dataset.group_of(entry)
        return dataset.group_of(entry)

    assert patient_of_first() == "1"
    workbook = openpyxl.load_workbook(path)
    path.unlink()
    assert patient_of_first() is None
    workbook.active["A2"] = "Q7"
    workbook.save(path)
    assert patient_of_first() == "Q7"


@pytest.mark.parametrize("modality", ["ct", "t1_in", "t1_out", "t2"])
def test_patient_is_the_folder_of_a_scan(tiny_phantoms, modality):
    dataset = open_dataset("chaos", tiny_phantoms("chaos"), modality=modality)
    group = "CT" if modality == "ct" else "MR"
    for entry in all_entries(dataset):
        parts = Path(entry["image"]).parts
        assert dataset.group_of(entry) == parts[parts.index(group) + 1]


# Binary labels


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_binary_label_of_any_accepted_mode_is_0_and_1(tiny_phantoms, tmp_path, mode):
    folder = Path(shutil.copytree(tiny_phantoms("ph2"), tmp_path / "copy"))
    dataset = open_dataset("ph2", folder)
    entry = dataset.entries("training")[0]
    before = dataset.load(entry)[1]
    mask = Image.fromarray(before * 255)
    if mode == "P":  # the palette index counts, not the shade
        mask = Image.fromarray(before, "P")
        mask.putpalette([9, 9, 9, 250, 250, 250])
    else:
        mask = mask.convert(mode)
    mask.save(entry["label"])
    np.testing.assert_array_equal(dataset.load(entry)[1], before)
