"""Volumes of one's own, slice by slice."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_slices import write_slice
from oriented import SHAPE

from common.datasets.folder_volumes import FolderVolumeDataset
from common.datasets.readers import nifti
from common.datasets.readers.folder_labels import LoadFolderLabeld
from common.datasets.readers.slices import LoadSliced, SliceDataset
from common.errors import InputError

SOURCE = {"images": "scans", "labels": "labels", "classes": ["background", "liver"], "kind": "volumes", "channels": 1}
LPS = np.diag([-1.5, -1.25, 4.0, 1.0])


def write_volume(path: Path, values: np.ndarray, affine: np.ndarray = LPS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def ids_of(number: int, depth: int = SHAPE[2]) -> np.ndarray:
    ids = np.zeros((*SHAPE[:2], depth), np.uint8)
    ids[3 : 5 + number % 4, 2:6, 1 : depth - 1] = 1
    return ids


@pytest.fixture
def scans(tmp_path):
    """Return what writes volumes with their labels."""

    def write(names=("a", "b", "c", "d", "e"), **affines) -> Path:
        for number, name in enumerate(names):
            values = np.random.default_rng(number).integers(0, 900, SHAPE).astype(np.int16)
            affine = affines.get(name, LPS)
            write_volume(tmp_path / "scans" / f"{name}.nii.gz", values, affine)
            write_volume(tmp_path / "labels" / f"{name}.nii.gz", ids_of(number), affine)
        return tmp_path

    return write


def open_scans(root: Path, num_validation: int = 1, **changes) -> FolderVolumeDataset:
    own = {key: changes.pop(key) for key in ("num_labels", "seed") if key in changes}
    return FolderVolumeDataset(root=root, source={**SOURCE, **changes}, num_validation=num_validation, **own)


def issues_of(dataset: FolderVolumeDataset) -> str:
    with pytest.raises(InputError) as caught:
        dataset.check()
    return str(caught.value)


class TestSplits:
    def test_keep_volumes_whole_and_count_them(self, scans):
        dataset = open_scans(scans())
        assert dataset.check() == {"training": 15, "validation": 5, "test": 5}
        assert dataset.group == "volume"
        assert {split: len(dataset.volumes(split)) for split in ("training", "validation", "test")} == {
            "training": 3,
            "validation": 1,
            "test": 1,
        }

    def test_keep_patients_whole(self, scans):
        dataset = open_scans(scans(("P1_x", "P1_y", "P2_x", "P2_y", "P3_x", "P4_x")), patient="^(P[0-9])")
        for seed in range(5):
            splits = dataset.with_settings(seed=seed).all_entries()
            patients = [{entry["patient"] for entry in entries} for entries in splits.values()]
            assert sum(map(len, patients)) == 4

    def test_spread_a_label_budget_over_the_volumes(self, scans):
        entries = open_scans(scans(), num_labels=3).entries("training")
        assert len({entry["image"] for entry in entries}) == 3

    def test_too_few_volumes_are_an_issue(self, scans):
        message = issues_of(open_scans(scans(("a", "b"))))
        assert "1 for the test, 1 for validation, 1 for training needed, found 2 volumes" in message


class TestReading:
    def test_slices_and_labels_are_those_of_the_volume(self, scans):
        root = scans()
        for entry in open_scans(root).entries("training"):
            loaded = LoadFolderLabeld("label", source=SOURCE)(LoadSliced("image")(entry))
            whole = nibabel.load(entry["image"]).get_fdata()
            np.testing.assert_array_equal(loaded["image"][0], whole[..., entry["slice"]])
            number = "abcde".index(Path(entry["image"]).name[0])
            np.testing.assert_array_equal(loaded["label"][0], ids_of(number)[..., entry["slice"]])

    def test_slices_are_axial_whichever_way_the_axes_of_a_file_run(self, scans):
        root = scans()
        expected = [open_scans(root).load(entry) for entry in sorted_entries(root)]
        for path in [*(root / "scans").iterdir(), *(root / "labels").iterdir()]:
            image = nibabel.load(path)
            turn = nibabel.orientations.axcodes2ornt("SRA")
            turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), turn)
            nibabel.save(image.as_reoriented(turn), path)
        nifti._read_cached.cache_clear()
        for entry, (image, label) in zip(sorted_entries(root), expected, strict=True):
            again = open_scans(root).load(entry)
            np.testing.assert_array_equal(again[0], image)
            np.testing.assert_array_equal(again[1], label)

    def test_a_dataset_of_slices_takes_the_entries_as_they_are_and_reads_each_volume_once(self, scans, monkeypatch):
        root = scans()
        entries = open_scans(root).entries("training")
        opened = []
        original = nifti.open_nifti
        monkeypatch.setattr(nifti, "open_nifti", lambda path: (opened.append(Path(path)), original(path))[1])
        nifti._read_cached.cache_clear()
        dataset = SliceDataset(entries, transform=LoadSliced("image"), progress=False, hash_as_key=True)
        assert len(dataset) == len(entries)
        for index, entry in enumerate(entries):
            whole = nibabel.load(entry["image"]).get_fdata()
            np.testing.assert_array_equal(dataset[index]["image"][0], whole[..., entry["slice"]])
        assert len(opened) == len(set(opened)) == 3

    def test_folders_of_dicom_slices_with_nifti_labels(self, tmp_path):
        for number, name in enumerate("abcd"):
            folder = tmp_path / "scans" / name
            folder.mkdir(parents=True)
            for index in range(5):
                pixels = np.full((4, 6), 100 * index + number, np.uint16).tobytes()
                write_slice(folder / f"{index}.dcm", pixels, ImagePositionPatient=[0, 0, 3 * index])
            affine = np.diag([-1.0, -1.0, 3.0, 1.0])
            spacing = nibabel_spacing(folder)
            affine[0, 0], affine[1, 1] = -spacing[1], -spacing[0]
            ids = np.zeros((6, 4, 5), np.uint8)
            ids[1:3, 1:3, 1 + number % 2] = 1
            write_volume(tmp_path / "labels" / f"{name}.nii.gz", ids, affine)
        dataset = open_scans(tmp_path)
        assert sum(dataset.check().values()) == 20
        assert not any("not read" in note for note in dataset.notes)
        entry = next(each for each in dataset.entries("training") if each["slice"] == 3)
        loaded = LoadSliced("image")(entry)
        assert loaded["image"].shape == (1, 6, 4)
        _, label = dataset.load({**entry, "slice": 1 + "abcd".index(Path(entry["image"]).name) % 2})
        np.testing.assert_array_equal(np.argwhere(label), [[1, 1], [1, 2], [2, 1], [2, 2]])


def nibabel_spacing(folder: Path) -> tuple[float, float]:
    from common.datasets.readers.dicom import read_slice

    return read_slice(folder / "0.dcm").spacing


def sorted_entries(root: Path) -> list[dict]:
    splits = open_scans(root).all_entries()
    return sorted((each for part in splits.values() for each in part), key=lambda each: (each["image"], each["slice"]))


class TestFaults:
    def test_a_label_that_lies_elsewhere_or_has_another_size(self, scans):
        root = scans()
        moved = LPS.copy()
        moved[:3, 3] = 20
        write_volume(root / "labels" / "a.nii.gz", ids_of(0), moved)
        write_volume(root / "labels" / "b.nii.gz", ids_of(0, depth=7))
        message = issues_of(open_scans(root))
        assert "a.nii.gz: does not lie on its image" in message
        assert "b.nii.gz: is 15 x 9 x 7 voxels, but its image" in message
        assert "2 issues" in message

    def test_class_ids_that_no_class_has(self, scans):
        root = scans()
        write_volume(root / "labels" / "c.nii.gz", 5 * ids_of(1))
        assert "c.nii.gz" in issues_of(open_scans(root))

    def test_a_damaged_header_and_four_axes(self, scans):
        root = scans()
        (root / "scans" / "a.nii.gz").write_bytes(b"nothing")
        write_volume(root / "scans" / "b.nii.gz", np.zeros((*SHAPE, 2), np.int16))
        message = issues_of(open_scans(root))
        assert "a.nii.gz: cannot be read as a NIfTI file" in message
        assert "b.nii.gz: expected a volume of three axes, got shape (15, 9, 5, 2)" in message

    def test_volumes_without_labels_and_the_reverse(self, scans):
        root = scans()
        (root / "labels" / "a.nii.gz").unlink()
        (root / "scans" / "b.nii.gz").unlink()
        assert "scans/a.nii.gz: no label, expected labels/a.nii.gz" in issues_of(open_scans(root))
        (root / "scans" / "a.nii.gz").unlink()
        dataset = open_scans(root)
        dataset.check()
        assert any("1 label without an image of that name (labels/b.nii.gz)" in note for note in dataset.notes)

    def test_voxels_of_several_sizes_are_noted(self, scans):
        thick = np.diag([-1.5, -1.25, 6.0, 1.0])
        dataset = open_scans(scans(b=thick))
        dataset.check()
        assert any("voxels measure 1.5 x 1.25 x 4 to 6 mm" in note for note in dataset.notes)
        same = open_scans(scans())
        same.check()
        assert not any("voxels measure" in note for note in same.notes)

    def test_a_folder_of_pictures(self, tmp_path):
        from PIL import Image

        (tmp_path / "scans").mkdir()
        Image.new("L", (4, 3)).save(tmp_path / "scans" / "a.png")
        message = issues_of(open_scans(tmp_path))
        assert "scans: has 1 pictures; expected NIfTI files (.nii, .nii.gz) or folders of DICOM" in message

    def test_two_copies_of_a_volume_are_noted_once(self, scans):
        root = scans()
        write_volume(root / "scans" / "b.nii.gz", np.asanyarray(nibabel.load(root / "scans" / "a.nii.gz").dataobj))
        write_volume(root / "labels" / "b.nii.gz", ids_of(0))
        dataset = open_scans(root)
        dataset.check()
        copies = [note for note in dataset.notes if "more than once" in note or "in several splits" in note]
        assert len(copies) == 1
        assert "a/0000" in copies[0]
