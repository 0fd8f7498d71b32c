"""What the look over a dataset finds, draws and writes, and what it refuses."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml
from integration import BUNDLE, run_python
from monai.bundle import ConfigParser
from PIL import Image

from common import datasets
from common.datasets import NAMES, contact_sheet, find_dataset, report
from common.datasets.contact_sheet import choose_cases, draw_contact_sheet, mark_label
from common.datasets.report import check_dataset
from common.datasets.splits import SECTIONS
from common.errors import InputError
from common.pipeline.check import check_bundle

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
BUNDLES = sorted(path for path in BUNDLE.parent.glob("*_segmentation"))
OWN_KEYS = {
    "drive": {},
    "kidneyus": {"task": "all", "annotator": "intersection"},
    "autooral": {},
    "chaos": {"modality": "t2"},
    "ph2": {},
}


def needs(folder: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (SHARED / folder).is_dir(), reason=f"{folder} is not beside the project")


SIXTH_IMAGES = {  # name: section, patient, height, width, classes
    "a1.png": ("training", "A", 20, 40, (1,)),
    "a2.png": ("training", "A", 30, 60, (1,)),
    "b1.png": ("training", "B", 20, 100, (1, 2)),
    "c1.png": ("validation", None, 40, 50, (2,)),
    "d1.png": ("test", "D", 50, 40, ()),
}


class SixthDataset(ModuleType):
    """A dataset that the command has never heard of: three classes, patients, and a key of its own.

    Images are rectangles of one shade; every label is a frame of background around one class or two, side by side.
    """

    IN_CHANNELS = 1
    GROUP = "patient"

    def __init__(self) -> None:
        super().__init__("common.datasets.sixth")
        self.asked: list[dict] = []

    def find_root(self, dataset_dir):
        return Path(dataset_dir)

    def datalist(self, dataset_dir, section, seed=0, num_validation=2, num_labels=None, scanner="old"):
        logging.getLogger(self.__name__).info("the patient of c1.png is unknown")
        self.asked.append({"seed": seed, "num_validation": num_validation, "scanner": scanner})
        names = [name for name, image in SIXTH_IMAGES.items() if image[0] == section]
        return [{"image": name} for name in names][: num_labels if section == "training" else None]

    def check(self, dataset_dir, num_validation=2, num_labels=None, scanner="old", seed=0):
        logging.getLogger(self.__name__).info("the patient of c1.png is unknown")
        self.asked.append({"seed": seed, "num_validation": num_validation, "scanner": scanner})

    def load(self, entry):
        _, _, height, width, classes = SIXTH_IMAGES[entry["image"]]
        label = np.zeros((height, width), np.uint8)
        for place, index in enumerate(classes):
            label[5:10, 5 + 10 * place : 15 + 10 * place] = index
        return np.full((height, width, 1), 100, np.uint8), label

    def classes_of(self, entry):
        return {0: "background", 1: "bone", 2: "marrow"}

    def group_of(self, entry):
        return SIXTH_IMAGES[entry["image"]][1]


@pytest.fixture
def sixth(monkeypatch) -> SixthDataset:
    module = SixthDataset()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(datasets, "NAMES", (*NAMES, "sixth"))
    return module


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class TestNumbers:
    def test_of_a_dataset_counted_by_hand(self, sixth, tmp_path):
        summary = check_dataset("sixth", tmp_path, tmp_path / "out")
        pixels = 20 * 40 + 30 * 60 + 20 * 100 + 40 * 50 + 50 * 40
        assert summary == {
            "dataset": "sixth",
            "dataset_dir": str(tmp_path),
            "settings": {"split_seed": 0, "num_validation": 2, "num_labels": None, "scanner": "old"},
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
            "sections": {
                "training": {"images": 3, "groups": 2, "images_without_group": 0},
                "validation": {"images": 1, "groups": 0, "images_without_group": 1},
                "test": {"images": 1, "groups": 1, "images_without_group": 0},
            },
            "notes": ["the patient of c1.png is unknown"],
        }

    def test_label_budget_counts_for_the_training_section_alone(self, sixth, tmp_path, caplog):
        summary = check_dataset("sixth", tmp_path, tmp_path / "out", num_labels=2)
        assert summary["images"] == 5
        assert summary["sections"]["training"] == {"images": 2, "groups": 1, "images_without_group": 0}
        assert [each["training_images"] for each in summary["classes"]] == [2, 2, 0]
        note = "no image of the training section has marrow: raise num_labels or take another split_seed"
        assert summary["notes"][-1] == note
        assert note in caplog.text

    def test_printed_for_the_eye(self, sixth, tmp_path, capsys):
        check_dataset("sixth", tmp_path, tmp_path / "out", num_labels=2)
        printed = [line.split() for line in capsys.readouterr().out.splitlines()]
        for line in (
            f"sixth in {tmp_path}: no faults",
            "keys split_seed 0, num_validation 2, num_labels 2, scanner old",
            "images 5 of 40 x 20 to 100 x 20 pixels, median 40 x 50",
            "patients 3, and 1 images of unknown patients",
            "bone 1.74 % 3 2",
            "section images patients",
            "training 2 1",
            "validation 1 0",
        ):
            assert line.split() in printed

    @pytest.mark.parametrize("name", NAMES)
    def test_of_every_dataset_are_those_of_its_files(self, tiny_phantoms, name, tmp_path):
        module, folder = find_dataset(name), tiny_phantoms(name)
        entries = {section: module.datalist(folder, section, **OWN_KEYS[name]) for section in SECTIONS}
        labels = [module.load(entry)[1] for section in SECTIONS for entry in entries[section]]
        summary = check_dataset(name, folder, tmp_path, **OWN_KEYS[name])
        assert {section: count["images"] for section, count in summary["sections"].items()} == {
            section: len(entries[section]) for section in SECTIONS
        }
        assert summary["images"] == len(labels)
        assert summary["group"] == module.GROUP
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
        summary = check_dataset("ph2", tiny_phantoms("ph2"), tmp_path)
        stratified = f"PH2 in {tiny_phantoms('ph2')}: the split is stratified by diagnosis"
        assert summary["notes"] == [stratified]
        assert caplog.messages.count(stratified) == 1

    def test_agreement_of_two_annotators_is_shown_and_kept(self, tiny_phantoms, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        folder, module = tiny_phantoms("kidneyus"), find_dataset("kidneyus")
        own = {"task": "all", "num_validation": 3, "split_seed": 1}
        summary = check_dataset("kidneyus", folder, tmp_path, annotator=2, num_labels=1, **own)
        expected = module.agreement(folder, "test", seed=1, num_validation=3, task="all")
        assert summary["annotator_dice"] == pytest.approx(expected)
        assert json.loads((tmp_path / "check.json").read_text())["annotator_dice"] == summary["annotator_dice"]
        assert any(note.startswith("Dice between the annotators on ") for note in summary["notes"])

    def test_nothing_is_said_of_agreement_where_there_is_one_annotator(self, tiny_phantoms, tmp_path):
        assert "annotator_dice" not in check_dataset("ph2", tiny_phantoms("ph2"), tmp_path)

    def test_notes_go_their_usual_way_afterwards(self, tiny_phantoms, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        check_dataset("ph2", tiny_phantoms("ph2"), tmp_path)
        caplog.clear()
        for _ in range(2):
            find_dataset("ph2").datalist(tiny_phantoms("ph2"), "test")
        assert len(caplog.messages) == 2

    @needs("DRIVE")
    def test_of_the_real_drive(self, tmp_path):
        summary = check_dataset("drive", SHARED / "DRIVE", tmp_path)
        size = {"width": 565, "height": 584}
        assert summary["image_size"] == {"smallest": size, "median": size, "largest": size}
        labels = [np.asarray(Image.open(path)) > 0 for path in (SHARED / "DRIVE/training/1st_manual").glob("*.gif")]
        assert summary["images"] == len(labels) == 20
        assert summary["classes"][1]["pixel_share"] == pytest.approx(np.mean(labels))
        assert [count["images"] for count in summary["sections"].values()] == [13, 2, 5]

    @needs("PH2/PH2Dataset")
    def test_of_the_real_ph2(self, tmp_path):
        summary = check_dataset("ph2", SHARED / "PH2" / "PH2Dataset", tmp_path, num_validation=4)
        paths = list((SHARED / "PH2" / "PH2Dataset").glob("*/*/*_lesion/*.bmp"))
        labels = [np.asarray(Image.open(path).convert("L")) > 0 for path in paths]
        assert summary["images"] == len(labels) == 80
        share = sum(label.sum() for label in labels) / sum(label.size for label in labels)
        assert summary["classes"][1]["pixel_share"] == pytest.approx(share)
        assert [count["images"] for count in summary["sections"].values()] == [56, 4, 20]


class TestContactSheet:
    def test_label_is_tinted_and_bordered_in_the_colour_of_its_class(self):
        picture = np.full((12, 16, 3), 100, np.uint8)
        label = np.zeros((12, 16), np.uint8)
        label[2:8, 3:9] = 1
        label[2:8, 9:14] = 2
        marked = mark_label(picture, label)
        assert (marked[label == 0] == 100).all()
        first, second = marked[2, 3].astype(int), marked[2, 13].astype(int)
        assert not np.array_equal(first, second)
        for colour, index in ((first, 1), (second, 2)):
            inside = np.zeros(label.shape, bool)
            inside[3:7, 4:8] = index == 1
            inside[3:7, 10:13] = index == 2
            assert (marked[(label == index) & ~inside] == colour).all()
            assert (marked[inside] == np.round(0.6 * 100 + 0.4 * colour)).all()

    def test_each_class_is_shown_about_equally_often(self):
        pixels = np.zeros((100, 4), int)
        pixels[:, :2] = 1  # one class everywhere
        pixels[40:44, 2] = 1
        pixels[97:, 3] = 1
        chosen = choose_cases(pixels, [str(index) for index in range(100)], 9)
        assert len(set(chosen)) == 9
        assert chosen == sorted(chosen)
        assert (pixels[chosen, 2:] > 0).sum(axis=0).tolist() == [4, 3]

    def test_each_group_is_shown_about_equally_often(self):
        groups = ["large"] * 90 + ["small"] * 5 + ["tiny"] * 5
        chosen = choose_cases(np.ones((100, 2), int), groups, 12)
        assert [[groups[index] for index in chosen].count(group) for group in ("large", "small", "tiny")] == [4, 4, 4]

    def test_images_without_any_structure_are_left_out(self):
        pixels = np.array([[9, 0], [8, 1], [9, 0], [7, 2]])
        assert choose_cases(pixels, list("abcd"), 12) == [1, 3]

    def test_images_without_any_structure_are_shown_if_there_are_no_others(self):
        assert choose_cases(np.array([[9, 0], [9, 0], [9, 0]]), list("abc"), 2) == [0, 1]

    def test_marks_lie_where_the_labels_do(self, sixth, tmp_path):
        """The first image of 20 rows and 40 columns has bone in its upper left quarter."""
        check_dataset("sixth", tmp_path, tmp_path / "out")
        sheet = np.asarray(Image.open(tmp_path / "out" / "check.png").convert("RGB")).astype(int)
        top, side = contact_sheet._LINE, contact_sheet._SIDE
        plain = sheet[top : top + side // 2, :side]
        marked = sheet[top : top + side // 2, side : 2 * side]
        assert (plain == 100).all()
        scale = side / 40
        rows, columns = np.nonzero((marked != 100).any(axis=-1))
        found = np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1])
        np.testing.assert_allclose(found, scale * np.array([5, 10, 5, 15]), atol=1)

    @pytest.mark.parametrize("name", NAMES)
    def test_labels_of_every_dataset_are_marked(self, tiny_phantoms, name):
        module, folder = find_dataset(name), tiny_phantoms(name)
        sections = {section: module.datalist(folder, section, **OWN_KEYS[name]) for section in SECTIONS}
        cases = report._read_cases(module, sections)

        def load_without_label(entry):
            image, label = module.load(entry)
            return image, np.zeros_like(label)

        unmarked = SimpleNamespace(load=load_without_label, classes_of=module.classes_of, GROUP=module.GROUP)
        with_labels, without = (np.asarray(draw_contact_sheet(each, cases)) for each in (module, unmarked))
        changed = (with_labels != without).any(axis=-1)
        width, height = 2 * contact_sheet._SIDE + contact_sheet._LINE, len(changed) // 3
        for top in (0, height, 2 * height):
            for left in (0, width, 2 * width):
                assert changed[top : top + height, left : left + width].any()
        assert changed.mean() < 0.4


class TestFiles:
    def test_summary_and_contact_sheet_are_written(self, sixth, tmp_path):
        summary = check_dataset("sixth", tmp_path, tmp_path / "new" / "out")
        assert files_in(tmp_path / "new" / "out") == ["check.json", "check.png"]
        assert json.loads((tmp_path / "new" / "out" / "check.json").read_text()) == summary

    def test_an_earlier_report_is_replaced(self, sixth, tmp_path):
        check_dataset("sixth", tmp_path, tmp_path)
        check_dataset("sixth", tmp_path, tmp_path, split_seed=7)
        assert files_in(tmp_path) == ["check.json", "check.png"]
        assert json.loads((tmp_path / "check.json").read_text())["settings"]["split_seed"] == 7

    def test_nothing_is_left_if_the_contact_sheet_cannot_be_written(self, sixth, tmp_path, monkeypatch):
        def fail(self, path, **kwargs):
            Path(path).write_bytes(b"half a picture")
            raise OSError("no space left on device")

        monkeypatch.setattr(Image.Image, "save", fail)
        with pytest.raises(OSError, match="no space left"):
            check_dataset("sixth", tmp_path, tmp_path / "out")
        assert files_in(tmp_path / "out") == []

    def test_a_file_in_the_place_of_the_output_folder_is_refused_before_anything_is_read(self, sixth, tmp_path):
        (tmp_path / "file").write_text("something")
        for output_dir in (tmp_path / "file", tmp_path / "file" / "out"):
            with pytest.raises(InputError, match=r"--output_dir .*file is a file; name a folder"):
                check_dataset("sixth", tmp_path, output_dir)
        assert sixth.asked == []


class TestKeys:
    def test_of_the_dataset_s_own_reach_its_check_and_its_datalist(self, sixth, tmp_path):
        summary = check_dataset("sixth", tmp_path, tmp_path / "out", scanner="new", split_seed=3, num_validation=1)
        assert sixth.asked
        assert all(each == {"seed": 3, "num_validation": 1, "scanner": "new"} for each in sixth.asked)
        assert summary["settings"] == {"split_seed": 3, "num_validation": 1, "num_labels": None, "scanner": "new"}

    @pytest.mark.parametrize(
        ("name", "keys", "message"),
        [
            (
                "drive",
                {"task": "regions"},
                "--task: there is no such key; .* split_seed, num_validation, num_labels$",
            ),
            ("drive", {"seed": 3}, "--seed: there is no such key; .* split_seed"),
            ("drive", {"a": 1, "b": 2}, "--a: there is no such key; --b: there is no such key"),
            ("kidneyus", {"modality": "ct"}, "--modality: there is no such key; .*num_labels, task, annotator$"),
            ("kidneyus", {"task": "cortex"}, "task must be one of regions, capsule, all, got 'cortex'"),
            ("kidneyus", {"task": ["regions"]}, r"task must be one of regions, capsule, all, got \['regions'\]"),
            ("kidneyus", {"annotator": 3}, "annotator must be one of 1, 2, intersection, got 3"),
            ("chaos", {}, "--modality: is missing and has no default"),
            ("chaos", {"modality": "mr"}, "modality: expected ct, t1_in, t1_out, t2, got 'mr'"),
            ("chaos", {"modality": ["ct", "t2"]}, r"modality: expected ct, .*, got \['ct', 't2'\]"),
            ("ph2", {"num_validation": "two"}, "--num_validation: expected a whole number, got 'two'"),
            ("ph2", {"num_validation": None}, "--num_validation: expected a whole number, got None"),
            ("ph2", {"num_labels": True}, "--num_labels: expected a whole number, got True"),
            ("ph2", {"split_seed": 1.5}, "--split_seed: expected a whole number, got 1.5"),
            ("ph2", {"num_labels": 99}, "num_labels must be between 1 and the 7 training images available, got 99"),
        ],
    )
    def test_that_are_wrong_are_refused(self, tiny_phantoms, name, keys, message, tmp_path):
        with pytest.raises(InputError, match=message):
            check_dataset(name, tiny_phantoms(name), tmp_path / "out", **keys)
        assert not (tmp_path / "out").exists()

    def test_label_budget_is_that_of_the_split_in_use(self, tiny_phantoms, tmp_path):
        """With whole exams one seed leaves more training images than another."""
        counts = {
            seed: len(find_dataset("kidneyus").datalist(tiny_phantoms("kidneyus"), "training", seed=seed))
            for seed in range(5)
        }
        seed = max(counts, key=counts.__getitem__)
        assert counts[seed] > min(counts.values())
        summary = check_dataset(
            "kidneyus", tiny_phantoms("kidneyus"), tmp_path, split_seed=seed, num_labels=counts[seed]
        )
        assert summary["sections"]["training"]["images"] == counts[seed]


class TestBundles:
    @pytest.fixture
    def bundle(self, tmp_path) -> Path:
        """A CHAOS bundle of nothing but what the check reads."""
        configs = tmp_path / "chaos_segmentation" / "configs"
        configs.mkdir(parents=True)
        values = {"modality": "t1_out", "num_validation": "$1 + @more", "more": 1, "num_labels": 5, "epochs": 60}
        (configs / "train.yaml").write_text(yaml.safe_dump(values))
        return configs.parent

    def test_values_of_the_keys_are_those_of_its_training(self, bundle, tiny_phantoms):
        summary = check_bundle(bundle, tiny_phantoms("chaos"))
        expected = {"modality": "t1_out", "split_seed": 0, "num_validation": 2, "num_labels": 5}
        assert summary["settings"] == expected
        assert summary["sections"]["training"]["images"] == 5
        assert files_in(bundle / "eval") == ["check.json", "check.png"]

    def test_what_is_given_counts_more(self, bundle, tiny_phantoms, tmp_path):
        summary = check_bundle(bundle, tiny_phantoms("chaos"), tmp_path / "out", modality="ct", num_labels=None)
        expected = {"modality": "ct", "split_seed": 0, "num_validation": 2, "num_labels": None}
        assert summary["settings"] == expected
        assert not (bundle / "eval").exists()
        assert files_in(tmp_path / "out") == ["check.json", "check.png"]

    @pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
    def test_of_the_project_pass_on_their_phantoms(self, bundle, tiny_phantoms, tmp_path):
        folder = tiny_phantoms(bundle.name.removesuffix("_segmentation"))
        summary = check_bundle(bundle, folder, tmp_path, num_validation=1)  # phantoms are fewer than real images
        config = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "train.yaml")))
        for key in ("split_seed", "num_labels"):
            assert summary["settings"][key] == config.get_parsed_content(key)
        assert len(summary["classes"]) == config.get_parsed_content("num_classes")

    def test_that_do_not_exist_are_refused(self, bundle, tmp_path):
        with pytest.raises(InputError, match="nowhere is no bundle: expected a folder with configs/"):
            check_bundle(tmp_path / "nowhere", tmp_path)
        (tmp_path / "lung_segmentation" / "configs").mkdir(parents=True)
        with pytest.raises(InputError, match=r"lung_segmentation.configs.train\.yaml: no such file"):
            check_bundle(tmp_path / "lung_segmentation", tmp_path)
        shutil.copy(bundle / "configs" / "train.yaml", tmp_path / "lung_segmentation" / "configs")
        with pytest.raises(InputError, match="there is no dataset 'lung'; the datasets are drive, kidneyus"):
            check_bundle(tmp_path / "lung_segmentation", tmp_path)


class TestFaults:
    """All of them at once, and nothing is written."""

    @pytest.mark.parametrize("name", NAMES)
    def test_of_every_dataset(self, tiny_phantoms, name, tmp_path):
        folder = Path(shutil.copytree(tiny_phantoms(name), tmp_path / "copy"))
        first, second, third = find_dataset(name).datalist(folder, "test", **OWN_KEYS[name])[:3]
        truncated, missing, strange = Path(first["image"]), self.label_of(second), self.label_of(third)
        truncated.write_bytes(truncated.read_bytes()[:300])
        missing.unlink()
        Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(strange)
        with pytest.raises(InputError) as caught:
            check_dataset(name, folder, tmp_path / "out", **OWN_KEYS[name])
        message = str(caught.value)
        missing_is_named = "labels in Ground; they pair by sorted name" if name == "chaos" else f"expected {missing}"
        assert truncated.name in message
        assert missing_is_named.replace(f"{folder}/", "") in message
        assert strange.name in message
        assert message.count("\n  - ") >= 3
        assert not (tmp_path / "out").exists()

    @staticmethod
    def label_of(entry) -> Path:
        label = entry["label"]
        return Path(label if isinstance(label, str) else label[0]["regions"])

    @pytest.mark.parametrize("name", NAMES)
    def test_of_the_folder(self, name, tmp_path):
        (tmp_path / "empty").mkdir()
        for folder, message in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "empty", "one level down")):
            with pytest.raises(InputError, match=message):
                check_dataset(name, folder, tmp_path / "out", **OWN_KEYS[name])
        assert not (tmp_path / "out").exists()

    @needs("kidneyUS/labels")
    def test_of_the_real_kidneyus_without_its_images(self, tmp_path):
        with pytest.raises(InputError, match=r"no kidneyUS_images\* here .* expected KidneyUS with its images"):
            check_dataset("kidneyus", SHARED / "kidneyUS", tmp_path / "out")


class TestCommandLine:
    """What a user sees: the report, or one line that begins with ``error:``, no traceback, and an exit code."""

    @staticmethod
    def fail(*arguments: str | Path) -> str:
        done = run_python("common", "check", *arguments)
        assert done.returncode != 0
        printed = done.stdout + done.stderr
        assert "Traceback" not in printed, printed
        assert printed.count("error: ") == 1, printed
        return printed[printed.index("error: ") :]

    def test_a_sound_dataset(self, tiny_phantoms, tmp_path):
        keys = ("--num_labels", "2", "--num_validation", "1", "--split_seed", "4")
        arguments = (BUNDLE, "--dataset_dir", tiny_phantoms("drive"), "--output_dir", tmp_path / "out", *keys)
        done = run_python("common", "check", *arguments)
        assert done.returncode == 0, done.stderr
        assert f"drive in {tiny_phantoms('drive')}: no faults" in done.stdout
        assert "None" not in done.stdout
        summary = json.loads((tmp_path / "out" / "check.json").read_text())
        assert summary["settings"] == {"split_seed": 4, "num_validation": 1, "num_labels": 2}
        assert [count["images"] for count in summary["sections"].values()] == [2, 1, 3]
        assert files_in(tmp_path / "out") == ["check.json", "check.png"]

    def test_a_dataset_with_faults(self, tiny_phantoms, tmp_path):
        broken = Path(shutil.copytree(tiny_phantoms("drive"), tmp_path / "broken"))
        (broken / "training" / "1st_manual" / "21_manual1.gif").unlink()
        image = broken / "test" / "images" / "01_test.tif"
        image.write_bytes(image.read_bytes()[:2000])
        arguments = ("--dataset_dir", broken, "--output_dir", tmp_path / "out", "--num_labels", "77")
        said = self.fail(BUNDLE, *arguments)
        assert said.startswith(f"error: DRIVE in {broken}: 3 faults\n")
        assert all(
            fault in said for fault in ("21_training.tif: no label", "01_test.tif: cannot be", "num_labels must")
        )
        assert not (tmp_path / "out").exists()

    def test_a_mistyped_key(self, tiny_phantoms, tmp_path):
        said = self.fail(BUNDLE, "--dataset_dir", tiny_phantoms("drive"), "--num_label", "3")
        assert said.startswith("error: --num_label: there is no such key; the split of this dataset depends on")
        assert "num_labels" in said

    def test_a_bundle_that_does_not_exist(self, tiny_phantoms, tmp_path):
        said = self.fail(tmp_path / "nowhere", "--dataset_dir", tiny_phantoms("drive"))
        assert "nowhere is no bundle: expected a folder with configs/" in said

    def test_no_dataset(self):
        done = run_python("common", "check", BUNDLE)
        assert done.returncode != 0
        assert "required argument: dataset_dir" in done.stderr
        assert "Traceback" not in done.stderr
