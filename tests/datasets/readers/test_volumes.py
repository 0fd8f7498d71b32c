"""Whole volumes, of DICOM folders and NIfTI files."""

import logging
import shutil

import nibabel
import numpy as np
import pytest
from monai.transforms import LoadImage

from common.datasets.readers.series import SeriesReader
from common.datasets.readers.volumes import VolumeReader
from common.errors import InputError


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("chaos")


@pytest.fixture
def folder(pristine, tmp_path):
    """Two DICOM folders, one of them deep, and two NIfTI files."""
    shutil.copytree(pristine / "Test_Sets/CT/3", tmp_path / "mine" / "patient10")
    shutil.copytree(pristine / "Train_Sets/CT/1/DICOM_anon", tmp_path / "mine" / "patient9")
    for name in ("a.nii.gz", "b.nii"):
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), tmp_path / "mine" / name)
    (tmp_path / "mine" / "notes.txt").write_text("x")
    return tmp_path / "mine"


def test_reader_takes_dicom_folders_and_nifti_files_without_a_word(folder, caplog):
    """MONAI logs what sounds like a failure for every reader that it tries in vain."""
    with caplog.at_level(logging.INFO):
        load = LoadImage(reader=VolumeReader)
        caplog.clear()
        series, nifti = load(folder / "patient9"), load(folder / "a.nii.gz")
    assert not caplog.text
    expected, meta = SeriesReader().get_data(folder / "patient9")
    assert np.array_equal(series, expected)
    assert np.array_equal(series.affine, meta["affine"])
    assert np.array_equal(nifti, np.ones((4, 5, 6)))


def test_reader_passes_on_what_is_wrong_with_a_series(folder):
    sorted((folder / "patient9").iterdir())[3].unlink()
    with pytest.raises(InputError, match="1 slice is missing"):
        LoadImage(reader=VolumeReader)(folder / "patient9")
