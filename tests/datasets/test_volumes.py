"""A user's own volumes: what is found, and what is left out."""

import logging
import shutil

import nibabel
import numpy as np
import pytest

from common.datasets import chaos
from common.datasets.volumes import VolumeFiles
from common.errors import InputError


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return chaos.write_phantoms(tmp_path_factory.mktemp("chaos") / "CHAOS", 1, (40, 48), 8)


@pytest.fixture
def folder(pristine, tmp_path):
    """Two DICOM folders, one of them deep, and two NIfTI files."""
    shutil.copytree(pristine / "Test_Sets/CT/3", tmp_path / "mine" / "patient10")
    shutil.copytree(pristine / "Train_Sets/CT/1/DICOM_anon", tmp_path / "mine" / "patient9")
    for name in ("a.nii.gz", "b.nii"):
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), tmp_path / "mine" / name)
    (tmp_path / "mine" / "notes.txt").write_text("x")
    return tmp_path / "mine"


def names(volumes, folder):
    return [str(entry["image"]).removeprefix(f"{folder}/") for entry in volumes.entries]


def test_dicom_folders_and_nifti_files_are_found_at_any_depth(folder):
    volumes = VolumeFiles(folder)
    assert names(volumes, folder) == ["a.nii.gz", "b.nii", "patient9", "patient10/DICOM_anon"]
    assert volumes.root == folder


@pytest.mark.parametrize("name", ["a.nii.gz", "patient9"])
def test_one_volume_can_be_given_by_itself(folder, name):
    volumes = VolumeFiles(folder / name)
    assert names(volumes, folder) == [name]
    assert volumes.root == folder


def test_damaged_volumes_are_left_out_and_named_with_the_reason(folder, caplog):
    next((folder / "patient9").iterdir()).write_bytes(b"")
    (folder / "a.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:60])
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5)), np.eye(4)), folder / "flat.nii")
    (folder / "zero.nii").write_bytes(b"")
    volumes = VolumeFiles(folder)
    assert names(volumes, folder) == ["b.nii", "patient10/DICOM_anon"]
    with caplog.at_level(logging.ERROR):
        volumes.report()
    assert "4 of the volumes could not be read" in caplog.text
    for part in ("the file is empty", "a.nii.gz: cannot be read as a NIfTI file", "got shape (4, 5)", "zero.nii"):
        assert part in caplog.text


def test_nothing_is_reported_when_all_is_well(folder, caplog):
    VolumeFiles(folder).report()
    assert not caplog.text


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        VolumeFiles(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no readable volume; expected DICOM slices or NIfTI"):
        VolumeFiles(tmp_path)


def test_volumes_whose_results_would_overwrite_each_other_are_refused(folder):
    shutil.copy(folder / "b.nii", folder / "a.nii")
    with pytest.raises(InputError, match=r"several volumes are named .*mine/a; rename"):
        VolumeFiles(folder)
