"""What the rest of the project asks of every dataset module, the same for each."""

import shutil
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from monai.data import PILReader, PydicomReader
from monai.transforms import Compose, LoadImaged
from PIL import Image

from common.datasets import NAMES, autooral, find_dataset, kidneyus
from common.datasets.chaos import GroundReader
from common.datasets.kidneyus import LoadLabeld
from common.datasets.readers.images import to_grey
from common.datasets.splits import SECTIONS
from common.errors import InputError
from common.files.provenance import are_phantoms

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
]
every_dataset = pytest.mark.parametrize(
    ("name", "own"), OWN_KEYS, ids=["-".join([name, *map(str, own.values())]) for name, own in OWN_KEYS]
)


def all_entries(name, folder, **keys):
    return [entry for section in SECTIONS for entry in find_dataset(name).datalist(folder, section, **keys)]


def monai_reader(name, own):
    """Return how a config reads an entry: arrays of channel, column and row."""
    grey = PILReader(converter=to_grey)
    readers = {
        "drive": [("image", "PILReader"), ("label", "PILReader")],
        "autooral": [("image", "PILReader"), ("label", grey)],
        "ph2": [("image", "PILReader"), ("label", grey)],
        "kidneyus": [("image", grey)],
        "chaos": [("image", PydicomReader()), ("label", GroundReader(own.get("modality", "ct")))],
    }
    transforms = [LoadImaged(key, reader=reader, ensure_channel_first=True) for key, reader in readers[name]]
    return Compose([*transforms, LoadLabeld("label")] if name == "kidneyus" else transforms)


def for_the_eye(values, modality):
    """Return what a slice looks like between 0 and 255."""
    low, high = (-160, 240) if modality == "ct" else np.percentile(values, (1, 99))
    return 255 * np.clip((values - low) / (high - low), 0, 1)


def test_every_dataset_is_tested_here():
    assert {name for name, _ in OWN_KEYS} == set(NAMES)


@every_dataset
def test_load_gives_rows_columns_channels_of_what_monai_reads(tiny_phantoms, name, own):
    module, read = find_dataset(name), monai_reader(name, own)
    for entry in all_entries(name, tiny_phantoms(name), **own)[::3]:
        image, label = module.load(entry)
        expected = read(entry)
        values, ids = (np.asarray(expected[key]).transpose(2, 1, 0) for key in ("image", "label"))
        if name == "chaos":
            np.testing.assert_allclose(image, for_the_eye(values, own["modality"]), atol=1)
        else:
            np.testing.assert_array_equal(image, values)
        binary = set(module.classes_of(entry)) == {0, 1} and name != "chaos"
        np.testing.assert_array_equal(label, (ids > 0 if binary else ids)[..., 0])
        assert image.dtype == label.dtype == np.uint8
        assert image.shape[-1] == module.IN_CHANNELS


@every_dataset
def test_every_image_is_known_to_be_a_phantom(tiny_phantoms, name, own):
    assert all(are_phantoms(entry["image"]) for entry in all_entries(name, tiny_phantoms(name), **own))


@every_dataset
def test_classes_are_those_of_the_labels(tiny_phantoms, name, own):
    module = find_dataset(name)
    entries = all_entries(name, tiny_phantoms(name), **own)
    found = set().union(*(np.unique(module.load(entry)[1]).tolist() for entry in entries))
    classes = module.classes_of(entries[0])
    assert found == set(classes) == set(range(len(classes)))
    assert classes[0] == "background"


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
def test_classes_have_the_names_of_the_task(tiny_phantoms, name, own, expected):
    for entry in all_entries(name, tiny_phantoms(name), **own):
        assert list(find_dataset(name).classes_of(entry).values())[1:] == expected


@every_dataset
def test_load_names_a_file_that_cannot_be_read(tiny_phantoms, name, own, tmp_path):
    module = find_dataset(name)
    folder = shutil.copytree(tiny_phantoms(name), tmp_path / "copy")
    entry = module.datalist(folder, "training", **own)[0]
    Path(entry["image"]).write_bytes(b"")
    with pytest.raises(InputError, match=Path(entry["image"]).name):
        module.load(entry)


@every_dataset
@pytest.mark.parametrize("seed", range(3))
def test_sections_share_no_group(tiny_phantoms, name, own, seed):
    module = find_dataset(name)
    groups = [
        {module.group_of(entry) for entry in module.datalist(tiny_phantoms(name), section, seed=seed, **own)} - {None}
        for section in SECTIONS
    ]
    assert len(set.union(*groups)) == sum(map(len, groups)) > 0


@every_dataset
def test_sections_do_not_depend_on_the_order_of_the_file_system(tiny_phantoms, name, own, monkeypatch):
    expected = all_entries(name, tiny_phantoms(name), **own)
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: sorted(iterdir(folder), reverse=True))
    assert all_entries(name, tiny_phantoms(name), **own) == expected


@every_dataset
def test_seed_changes_the_training_section(tiny_phantoms, name, own):
    module, folder = find_dataset(name), tiny_phantoms(name)
    assert len({str(module.datalist(folder, "training", seed=seed, **own)) for seed in range(5)}) > 1


