"""CHAOS: its folder, its splits by patient and its label budget by slice."""

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.datasets.chaos import ChaosDataset, class_names
from common.datasets.readers.chaos import GroundReader
from common.datasets.splits import SPLITS
from common.errors import InputError

MODALITIES = ("ct", "t1_in", "t1_out", "t2")
SEQUENCE = {"ct": "CT/1", "t1_in": "MR/1/T1DUAL", "t1_out": "MR/1/T1DUAL", "t2": "MR/1/T2SPIR"}
IMAGES = {"ct": "DICOM_anon", "t1_in": "DICOM_anon/InPhase", "t1_out": "DICOM_anon/OutPhase", "t2": "DICOM_anon"}


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("chaos")


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine / "Train_Sets", tmp_path / "CHAOS" / "Train_Sets")).parent


def folder_of(root):
    return ChaosDataset(root=root, modality="ct").folder


def entries_of(folder, split, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).entries(split)


def volumes_of(folder, split, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).volumes(split)


def check(folder, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).check()


def issues_of(folder, modality, **arguments):
    with pytest.raises(InputError) as caught:
        check(folder, modality, **arguments)
    return str(caught.value)


def patients_of(entries):
    return {entry["patient"] for entry in entries}


def sequence_of(folder, modality):
    return folder / "Train_Sets" / SEQUENCE[modality]


def files_of(folder, modality, what="Ground"):
    return sorted((sequence_of(folder, modality) / (IMAGES[modality] if what == "images" else what)).iterdir())


@pytest.mark.parametrize("given", [".", "..", "Train_Sets", "Train_Sets/CT", "Train_Sets/MR"])
def test_root_is_found_from_one_level_off(phantoms, given):
    assert folder_of(phantoms / given) == phantoms


@pytest.mark.parametrize("given", ["Train_Sets/CT/1", "Train_Sets/CT/1/DICOM_anon"])
def test_folder_two_levels_too_low_is_told_the_level_that_is_expected(phantoms, given):
    with pytest.raises(InputError, match=r"no Train_Sets here .*Train_Sets/CT/1/DICOM_anon and Train_Sets/CT/1/Ground"):
        folder_of(phantoms / given)


def test_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder; expected .*Train_Sets"):
        folder_of(tmp_path / "nowhere")


def test_two_copies_are_not_chosen_between(tmp_path):
    for name in ("CHAOS", "CHAOS2"):
        (tmp_path / name / "Train_Sets").mkdir(parents=True)
    with pytest.raises(InputError, match="CHAOS, CHAOS2"):
        folder_of(tmp_path)


def test_unknown_modality_is_refused_with_the_known_ones(pristine):
    for refused in (
        lambda: check(pristine, "mr"),
        lambda: entries_of(pristine, "test", "mr"),
        lambda: class_names("mr"),
        lambda: GroundReader("mr"),
    ):
        with pytest.raises(InputError, match="modality: expected ct, t1_in, t1_out, t2, got 'mr'"):
            refused()


@pytest.mark.parametrize("modality", [["ct", "t2"], {"ct": 1}, 2, None])
def test_modality_that_is_no_name_is_refused_with_the_known_ones(pristine, modality):
    expected = re.escape(f"modality: expected ct, t1_in, t1_out, t2, got {modality!r}")
    for refused in (lambda: check(pristine, modality), lambda: class_names(modality)):
        with pytest.raises(InputError, match=expected):
            refused()


def test_classes_are_those_of_the_modality():
    assert class_names("ct") == ["background", "liver"]
    for modality in ("t1_in", "t1_out", "t2"):
        assert class_names(modality) == ["background", "liver", "right kidney", "left kidney", "spleen"]


