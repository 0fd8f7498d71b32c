"""Slices and labels of CHAOS that do not pair."""

import shutil
from pathlib import Path

import pytest

from common.datasets.chaos import ChaosDataset
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


def entries_of(folder, split, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).entries(split)


def check(folder, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).check()


def issues_of(folder, modality, **arguments):
    with pytest.raises(InputError) as caught:
        check(folder, modality, **arguments)
    return str(caught.value)


def sequence_of(folder, modality):
    return folder / "Train_Sets" / SEQUENCE[modality]


def files_of(folder, modality, what="Ground"):
    return sorted((sequence_of(folder, modality) / (IMAGES[modality] if what == "images" else what)).iterdir())


def test_group_that_is_missing_is_one_issue(phantoms):
    shutil.rmtree(phantoms / "Train_Sets/MR")
    assert "Train_Sets/MR: no such folder; expected 1/T2SPIR/DICOM_anon and 1/T2SPIR/Ground" in issues_of(
        phantoms, "t2"
    )
    assert check(phantoms, "ct")["test"] == 8


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("what", ["images", "Ground"])
def test_unequal_numbers_of_slices_and_labels_name_the_patient_and_the_hole(phantoms, modality, what):
    before, lost, after = files_of(phantoms, modality, what)[2:5]
    lost.unlink()
    slices = {"ct": 8, "t2": 6}.get(modality, 10)
    found = (slices - 1, slices) if what == "images" else (slices, slices - 1)
    name = f"Train_Sets/{SEQUENCE[modality]}"
    folder = IMAGES[modality] if what == "images" else "Ground"
    message = issues_of(phantoms, modality)
    assert f"{name}: {found[0]} slices in {IMAGES[modality]}, but {found[1]} labels in Ground" in message
    assert f"{folder} has none between {before.name} and {after.name}" in message
    with pytest.raises(InputError, match=f"{name}: {found[0]} slices"):
        entries_of(phantoms, "training", modality)


def test_equal_numbers_with_a_hole_in_one_of_them_do_not_pair(phantoms):
    files_of(phantoms, "t2", "images")[-1].unlink()
    files_of(phantoms, "t2")[2].unlink()
    message = issues_of(phantoms, "t2")
    assert "MR/1/T2SPIR/Ground: has no file between IMG-0002-00002.png and IMG-0002-00004.png" in message