@every_dataset
def test_seed_changes_what_is_held_out_where_no_folder_is_for_the_test(tiny_phantoms, name, own):
    module, folder = find_dataset(name), tiny_phantoms(name)
    tests = {str(module.datalist(folder, "test", seed=seed, **own)) for seed in range(5)}
    assert (len(tests) > 1) == (name not in ("drive", "autooral"))


@every_dataset
def test_small_label_budget_is_part_of_a_larger_one(tiny_phantoms, name, own):
    module, folder = find_dataset(name), tiny_phantoms(name)
    large = module.datalist(folder, "training", num_labels=3, **own)
    assert len(large) == 3
    assert module.datalist(folder, "training", num_labels=2, **own) == large[:2]


@every_dataset
def test_unknown_section_is_refused(tiny_phantoms, name, own):
    with pytest.raises(ValueError, match="section must be one of training, validation, test, got 'train'"):
        find_dataset(name).datalist(tiny_phantoms(name), "train", **own)


@every_dataset
def test_no_validation_at_all_is_refused(tiny_phantoms, name, own):
    with pytest.raises(InputError, match="num_validation must be at least 1, got 0"):
        find_dataset(name).check(tiny_phantoms(name), num_validation=0, **own)


@every_dataset
def test_the_check_counts_the_sections_of_a_seed(tiny_phantoms, name, own):
    module, folder = find_dataset(name), tiny_phantoms(name)
    for seed in range(5):
        sizes = {section: len(module.datalist(folder, section, seed=seed, **own)) for section in SECTIONS}
        assert module.check(folder, seed=seed, **own) == sizes


def test_the_size_of_sections_of_whole_exams_depends_on_the_seed(tiny_phantoms):
    """Otherwise the test above could not tell whether the check takes the seed."""
    sizes = [kidneyus.check(tiny_phantoms("kidneyus"), seed=seed)["training"] for seed in range(5)]
    assert len(set(sizes)) > 1
    available = min(sizes)
    with pytest.raises(InputError, match=f"between 1 and the {available} training images"):
        kidneyus.check(tiny_phantoms("kidneyus"), num_labels=available + 1, seed=sizes.index(available))


# Groups


@pytest.mark.parametrize("name", ["drive", "ph2"])
def test_every_image_stands_alone_where_patients_are_not_named(tiny_phantoms, name):
    module = find_dataset(name)
    entries = all_entries(name, tiny_phantoms(name))
    assert module.GROUP == "image"
    assert len({module.group_of(entry) for entry in entries}) == len(entries)


def test_exam_is_the_number_before_the_first_bar():
    entry = {"image": "/data/kidneyUS_images_14_june_2022/100_IM-0246-0030_anon.png", "label": []}
    assert (kidneyus.GROUP, kidneyus.group_of(entry)) == ("exam", "100")


def test_patient_is_that_of_the_workbook(tiny_phantoms):
    folder = tiny_phantoms("autooral")
    workbook = openpyxl.load_workbook(folder / "Training Set disease classification.xlsx")
    patients = {int(number): str(patient) for patient, number in list(workbook.active.values)[1:]}
    training = autooral.datalist(folder, "training")
    assert len(training) == 12
    for entry in training:
        assert autooral.group_of(entry) == patients[int(Path(entry["image"]).stem)]
    for section in ("validation", "test"):  # the workbook is of the training set alone
        assert {autooral.group_of(entry) for entry in autooral.datalist(folder, section)} == {None}


def test_patient_is_unknown_without_a_workbook_and_known_again_with_another(tiny_phantoms, tmp_path):
    folder = Path(shutil.copytree(tiny_phantoms("autooral"), tmp_path / "copy"))
    path = folder / "Training Set disease classification.xlsx"
    entry = next(each for each in autooral.datalist(folder, "training") if each["image"].endswith("0001.png"))
    assert autooral.group_of(entry) == "1"
    workbook = openpyxl.load_workbook(path)
    path.unlink()
    assert autooral.group_of(entry) is None
    workbook.active["A2"] = "Q7"
    workbook.save(path)
    assert autooral.group_of(entry) == "Q7"


@pytest.mark.parametrize("modality", ["ct", "t1_in", "t1_out", "t2"])
def test_patient_is_the_folder_of_a_scan(tiny_phantoms, modality):
    module = find_dataset("chaos")
    group = "CT" if modality == "ct" else "MR"
    for entry in all_entries("chaos", tiny_phantoms("chaos"), modality=modality):
        parts = Path(entry["image"]).parts
        assert module.group_of(entry) == parts[parts.index(group) + 1]


# Binary labels


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_binary_label_of_any_accepted_mode_is_0_and_1(tiny_phantoms, tmp_path, mode):
    folder = Path(shutil.copytree(tiny_phantoms("ph2"), tmp_path / "copy"))
    entry = find_dataset("ph2").datalist(folder, "training")[0]
    before = find_dataset("ph2").load(entry)[1]
    mask = Image.fromarray(before * 255)
    if mode == "P":  # the palette index counts, not the shade
        mask = Image.fromarray(before, "P")
        mask.putpalette([9, 9, 9, 250, 250, 250])
    else:
        mask = mask.convert(mode)
    mask.save(entry["label"])
    np.testing.assert_array_equal(find_dataset("ph2").load(entry)[1], before)
