"""Phantoms of CHAOS: layout and formats, and what a scan looks like."""

import filecmp
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from common.datasets.chaos import ChaosDataset
from common.datasets.phantoms.chaos import write_phantoms
from common.datasets.readers.chaos import CLASSES, GroundReader
from common.datasets.splits import SPLITS
from common.errors import InputError

SIZE = (40, 48)
MODALITIES = ("ct", "t1_in", "t1_out", "t2")
SEQUENCE = {"ct": "CT/1", "t1_in": "MR/1/T1DUAL", "t1_out": "MR/1/T1DUAL", "t2": "MR/1/T2SPIR"}
IMAGES = {"ct": "DICOM_anon", "t1_in": "DICOM_anon/InPhase", "t1_out": "DICOM_anon/OutPhase", "t2": "DICOM_anon"}


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("chaos")


def volumes_of(folder, split, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).volumes(split)


def sequence_of(folder, modality):
    return folder / "Train_Sets" / SEQUENCE[modality]


def files_of(folder, modality, what="Ground"):
    return sorted((sequence_of(folder, modality) / (IMAGES[modality] if what == "images" else what)).iterdir())


def read_array(path):
    return np.asarray(Image.open(path))


def test_phantoms_have_the_layout_and_formats_of_chaos(pristine):
    counts = Counter(path.parent.relative_to(pristine).as_posix() for path in pristine.rglob("*.*"))
    expected = {}
    for part, groups in (("Train_Sets", {"CT": "12568", "MR": "12358"}), ("Test_Sets", {"CT": "3", "MR": "4"})):
        for group, patients in groups.items():
            for patient in patients:
                sequences = {"": 8} if group == "CT" else {"/T1DUAL": 10, "/T2SPIR": 6}
                for sequence, count in sequences.items():
                    folder = f"{part}/{group}/{patient}{sequence}"
                    phases = ("/InPhase", "/OutPhase") if sequence == "/T1DUAL" else ("",)
                    expected |= {f"{folder}/DICOM_anon{phase}": count for phase in phases}
                    if part == "Train_Sets":
                        expected[f"{folder}/Ground"] = count
    assert counts == expected
    label = Image.open(files_of(pristine, "t2")[0])
    assert (label.format, label.mode, label.size) == ("PNG", "L", (42, 35))
    files = files_of(pristine, "t1_in", "images")
    headers = [pydicom.dcmread(path) for path in files]
    assert (headers[0].Modality, headers[0].Rows, headers[0].Columns) == ("MR", *SIZE)
    assert headers[0].PixelSpacing[0] != headers[0].PixelSpacing[1]
    assert len({header.SeriesInstanceUID for header in headers}) == len(headers), "unreliable, as in CHAOS"


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_phantom_has_every_class(pristine, modality):
    for split in SPLITS:
        for entry in volumes_of(pristine, split, modality):
            ids, _ = GroundReader(modality).get_data(Path(entry["label"]))
            assert np.unique(ids).tolist() == list(CLASSES[modality])
            assert (np.bincount(ids.ravel()) / ids.size).min() > 0.002


def test_phantoms_are_stored_in_both_directions(pristine):
    for patient, sign in (("1", 1), ("2", -1)):
        paths = sorted((pristine / "Train_Sets/MR" / patient / "T2SPIR/DICOM_anon").iterdir())
        heights = [float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in paths]
        assert (np.sign(np.diff(heights)) == sign).all()


def test_same_seed_writes_the_same_bytes_and_another_seed_others(pristine, tmp_path):
    again = write_phantoms(tmp_path / "again", 1, SIZE, 8)
    other = write_phantoms(tmp_path / "other", 1, SIZE, 8, seed=1)
    names = [path.relative_to(again) for path in again.rglob("*.*")]
    assert filecmp.cmpfiles(pristine, again, names, shallow=False)[0] == names
    slices = [name for name in names if name.suffix == ".dcm"]
    assert filecmp.cmpfiles(again, other, slices, shallow=False)[1] == slices


def test_phantoms_differ_from_each_other(pristine):
    labels = [
        b"".join(read_array(path).tobytes() for path in sorted(folder.iterdir()))
        for folder in pristine.glob("Train_Sets/CT/*/Ground")
    ]
    assert len(set(labels)) == len(labels) == 5


@pytest.mark.parametrize("arguments", [{"num_patients": 0}, {"num_patients": 11}, {"num_slices": 7}])
def test_impossible_phantoms_are_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        write_phantoms(tmp_path / "CHAOS", **arguments)


def test_existing_dataset_is_not_overwritten_by_phantoms(pristine):
    with pytest.raises(InputError, match="exists already"):
        write_phantoms(pristine)
