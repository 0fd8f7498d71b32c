"""What a check says of a dataset that it accepts: turned images, copies, files that nobody reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from common.datasets import find_dataset
from common.datasets.base import SegmentationDataset
from common.datasets.issues import DatasetIssues
from common.datasets.splits import SPLITS
from common.errors import InputError


@pytest.fixture
def copy_of(tiny_phantoms, tmp_path):
    """Return what makes a copy of a dataset's phantoms, to be changed."""
    return lambda name: Path(shutil.copytree(tiny_phantoms(name), tmp_path / name))


def open_dataset(name: str, folder: Path, **settings) -> SegmentationDataset:
    own = {"modality": "t2"} if name == "chaos" else {}
    return find_dataset(name)(root=folder, **own, **settings)


def remarks_of(name: str, folder: Path, **settings) -> list[str]:
    """Return what a check says beyond what it says of the pristine phantoms."""
    dataset = open_dataset(name, folder, **settings)
    dataset.check()
    start = f"{dataset.title} in {dataset.folder}: "
    usual = ("the split is stratified", "there are no masks")
    return [note.removeprefix(start) for note in dataset.notes if not note.removeprefix(start).startswith(usual)]


def issues_of(name: str, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(name, folder).check()
    return str(caught.value)


def save_turned(path: Path, orientation: int) -> None:
    """Turn the pixels of an image so that viewers show what they showed before."""
    turned = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.open(path).transpose(turned).save(path, exif=exif)


@pytest.mark.parametrize("name", ["drive", "kidneyus", "autooral", "chaos", "ph2", "busi"])
def test_of_a_dataset_as_it_is_published_there_are_none(tiny_phantoms, name):
    assert remarks_of(name, tiny_phantoms(name)) == []


class TestOrientation:
    def test_of_images_and_labels_is_named(self, copy_of):
        folder = copy_of("autooral")
        for name in ("data_train/0001.png", "data_train/0002.png", "mask_train/0001.png"):
            save_turned(folder / "Train" / name, 3)
        (remark,) = remarks_of("autooral", folder)
        assert remark.startswith(
            "3 files with an EXIF orientation (Train/data_train/0001.png, Train/mask_train/0001.png, "
            "Train/data_train/0002.png): viewers turn them, but images and labels are taken as their pixels are stored"
        )

    @pytest.mark.parametrize("turned", ["image", "mask"])
    def test_explains_a_label_of_the_size_that_viewers_show(self, copy_of, turned):
        folder = copy_of("autooral")
        kind = {"image": "data_train", "mask": "mask_train"}[turned]
        save_turned(folder / "Train" / kind / "0001.png", 6)
        what = {"image": "image", "mask": "label"}[turned]
        message = issues_of("autooral", folder)
        assert (
            f"pixels; the EXIF orientation of the {what}, by which viewers turn it, explains that: turn the" in message
        )

    def test_does_not_explain_another_size(self, copy_of):
        folder = copy_of("autooral")
        save_turned(folder / "Train" / "data_train" / "0001.png", 3)
        mask = folder / "Train" / "mask_train" / "0001.png"
        Image.open(mask).rotate(90, expand=True).save(mask)
        assert "EXIF" not in issues_of("autooral", folder)


class TestPixels:
    def test_that_hide_in_an_image_are_named(self, copy_of):
        folder = copy_of("kidneyus")
        path = next(folder.glob("kidneyUS_images*/*.png"))
        picture = Image.open(path).convert("RGBA")
        picture.putalpha(picture.getchannel("R").point(lambda value: 255 * (value > 50)))
        picture.save(path)
        (remark,) = remarks_of("kidneyus", folder)
        name = path.relative_to(folder).as_posix()
        assert remark == f"1 file with pixels that are not opaque ({name}): their hidden colours are seen; flatten them"

    def test_that_hide_in_a_label_are_refused(self, copy_of):
        folder = copy_of("ph2")
        path = next(folder.rglob("*_lesion.bmp"))
        mask = Image.open(path).convert("RGBA")
        mask.putalpha(mask.getchannel("R"))
        mask.save(path, format="PNG")
        assert f"{path}: has pixels that are not opaque" in issues_of("ph2", folder)

    def test_of_further_pages_are_named(self, copy_of):
        folder = copy_of("drive")
        path = next(folder.glob("training/images/*.tif"))
        image = Image.open(path)
        image.save(path, save_all=True, append_images=[image.rotate(90), image.rotate(180)])
        (remark,) = remarks_of("drive", folder)
        assert remark.startswith(f"1 file with further images ({path.relative_to(folder).as_posix()}): only the")


def pair_of(dataset: SegmentationDataset, splits: tuple[str, str]) -> list[dict]:
    """Return two entries of these splits."""
    first, second = (dataset.all_entries()[split] for split in splits)
    return [first[0], second[-1]]


def replace_by(entry: dict, other: dict, keys: tuple[str, ...] = ("image", "label")) -> None:
    """Put the pixels of another entry in the place of one, in another encoding."""
    for key in keys:
        picture = Image.open(other[key])
        picture.load()
        picture.save(entry[key], format="TIFF", compression="tiff_lzw")


class TestCopies:
    def test_across_splits_are_named_though_they_are_encoded_anew(self, copy_of):
        folder = copy_of("ph2")
        training, test = pair_of(open_dataset("ph2", folder), ("training", "test"))
        replace_by(test, training)
        (remark,) = remarks_of("ph2", folder)
        names = [Path(entry["image"]).stem for entry in (training, test)]
        assert remark.startswith(
            "the same images are in several splits, 1 of 13 in training, 0 of 2 in validation, 1 of 5 in test "
            f"({names[0]} (training) = {names[1]} (test))"
        )

    def test_that_were_found_once_are_named_again_without_being_decoded(self, copy_of, tmp_path, monkeypatch):
        folder, manifest = copy_of("ph2"), tmp_path / "manifest.json"
        training, test = pair_of(open_dataset("ph2", folder), ("training", "test"))
        replace_by(test, training)
        first = remarks_of("ph2", folder, manifest=manifest)
        monkeypatch.setattr("common.datasets.contents.read_stored", None)
        assert remarks_of("ph2", folder, manifest=manifest) == first != []

    def test_with_different_labels_are_named(self, copy_of):
        folder = copy_of("ph2")
        first, second = pair_of(open_dataset("ph2", folder), ("training", "training"))
        replace_by(second, first, keys=("image",))
        Image.open(first["label"]).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(second["label"])
        within, disputed = remarks_of("ph2", folder)
        assert within.startswith("1 image is there more than once within a split")
        assert disputed.startswith("1 image is there more than once with different labels")

    def test_of_slices_are_named_by_patient(self, copy_of):
        folder = copy_of("chaos")
        training, test = pair_of(open_dataset("chaos", folder, num_validation=1), ("training", "test"))
        source, target = (Path(entry["image"]).parents[2] for entry in (training, test))
        number = target.name
        shutil.rmtree(target / "T2SPIR")
        shutil.copytree(source / "T2SPIR", target / "T2SPIR")
        remarks = remarks_of("chaos", folder, num_validation=1)
        assert remarks[0].startswith("the same images are in several splits, 6 of 18 in training")
        assert f"= {number}/" in remarks[0]

    def test_are_nothing_in_a_dataset_without_any(self, tiny_phantoms):
        dataset = open_dataset("ph2", tiny_phantoms("ph2"))
        dataset.check()
        assert len(set(dataset.findings.digests.values())) == sum(len(dataset.entries(split)) for split in SPLITS)


class TestUnread:
    def test_pictures_of_any_kind_and_place_are_named(self, copy_of):
        folder = copy_of("drive")
        source = next(folder.glob("training/images/*.tif"))
        picture = Image.open(source)
        picture.save(folder / "training" / "images" / "99_training.JPE", format="JPEG")
        (folder / "training" / "images" / "more").mkdir()
        shutil.copy(source, folder / "training" / "images" / "more" / "98_training.tif")
        shutil.copy(source, folder / "no suffix")
        (folder / "volume.nii.gz").write_bytes(b"x")
        for name in ("notes.txt", ".hidden.png", "Thumbs.db", "table.csv"):
            (folder / name).write_bytes(b"text")
        (remark,) = remarks_of("drive", folder)
        assert remark.startswith(
            "not read, since the layout has no place for them: 4 files that may be images (no suffix, "
            "training/images/99_training.JPE, training/images/more/98_training.tif and 1 more)"
        )

    def test_labels_without_an_image_are_named(self, copy_of):
        folder = copy_of("autooral")
        (folder / "Train" / "data_train" / "0001.png").unlink()
        dataset = open_dataset("autooral", folder)
        dataset.check()
        assert any("1 file that may be images (Train/mask_train/0001.png)" in note for note in dataset.notes)

    def test_photographs_of_any_format_are_read(self, copy_of):
        folder = copy_of("autooral")
        image = folder / "Train" / "data_train" / "0001.png"
        Image.open(image).save(image.with_suffix(".webp"), lossless=True)
        image.unlink()
        assert remarks_of("autooral", folder) == []

    def test_what_the_layout_has_beside_them_is_not_named(self, copy_of):
        folder = copy_of("ph2")
        case = next((folder / "PH2 Dataset images").iterdir())
        (case / f"{case.name}_roi").mkdir()
        Image.new("1", (9, 9)).save(case / f"{case.name}_roi" / f"{case.name}_R1_Label1.bmp")
        assert remarks_of("ph2", folder) == []
        shutil.rmtree((drive := copy_of("drive")) / "test" / "1st_manual")
        assert remarks_of("drive", drive) == []

    @pytest.mark.parametrize("settings", [{"task": "capsule"}, {"task": "all", "annotator": 2}])
    def test_other_tasks_and_annotators_are_not_named(self, tiny_phantoms, settings):
        assert remarks_of("kidneyus", tiny_phantoms("kidneyus"), **settings) == []

    def test_what_a_run_has_written_is_not_named(self, copy_of):
        folder = copy_of("ph2")
        manifest = folder / "runs" / "dataset_manifest.json"
        open_dataset("ph2", folder, manifest=manifest).check()
        Image.new("L", (9, 9)).save(folder / "runs" / "overlay.png")
        assert remarks_of("ph2", folder, manifest=manifest) == []

    def test_files_behind_a_link_to_their_folder_are_read(self, copy_of):
        folder = copy_of("drive")
        (folder / "training" / "images").rename(folder / "originals")
        (folder / "training" / "images").symlink_to(folder / "originals")
        assert remarks_of("drive", folder) == []


class TestOneBadFileStopsNoOther:
    def test_whatever_lies_in_the_place_of_an_image(self, copy_of):
        folder = copy_of("autooral")
        images = folder / "Train" / "data_train"
        for name in ("0001", "0002", "0003", "0004"):
            (images / f"{name}.png").unlink()
        os.mkfifo(images / "0001.png")
        (images / "0002.png").mkdir()
        (images / "0003.png").symlink_to("nowhere.png")
        (images / "0004.png").write_bytes(b"")
        message = issues_of("autooral", folder)
        for reason in (
            "0001.png: is neither a file nor a folder",
            "0002.png: is a folder, expected an image",
            "0003.png: is a link to nowhere.png, where there is no file",
            "0004.png: the file is empty",
        ):
            assert reason in message
        assert "4 issues" in message

    def test_a_folder_without_permission_is_named_beside_them(self, copy_of, monkeypatch):
        folder = copy_of("drive")
        closed = folder / "training" / "mask"
        (folder / "training" / "images" / "21_training.tif").write_bytes(b"")
        iterate = Path.iterdir

        def deny(path):
            if path == closed:
                raise PermissionError(13, "Permission denied", str(path))
            return iterate(path)

        monkeypatch.setattr(Path, "iterdir", deny)
        message = issues_of("drive", folder)
        assert "training/mask: cannot be opened (Permission denied)" in message
        assert "21_training.tif: the file is empty" in message

    def test_a_folder_that_a_dataset_cannot_list_is_one_issue(self, copy_of, monkeypatch):
        folder = copy_of("ph2")

        def deny(self, issues: DatasetIssues):
            raise PermissionError(13, "Permission denied", str(folder / "PH2 Dataset images"))

        monkeypatch.setattr(find_dataset("ph2"), "find_files", deny)
        assert "PH2 Dataset images: cannot be opened (Permission denied)" in issues_of("ph2", folder)


def test_digests_are_of_what_the_network_sees(copy_of):
    """A grey image in colours is the same as in one channel."""
    folder = copy_of("kidneyus")
    dataset = open_dataset("kidneyus", folder)
    training, test = pair_of(dataset, ("training", "test"))
    grey = np.asarray(Image.open(training["image"]).convert("L"))
    Image.fromarray(grey).save(training["image"])
    Image.fromarray(np.dstack([grey] * 3)).save(test["image"])
    shutil.copy(training["label"][0]["regions"], test["label"][0]["regions"])
    (remark,) = remarks_of("kidneyus", folder)
    assert remark.startswith("the same images are in several splits")
