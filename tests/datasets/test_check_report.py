"""What the look over a dataset finds, draws and writes, and what it refuses."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from folder_sources import OWN_SOURCES
from integration import BUNDLE
from PIL import Image

from common.datasets import DATASETS, check_report, contact_sheet, find_dataset
from common.datasets.base import SegmentationDataset
from common.datasets.check_report import check_dataset, describe
from common.datasets.contact_sheet import draw_contact_sheet
from common.datasets.splits import SPLITS
from common.errors import InputError
from common.pictures.sheets import pictures_of

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
BUNDLES = sorted(path for path in BUNDLE.parent.glob("*_segmentation"))
OWN_KEYS = {
    "drive": {},
    "kidneyus": {"task": "all", "annotator": "intersection"},
    "autooral": {},
    "chaos": {"modality": "t2"},
    "ph2": {},
    "busi": {},
    **OWN_SOURCES,
}


def needs(folder: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (SHARED / folder).is_dir(), reason=f"{folder} is not beside the project")


SIXTH_IMAGES = {  # name: split, patient, height, width, classes
    "a1.png": ("training", "A", 20, 40, (1,)),
    "a2.png": ("training", "A", 30, 60, (1,)),
    "b1.png": ("training", "B", 20, 100, (1, 2)),
    "c1.png": ("validation", None, 40, 50, (2,)),
    "d1.png": ("test", "D", 50, 40, ()),
}


class SixthDataset(SegmentationDataset):
    """A dataset of no files: three classes, patients, and a setting of its own.

    Images are rectangles of one shade; every label is a frame of background around one class or two, side by side.
    """

    name = "sixth"
    title = "Sixth"
    in_channels = 1
    class_names = ("background", "bone", "marrow")
    group = "patient"
    own_settings = ("scanner",)

    def __init__(self, *, scanner="old", **common):
        super().__init__(**common)
        self.scanner = scanner

    @property
    def folder(self):
        return Path(self.root)

    def find_files(self, issues):
        self.note("the patient of c1.png is unknown")
        return {name: {"image": self.folder / name, "label": self.folder / name} for name in SIXTH_IMAGES}

    def split(self, files, issues):
        return {split: [name for name in files if SIXTH_IMAGES[name][0] == split] for split in SPLITS}

    def check_files(self, files, issues):
        pass

    def load(self, entry):
        _, _, height, width, classes = SIXTH_IMAGES[Path(entry["image"]).name]
        label = np.zeros((height, width), np.uint8)
        for place, index in enumerate(classes):
            label[5:10, 5 + 10 * place : 15 + 10 * place] = index
        return np.full((height, width, 1), 100, np.uint8), label

    def group_of(self, entry):
        return SIXTH_IMAGES[Path(entry["image"]).name][1]

    @classmethod
    def write_phantoms(cls, folder):
        pytest.fail("a check draws no phantoms")


@pytest.fixture
def sixth(tmp_path):
    return lambda **settings: SixthDataset(root=tmp_path, **settings)


def open_dataset(name, folder, **settings) -> SegmentationDataset:
    return find_dataset(name)(root=folder, **{**OWN_KEYS[name], **settings})


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class TestNumbers:
    def test_of_a_dataset_counted_by_hand(self, sixth, tmp_path):
        summary = check_dataset(sixth(), tmp_path / "out")
        pixels = 20 * 40 + 30 * 60 + 20 * 100 + 40 * 50 + 50 * 40
        assert summary == {
            "dataset": "sixth",
            "dataset_dir": str(tmp_path),
            "settings": {"num_validation": 2, "num_labels": None, "split_seed": 0, "scanner": "old"},
            "group": "patient",
            "images": 5,
            "groups": 3,
            "images_without_group": 1,
            "image_size": {
                "smallest": {"width": 40, "height": 20},
                "median": {"width": 40, "height": 50},
                "largest": {"width": 100, "height": 20},
            },
            "classes": [
                {
                    "id": 0,
                    "name": "background",
                    "pixel_share": pytest.approx(1 - 250 / pixels),
                    "images": 5,
                    "training_images": 3,
                },
                {"id": 1, "name": "bone", "pixel_share": 150 / pixels, "images": 3, "training_images": 3},
                {"id": 2, "name": "marrow", "pixel_share": 100 / pixels, "images": 2, "training_images": 1},
            ],
            "splits": {
                "training": {"images": 3, "groups": 2, "images_without_group": 0},
                "validation": {"images": 1, "groups": 0, "images_without_group": 1},
                "test": {"images": 1, "groups": 1, "images_without_group": 0},
            },
            "notes": ["the patient of c1.png is unknown"],
        }

    def test_label_budget_counts_for_the_training_split_alone(self, sixth, tmp_path, caplog):
        summary = check_dataset(sixth(num_labels=2), tmp_path / "out")
        assert summary["images"] == 5
        assert summary["splits"]["training"] == {"images": 2, "groups": 1, "images_without_group": 0}
        assert [each["training_images"] for each in summary["classes"]] == [2, 2, 0]
        note = "no image of the training split has marrow: raise num_labels or take another split_seed"
        assert summary["notes"][-1] == note
        assert note in caplog.text

    def test_all_labels_are_said_in_words_and_a_dataset_without_notes_has_no_issues(self, sixth, tmp_path, capsys):
        summary = check_dataset(sixth(), tmp_path / "out")
        assert "keys        num_validation 2, num_labels all, " in capsys.readouterr().out
        assert ": no issues\n" in describe({**summary, "notes": []})
        assert ": no errors; read 1 note above\n" in describe(summary)

    def test_whole_patients_may_be_more_than_num_validation(self, sixth, tmp_path):
        summary = check_dataset(sixth(num_validation=1), tmp_path / "out")
        summary["splits"]["validation"] = {"images": 20, "groups": 1, "images_without_group": 0}
        summary["settings"]["source"] = {"kind": "pictures"}
        assert "num_validation 1 (whole patients: 20), num_labels all, " in describe(summary)
        summary["settings"]["source"] = {"kind": "volumes"}  # of which it counts volumes
        assert "num_validation 1, num_labels all, " in describe(summary)

    def test_printed_for_the_eye(self, sixth, tmp_path, capsys):
        check_dataset(sixth(num_labels=2), tmp_path / "out")
        printed = [line.split() for line in capsys.readouterr().out.splitlines()]
        for line in (
            f"sixth in {tmp_path}: no errors; read 2 notes above",
            "keys num_validation 2, num_labels 2, split_seed 0, scanner old",
            "images 5 of 40 x 20 to 100 x 20 pixels, median 40 x 50",
            "patients 3, and 1 image of unknown patients",
            "bone 1.74 % 3 2",
            "split images patients",
            "training 2 1",
            "validation 1 0",
        ):
            assert line.split() in printed

    @pytest.mark.parametrize("name", DATASETS)
    def test_of_every_dataset_are_those_of_its_files(self, tiny_phantoms, name, tmp_path):
        dataset = open_dataset(name, tiny_phantoms(name))
        labels = [dataset.load(entry)[1] for split in SPLITS for entry in dataset.entries(split)]
        summary = check_dataset(dataset, tmp_path)
        assert {split: count["images"] for split, count in summary["splits"].items()} == {
            split: len(dataset.entries(split)) for split in SPLITS
        }
        assert summary["images"] == len(labels)
        assert summary["group"] == dataset.group
        areas = sorted(label.size for label in labels)
        sizes = [size["width"] * size["height"] for size in summary["image_size"].values()]
        assert sizes == [areas[0], areas[len(areas) // 2], areas[-1]]
        pixels = np.concatenate([label.ravel() for label in labels])
        for each in summary["classes"]:
            assert each["pixel_share"] == pytest.approx((pixels == each["id"]).mean())
            assert each["pixel_share"] > 0
            assert each["images"] == sum((label == each["id"]).any() for label in labels)

    def test_notes_of_the_dataset_are_shown_and_kept_once(self, tiny_phantoms, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        summary = check_dataset(open_dataset("ph2", tiny_phantoms("ph2")), tmp_path)
        stratified = f"PH2 in {tiny_phantoms('ph2')}: the split is stratified by diagnosis"
        assert summary["notes"] == [stratified]
        assert caplog.messages.count(stratified) == 1

    def test_agreement_of_two_annotators_is_shown_and_kept(self, tiny_phantoms, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        settings = {"task": "all", "num_validation": 3, "seed": 1}
        dataset = open_dataset("kidneyus", tiny_phantoms("kidneyus"), annotator=2, num_labels=1, **settings)
        summary = check_dataset(dataset, tmp_path)
        assert summary["annotator_dice"] == pytest.approx(dataset.agreement("test"))
        assert json.loads((tmp_path / "check.json").read_text())["annotator_dice"] == summary["annotator_dice"]
        assert any(note.startswith("Dice between the annotators on ") for note in summary["notes"])

    def test_nothing_is_said_of_agreement_where_there_is_one_annotator(self, tiny_phantoms, tmp_path):
        assert "annotator_dice" not in check_dataset(open_dataset("ph2", tiny_phantoms("ph2")), tmp_path)

    @needs("DRIVE")
    def test_of_the_real_drive(self, tmp_path):
        summary = check_dataset(open_dataset("drive", SHARED / "DRIVE"), tmp_path)
        size = {"width": 565, "height": 584}
        assert summary["image_size"] == {"smallest": size, "median": size, "largest": size}
        labels = [np.asarray(Image.open(path)) > 0 for path in (SHARED / "DRIVE/training/1st_manual").glob("*.gif")]
        assert summary["images"] == len(labels) == 20
        assert summary["classes"][1]["pixel_share"] == pytest.approx(np.mean(labels))
        assert [count["images"] for count in summary["splits"].values()] == [13, 2, 5]

    @needs("PH2/PH2Dataset")
    def test_of_the_real_ph2(self, tmp_path):
        summary = check_dataset(open_dataset("ph2", SHARED / "PH2" / "PH2Dataset", num_validation=4), tmp_path)
        paths = list((SHARED / "PH2" / "PH2Dataset").glob("*/*/*_lesion/*.bmp"))
        labels = [np.asarray(Image.open(path).convert("L")) > 0 for path in paths]
        assert summary["images"] == len(labels) == 80
        share = sum(label.sum() for label in labels) / sum(label.size for label in labels)
        assert summary["classes"][1]["pixel_share"] == pytest.approx(share)
        assert [count["images"] for count in summary["splits"].values()] == [56, 4, 20]


class TestContactSheet:
    def test_marks_lie_where_the_labels_do(self, sixth, tmp_path):
        """The first image of 20 rows and 40 columns has bone in its upper left quarter."""
        check_dataset(sixth(), tmp_path / "out")
        with Image.open(tmp_path / "out" / "check.png") as sheet:
            tile = np.asarray(next(iter(pictures_of(sheet).values()))).astype(int)
        side = tile.shape[1] // 2
        plain, marked = tile[:, :side], tile[:, side:]
        assert (plain == 100).all()
        scale = side / 40
        rows, columns = np.nonzero((marked != 100).any(axis=-1))
        found = np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1])
        np.testing.assert_allclose(found, scale * np.array([5, 10, 5, 15]), atol=1)

    @pytest.mark.parametrize("name", DATASETS)
    def test_labels_of_every_dataset_are_marked(self, tiny_phantoms, name, monkeypatch):
        dataset = open_dataset(name, tiny_phantoms(name))
        cases = check_report._read_cases(dataset, dataset.all_entries())
        with_labels = pictures_of(draw_contact_sheet(dataset, cases))
        load = dataset.load

        def load_without_label(entry):
            image, label = load(entry)
            return image, np.zeros_like(label)

        monkeypatch.setattr(dataset, "load", load_without_label)
        without = pictures_of(draw_contact_sheet(dataset, cases))
        assert len(with_labels) == min(contact_sheet.SIZE, len(cases))
        for caption, tile in with_labels.items():
            changed = (np.asarray(tile) != np.asarray(without[caption])).any(axis=-1)
            middle = changed.shape[1] // 2
            assert not changed[:, :middle].any(), "the image alone"
            assert 0 < changed[:, middle:].mean() < 0.8


class TestFiles:
    def test_summary_and_contact_sheet_are_written(self, sixth, tmp_path):
        summary = check_dataset(sixth(), tmp_path / "new" / "out")
        assert files_in(tmp_path / "new" / "out") == ["check.json", "check.png"]
        assert json.loads((tmp_path / "new" / "out" / "check.json").read_text()) == summary

    def test_an_earlier_report_is_replaced(self, sixth, tmp_path):
        check_dataset(sixth(), tmp_path)
        check_dataset(sixth(seed=7), tmp_path)
        assert files_in(tmp_path) == ["check.json", "check.png"]
        assert json.loads((tmp_path / "check.json").read_text())["settings"]["split_seed"] == 7

    def test_nothing_is_left_if_the_contact_sheet_cannot_be_written(self, sixth, tmp_path, monkeypatch):
        def fail(self, path, **kwargs):
            Path(path).write_bytes(b"half a picture")
            raise OSError("no space left on device")

        monkeypatch.setattr(Image.Image, "save", fail)
        with pytest.raises(OSError, match="no space left"):
            check_dataset(sixth(), tmp_path / "out")
        assert files_in(tmp_path / "out") == []

    def test_a_file_in_the_place_of_the_output_folder_is_refused_before_anything_is_read(self, sixth, tmp_path):
        dataset = sixth()
        (tmp_path / "file").write_text("something")
        for output_dir in (tmp_path / "file", tmp_path / "file" / "out"):
            with pytest.raises(InputError, match=r"--output_dir .*file is a file; name a folder"):
                check_dataset(dataset, output_dir)
        assert dataset.notes == []


class TestSettings:
    def test_of_the_dataset_s_own_are_in_the_report(self, sixth, tmp_path):
        summary = check_dataset(sixth(scanner="new", seed=3, num_validation=1), tmp_path / "out")
        assert summary["settings"] == {"num_validation": 1, "num_labels": None, "split_seed": 3, "scanner": "new"}

    def test_label_budget_is_that_of_the_split_in_use(self, tiny_phantoms, tmp_path):
        """With whole exams one seed leaves more training images than another."""
        dataset = open_dataset("kidneyus", tiny_phantoms("kidneyus"))
        counts = {seed: len(dataset.with_settings(seed=seed).entries("training")) for seed in range(5)}
        seed = max(counts, key=counts.__getitem__)
        assert counts[seed] > min(counts.values())
        summary = check_dataset(dataset.with_settings(seed=seed, num_labels=counts[seed]), tmp_path)
        assert summary["splits"]["training"]["images"] == counts[seed]


class TestIssues:
    """All of them at once, and nothing is written."""

    @pytest.mark.parametrize("name", [name for name in DATASETS if name != "folder_volumes"])  # a label is no picture
    def test_of_every_dataset(self, tiny_phantoms, name, tmp_path):
        folder = Path(shutil.copytree(tiny_phantoms(name), tmp_path / "copy"))
        first, second, third = open_dataset(name, folder).entries("test")[:3]
        truncated, missing, strange = Path(first["image"]), self.label_of(second), self.label_of(third)
        truncated.write_bytes(truncated.read_bytes()[:300])
        missing.unlink()
        Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(strange)
        with pytest.raises(InputError) as caught:
            check_dataset(open_dataset(name, folder), tmp_path / "out")
        message = str(caught.value)
        shown = missing.relative_to(open_dataset(name, folder).folder).as_posix()
        missing_is_named = "labels in Ground; they pair by sorted name" if name == "chaos" else f"expected {shown}"
        assert truncated.name in message
        assert missing_is_named in message
        assert strange.name in message
        assert message.count("\n  - ") >= 3
        assert not (tmp_path / "out").exists()

    @staticmethod
    def label_of(entry) -> Path:
        label = entry["label"]
        return Path(label if isinstance(label, str) else label[0]["regions"])

    @pytest.mark.parametrize("name", DATASETS)
    def test_of_the_folder(self, name, tmp_path):
        (tmp_path / "empty").mkdir()
        for folder, message in (
            (tmp_path / "nowhere", "no such folder"),
            (tmp_path / "empty", "one level down|no images in it"),
        ):
            with pytest.raises(InputError, match=message):
                check_dataset(open_dataset(name, folder), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @needs("kidneyUS/labels")
    def test_of_the_real_kidneyus_without_its_images(self, tmp_path):
        with pytest.raises(InputError, match=r"no kidneyUS_images\* here .* expected KidneyUS with its images"):
            check_dataset(open_dataset("kidneyus", SHARED / "kidneyUS"), tmp_path / "out")