@pytest.mark.parametrize(("modality", "slices"), [("ct", 8), ("t1_in", 10), ("t1_out", 10), ("t2", 6)])
def test_a_quarter_of_the_patients_is_held_out(pristine, modality, slices):
    expected = {"training": 2 * slices, "validation": 2 * slices, "test": slices}
    assert check(pristine, modality) == expected
    for split in SPLITS:
        assert len(entries_of(pristine, split, modality)) == expected[split]


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("seed", range(4))
def test_splits_share_no_patient_and_leave_none_out(pristine, modality, seed):
    parts = [patients_of(entries_of(pristine, split, modality, seed=seed)) for split in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 5
    assert parts == [patients_of(volumes_of(pristine, split, modality, seed=seed)) for split in SPLITS]


@pytest.mark.parametrize("split", SPLITS)
def test_sequences_of_one_patient_are_in_one_split(pristine, split):
    parts = [patients_of(entries_of(pristine, split, modality)) for modality in ("t1_in", "t1_out", "t2")]
    assert parts[0] == parts[1] == parts[2]


def test_missing_t2_is_named_and_moves_no_t1_to_another_split(phantoms):
    before = [entries_of(phantoms, split, "t1_in") for split in SPLITS]
    shutil.rmtree(phantoms / "Train_Sets/MR/3/T2SPIR")
    assert [entries_of(phantoms, split, "t1_in") for split in SPLITS] == before
    message = issues_of(phantoms, "t2")
    assert "Train_Sets/MR/3/T2SPIR/DICOM_anon: no such folder" in message
    assert "Train_Sets/MR/3/T2SPIR/Ground: no such folder" in message
    assert "2 issues" in message


@pytest.mark.parametrize("modality", MODALITIES)
def test_entries_join_the_slices_and_labels_that_chaos_joins(pristine, modality):
    offset = {"ct": None, "t1_in": 0, "t1_out": 1, "t2": 0}[modality]
    for split in SPLITS:
        for entry in entries_of(pristine, split, modality):
            image, label = Path(entry["image"]), Path(entry["label"])
            sequence = pristine / "Train_Sets" / SEQUENCE[modality].replace("/1", f"/{entry['patient']}")
            assert (image.parent, label.parent) == (sequence / IMAGES[modality], sequence / "Ground")
            if modality == "ct":
                number = int(image.stem[1:5]) if image.stem.startswith("i0") else int(image.stem[-5:]) - 1
                assert label.name == f"liver_GT_{number:03d}.png"
            else:
                assert int(label.stem[-5:]) == int(image.stem[-5:]) + offset


def test_small_label_budget_is_part_of_a_larger_one(pristine):
    large = entries_of(pristine, "training", "ct")
    assert entries_of(pristine, "training", "ct", num_labels=5) == large[:5]
    assert len({entry["image"] for entry in large}) == len(large) == 16


def test_label_budget_takes_from_the_patients_in_turn(pristine):
    drawn = entries_of(pristine, "training", "t1_in", num_validation=1, num_labels=8)
    assert sorted(Counter(entry["patient"] for entry in drawn).values()) == [2, 3, 3]
    assert len(patients_of(drawn[:3])) == 3


@pytest.mark.parametrize("count", [2, 4])
def test_label_budget_is_spread_evenly_over_a_volume(pristine, count):
    drawn = entries_of(pristine, "training", "ct", num_labels=2 * count)
    for patient in patients_of(drawn):
        files = [path.name for path in sorted((pristine / "Train_Sets/CT" / patient / "Ground").iterdir())]
        taken = sorted(files.index(Path(entry["label"]).name) for entry in drawn if entry["patient"] == patient)
        assert np.diff(taken).tolist() == [8 // count] * (count - 1)


def test_first_label_of_the_first_patient_is_in_the_middle(pristine):
    first = entries_of(pristine, "training", "ct", num_labels=1)[0]
    assert Path(first["label"]).name == "liver_GT_004.png"


def test_label_budget_leaves_validation_and_test_alone(pristine):
    for split in ("validation", "test"):
        assert entries_of(pristine, split, "t2", num_labels=1) == entries_of(pristine, split, "t2")


@pytest.mark.parametrize("num_labels", [0, -1, 17])
def test_label_budget_out_of_range_says_how_many_there_are(pristine, num_labels):
    message = f"num_labels must be between 1 and the 16 training slices available, got {num_labels}"
    assert message in issues_of(pristine, "ct", num_labels=num_labels)
    with pytest.raises(InputError, match=message):
        entries_of(pristine, "training", "ct", num_labels=num_labels)


def test_too_few_patients_says_how_many_are_needed(phantoms):
    assert "num_validation must be at least 1, got 0" in issues_of(phantoms, "ct", num_validation=0)
    for patient in ("5", "6"):
        shutil.rmtree(phantoms / "Train_Sets/CT" / patient)
    needed = "Train_Sets/CT: 4 patients needed (1 for the test, 2 for validation and 1 for training), found 3"
    assert needed in issues_of(phantoms, "ct")
    assert check(phantoms, "ct", num_validation=1) == {"training": 8, "validation": 8, "test": 8}


def test_files_of_the_system_are_ignored(phantoms):
    for what in ("images", "Ground"):
        folder = files_of(phantoms, "ct", what)[0].parent
        for name in (".DS_Store", "Thumbs.db", "._liver_GT_000.png", "._i0000,0000b.dcm"):
            (folder / name).write_bytes(b"x")
    (phantoms / "Train_Sets/CT/.hidden").mkdir()
    assert check(phantoms, "ct")["test"] == 8
    ground = files_of(phantoms, "ct")[0].parent
    assert GroundReader("ct").get_data(ground)[0].shape == (48, 40, 8)


def test_all_issues_are_listed_at_once(phantoms):
    files_of(phantoms, "ct", "images")[3].unlink()
    ct = phantoms / "Train_Sets/CT"
    (ct / "2/Ground/liver_GT_002.png").write_bytes(b"")
    shutil.rmtree(ct / "5/Ground")
    next((ct / "6/DICOM_anon").iterdir()).write_bytes(b"x" * 999)
    message = issues_of(phantoms, "ct", num_labels=99)
    assert message.startswith(f"CHAOS in {phantoms}: 6 issues")
    for part in (
        "CT/1: 7 slices",
        "CT/1/DICOM_anon: 1 slice is missing",
        "CT/2/Ground/liver_GT_002.png",
        "CT/5/Ground",
    ):
        assert part in message
    assert "CT/6/DICOM_anon/" in message
    assert "num_labels" in message
