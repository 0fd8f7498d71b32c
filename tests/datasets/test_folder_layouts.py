"""Folders of images and labels as people have them: which files belong together, and what is said of the others."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from common.datasets.folder_files.finding import find_items
from common.datasets.folder_files.names import match_names
from common.datasets.issues import DatasetIssues
from common.datasets.source import Source

CLASSES = ["background", "wound"]
MOVE = "; an image without one can be moved elsewhere, or left out by a datalist"
PLAIN = {"images": "photos", "labels": "masks", "classes": CLASSES, "label_format": "black_white"}
AMONG = {"images": ".", "label_suffix": "_mask", "classes": CLASSES, "label_format": "black_white"}


@pytest.fixture
def put(tmp_path):
    """Return what writes small pictures into a dataset."""

    def put(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 3)).save(path) if path.suffix not in (".csv", ".json", ".txt") else path.write_text("")
        return tmp_path

    return put


def find(root: Path, **source):
    """Return the labels by name of image, relative to the root, the issues, and all that was found."""
    issues = DatasetIssues("images", root)
    found = find_items(root, Source.from_config(source), issues)

    def shown(label):
        if isinstance(label, dict):
            return {key: shown(value) for key, value in label.items()}
        return [shown(each) for each in label] if isinstance(label, list) else label and str(label.relative_to(root))

    return {name: shown(item.label) for name, item in found.items.items()}, issues.messages, found


class TestPairs:
    def test_of_two_folders_have_the_same_names_whatever_the_formats(self, put):
        labels, issues, found = find(put("photos/b.jpg", "photos/a.tif", "masks/a.png", "masks/b.bmp"), **PLAIN)
        assert labels == {"a": "masks/a.png", "b": "masks/b.bmp"}
        assert (issues, found.notes, found.orphans) == ([], [], [])

    def test_of_one_folder_have_a_suffix_and_further_files_are_united(self, put):
        root = put("a (1).png", "a (1)_mask.png", "a (1)_mask_1.png", "b_x.png", "b_x_mask.png")
        labels, issues, _ = find(root, **AMONG)
        assert labels == {"a (1)": ["a (1)_mask.png", "a (1)_mask_1.png"], "b_x": "b_x_mask.png"}
        assert issues == []

    def test_of_folders_below_keep_the_folders_in_their_names(self, put):
        root = put("photos/p1/a.png", "photos/p2/a.png", "masks/p1/a.png", "masks/p2/a.png")
        labels, issues, found = find(root, **PLAIN, stratum="folder")
        assert labels == {"p1/a": "masks/p1/a.png", "p2/a": "masks/p2/a.png"}
        assert {item.stratum for item in found.items.values()} == {"p1", "p2"}
        assert issues == []

    def test_may_have_folders_on_one_side_alone(self, put):
        labels, issues, _ = find(put("photos/p1/a.png", "photos/p2/b.png", "masks/a.png", "masks/b.png"), **PLAIN)
        assert labels == {"p1/a": "masks/a.png", "p2/b": "masks/b.png"}
        assert issues == []

    def test_are_not_made_where_two_images_could_be_meant(self, put):
        labels, issues, _ = find(
            put("photos/p1/a.png", "photos/p2/a.png", "photos/b.png", "masks/a.png", "masks/b.png"), **PLAIN
        )
        assert labels == {"b": "masks/b.png", "p1/a": None, "p2/a": None}
        assert issues == [
            f"photos/p1/a.png: no label, expected masks/p1/a.png{MOVE}",
            "photos/p2/a.png: no label, expected masks/p2/a.png",
        ]

    def test_with_other_capitals_are_made_and_noted(self, put):
        labels, issues, found = find(put("photos/IMG_1.JPG", "photos/b.png", "masks/img_1.png", "masks/b.png"), **PLAIN)
        assert labels == {"IMG_1": "masks/img_1.png", "b": "masks/b.png"}
        assert issues == []
        (note,) = found.notes
        assert note == "1 image called otherwise than the label, but for capitals (IMG_1): taken to belong together"

    def test_are_not_made_of_capitals_where_two_labels_could_be_meant(self, put):
        root = put(
            "photos/B.png", "masks/A.png", "masks/a.png", "photos/A.png", "photos/c.png", "masks/c.png", "masks/b.png"
        )
        assert find(root, **PLAIN)[0] == {"A": "masks/A.png", "B": "masks/b.png", "c": "masks/c.png"}

    def test_do_not_mind_capitals_of_suffixes_and_folders(self, put):
        assert find(put("a.png", "a_MASK.png", "b.png", "b_Mask_1.PNG"), **AMONG)[:2] == (
            {"a": "a_MASK.png", "b": "b_Mask_1.PNG"},
            [],
        )
        suffixes = {"image_suffix": "photos/", "label_suffix": "masks/"}
        labels, issues, _ = find(put("P/Photos/a.png", "P/MASKS/a.png", "P/photos/b.png", "P/masks/b.png"), **{
            **AMONG, "images": "P", **suffixes
        })  # fmt: skip
        assert (labels, issues) == ({"a": "P/MASKS/a.png", "b": "P/masks/b.png"}, [])

    def test_of_suffixes_that_differ_in_capitals_are_two_labels(self, put):
        _, issues, _ = find(put("a.png", "a_mask.png", "a_MASK.png"), **AMONG)
        assert issues == ["a_mask.png: there is a_MASK.png, two labels for one image; keep one"]

    def test_do_not_mind_the_form_of_accents_nor_spaces(self, put):
        composed, split = (unicodedata.normalize(form, "Fuß Ödem é 1") for form in ("NFC", "NFD"))
        assert composed != split
        labels, issues, _ = find(put(f"photos/{split}.png", f"masks/{composed}.png"), **PLAIN)
        assert labels == {composed: f"masks/{composed}.png"}
        assert issues == []

    def test_have_an_ending_of_images_taken_off(self, put):
        root = put("imagesTr/w1_0000.png", "imagesTr/w2_0000.png", "labelsTr/w1.png", "labelsTr/w2.png")
        labels, issues, _ = find(root, **{**PLAIN, "images": "imagesTr", "labels": "labelsTr", "image_suffix": "_0000"})
        assert labels == {"w1": "labelsTr/w1.png", "w2": "labelsTr/w2.png"}
        assert issues == []

    def test_are_those_of_monai_label_and_what_is_not_annotated_yet_is_left_out(self, put):
        root = put("a.png", "b.png", "labels/final/a.png", "labels/original/a.png", "labels/original/b.png")
        labels, issues, found = find(root, **{**PLAIN, "images": ".", "labels": "labels/final"})
        assert labels == {"a": "labels/final/a.png", "b": None}
        assert issues == []
        assert [path.name for path in found.unlabelled] == ["b.png"]

    def test_leave_out_bundles_runs_and_hidden_files(self, put):
        root = put("a.png", "a_mask.png", ".b.png", "check.png", "runs/x/p.png", "mine/docs/p.png")
        for mark in ("runs/x/dataset_manifest.json", "mine/configs/metadata.json"):
            put(mark)
        assert find(root, **AMONG)[0] == {"a": "a_mask.png"}


class TestClasses:
    FILES: ClassVar = {"label_format": "file_per_class", "classes": ["background", "wound", "skin"]}

    def test_may_have_files_of_their_own_by_suffix(self, put):
        root = put("photos/a.png", "photos/b.png", "masks/a_w.png", "masks/a_s.png", "masks/b_s.png", "masks/b_s_1.png")
        source = {**PLAIN, **self.FILES, "class_files": {"wound": "_w", "skin": "_s"}}
        labels, issues, found = find(root, **source)
        assert labels == {
            "a": {"wound": "masks/a_w.png", "skin": "masks/a_s.png"},
            "b": {"skin": ["masks/b_s.png", "masks/b_s_1.png"]},
        }
        assert issues == []
        assert found.notes == ["1 image without a file of wound (b): wound counts as absent there"]

    def test_may_have_folders_of_their_own(self, put):
        root = put("photos/a.png", "masks/wound/a.png", "masks/skin/a.png")
        labels, issues, _ = find(root, **{**PLAIN, **self.FILES, "class_files": {"wound": "wound/", "skin": "skin/"}})
        assert labels == {"a": {"wound": "masks/wound/a.png", "skin": "masks/skin/a.png"}}
        assert issues == []

    def test_may_be_called_as_the_end_of_another_one(self, put):
        source = {**PLAIN, **self.FILES, "class_files": {"wound": "_ear", "skin": "_inner_ear"}}
        root = put("photos/a.png", "masks/a_ear.png", "masks/a_inner_ear.png")
        labels, issues, found = find(root, **source)
        assert labels == {"a": {"wound": "masks/a_ear.png", "skin": "masks/a_inner_ear.png"}}
        assert (issues, found.orphans) == ([], [])
        put("photos/a_inner.png", "masks/b_inner_ear.png")
        _, issues, found = find(root, **source)
        assert [path.name for path in found.orphans] == ["b_inner_ear.png"]
        assert issues == [
            "masks/a_inner_ear.png: is by its name a label of photos/a_inner.png and of photos/a.png; give each class "
            "a folder of its own"
        ]

    def test_may_lie_among_the_images(self, put):
        root = put("a.png", "a_w.png", "a_s.png")
        source = {**self.FILES, "images": ".", "class_files": {"wound": "_w", "skin": "_s"}}
        assert find(root, **source)[0] == {"a": {"wound": "a_w.png", "skin": "a_s.png"}}

    def test_an_image_without_any_file_has_no_label(self, put):
        root = put("photos/a.png", "photos/b.png", "masks/a_w.png")
        _, issues, _ = find(root, **{**PLAIN, **self.FILES, "class_files": {"wound": "_w", "skin": "_s"}})
        assert issues == [f"photos/b.png: no label, expected masks/b_w.png{MOVE}"]


class TestFaults:
    def test_images_without_labels_are_issues_and_labels_without_images_are_known(self, put):
        root = put("photos/a.png", "photos/b.png", "masks/a.png", "masks/c.png")
        _, issues, found = find(root, **PLAIN)
        assert issues == [f"photos/b.png: no label, expected masks/b.png{MOVE}"]
        assert [path.name for path in found.orphans] == ["c.png"]

    def test_two_labels_for_one_image(self, put):
        _, issues, _ = find(put("photos/a.png", "masks/a.png", "masks/a.tif"), **PLAIN)
        assert issues == ["masks/a.tif: there is masks/a.png, two labels for one image; keep one"]

    def test_two_images_of_one_name(self, put):
        _, issues, _ = find(put("photos/a.jpg", "photos/a.png", "masks/a.png"), **PLAIN)
        assert issues == ["photos/a.png: there is photos/a.jpg of the same name; keep one, or rename it"]

    def test_names_that_never_agree_are_one_issue_that_says_what_may_be_missing(self, put):
        _, issues, _ = find(put("photos/a.png", "photos/b.png", "masks/a_seg.png", "masks/b_seg.png"), **PLAIN)
        assert issues == [
            "photos/a.png: no label has its name, nor that of any other image; the first label is masks/a_seg.png: is "
            "label_suffix _seg missing?"
        ]
        _, issues, _ = find(put("photos/a.png"), **{**PLAIN, "label_suffix": "_x"})
        assert issues == ["masks: no label of an image in it; expected files such as masks/a_x.png"]

    def test_a_folder_that_is_not_there_or_empty(self, put, tmp_path):
        _, issues, _ = find(put("photos/a.png"), **PLAIN)
        assert issues == ["masks: no such folder; expected labels such as masks/a.png"]
        (tmp_path / "empty").mkdir()
        _, issues, _ = find(tmp_path, **{**PLAIN, "images": "empty"})
        assert len(issues) == 1
        assert issues[0].startswith("empty: no pictures in it; expected pictures (.png, .jpg")

    def test_a_folder_of_something_else_says_what_is_in_it(self, put):
        root = put("masks/a.png")
        for name in ("a.heic", "b.heic", "notes.txt"):
            (root / "photos").mkdir(exist_ok=True)
            (root / "photos" / name).write_bytes(b"x")
        _, issues, _ = find(root, **PLAIN)
        assert len(issues) == 1
        assert issues[0].startswith("photos: has 2 of the kind 'HEIF picture'; expected pictures (.png")
        assert issues[0].endswith("convert them")

    def test_no_image_has_the_ending(self, put):
        _, issues, _ = find(put("photos/a.png", "masks/a.png"), **PLAIN, image_suffix="_0000")
        assert issues == ["photos: no name ends in '_0000' (source::image_suffix), the first image is a.png"]

    def test_a_folder_that_cannot_be_opened_is_no_silent_loss(self, put, monkeypatch):
        root = put("photos/a.png", "masks/a.png")
        monkeypatch.setattr(Path, "iterdir", lambda folder: (_ for _ in ()).throw(PermissionError(13, "Denied", "x")))
        _, issues, _ = find(root, **PLAIN)
        assert issues == [issues[0]]
        assert issues[0].startswith("photos: cannot be opened (Denied)")

    def test_a_read_only_folder_is_read(self, put):
        root = put("photos/a.png", "masks/a.png")
        for folder in (root / "photos", root / "masks"):
            folder.chmod(0o555)
        try:
            assert find(root, **PLAIN)[0] == {"a": "masks/a.png"}
        finally:
            for folder in (root / "photos", root / "masks"):
                folder.chmod(0o755)


class TestFacts:
    def test_patients_are_in_the_names(self, put):
        root = put(*(f"{kind}/{name}.png" for kind in ("photos", "masks") for name in ("P01_a", "P01_b", "P02_a")))
        _, issues, found = find(root, **PLAIN, patient="^(P[0-9]+)_")
        assert {name: item.patient for name, item in found.items.items()} == {
            "P01_a": "P01",
            "P01_b": "P01",
            "P02_a": "P02",
        }
        assert issues == []

    def test_names_without_a_patient_are_an_issue(self, put):
        root = put("photos/P01_a.png", "photos/x.png", "masks/P01_a.png", "masks/x.png")
        _, issues, _ = find(root, **PLAIN, patient="^(P[0-9]+)_")
        assert len(issues) == 1
        assert issues[0].startswith("source::patient: '^(P[0-9]+)_' says no patient in 1 of 2 names, such as x;")

    @pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "Validation", "Test")])
    def test_splits_are_folders_below_the_images(self, put, names):
        root = put(*(f"{kind}/{name}/{name}1.png" for kind in ("photos", "masks") for name in names))
        _, issues, found = find(root, **PLAIN, split="folder")
        assert [item.split for item in found.items.values()] == [
            {"t": "training", "v": "validation"}.get(name[0].lower(), "") if "est" not in name else "test"
            for name in sorted(names)
        ]
        assert issues == []

    def test_splits_are_folders_beside_each_other(self, put):
        root = put(
            "train/images/a.png", "train/masks/a.png", "test/images/b.png", "test/masks/b.png", "val/images/c.png"
        )
        source = {**PLAIN, "images": "train/images", "labels": "train/masks"}
        labels, issues, found = find(root, **source, split="folder")
        assert labels == {"training/a": "train/masks/a.png", "test/b": "test/masks/b.png"}, "val has no labels"
        assert {item.split for item in found.items.values()} == {"training", "test"}
        assert issues == []

    def test_splits_of_nnunet(self, put):
        root = put("imagesTr/a_0000.png", "labelsTr/a.png", "imagesTs/b_0000.png", "labelsTs/b.png")
        source = {**PLAIN, "images": "imagesTr", "labels": "labelsTr", "image_suffix": "_0000"}
        labels, issues, found = find(root, **source, split="folder")
        assert labels == {"training/a": "labelsTr/a.png", "test/b": "labelsTs/b.png"}
        assert found.items["test/b"].split == "test"
        assert issues == []
        assert list(find(root, **source)[0]) == ["a"], "without split, the folder that was named is all there is"

    def test_an_image_in_no_folder_of_a_split_is_an_issue(self, put):
        root = put("photos/train/a.png", "photos/b.png", "masks/train/a.png", "masks/b.png")
        _, issues, _ = find(root, **PLAIN, split="folder")
        assert len(issues) == 1
        assert issues[0].startswith(
            "source::split: 1 image in no folder of a split (b); expected folders such as train"
        )

    def test_fields_of_view_are_a_folder_of_masks(self, put):
        root = put("photos/a.png", "photos/b.png", "masks/a.png", "masks/b.png", "fov/a.png")
        _, issues, found = find(root, **PLAIN, field_of_view="fov")
        assert found.items["a"].fov == root / "fov" / "a.png"
        assert issues == ["photos/b.png: no field of view, expected fov/b.png"]


def test_names_match_the_exact_ones_first():
    assert match_names(["A", "a"], ["a", "A"]) == {"A": "A", "a": "a"}
    assert match_names(["x/a", "a"], ["a"]) == {"a": "a"}
    assert match_names(["x/A"], ["y/a"]) == {"x/A": "y/a"}
    assert match_names(["x/a", "y/A"], ["a"]) == {"x/a": "a"}
    assert match_names([], ["a"]) == {}


def test_order_of_the_file_system_does_not_matter(put, monkeypatch):
    root = put(*(f"{kind}/{name}.png" for kind in ("photos", "masks") for name in "cab"))
    expected = find(root, **PLAIN)[0]
    walk = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: sorted(walk(folder), reverse=True))
    assert list(find(root, **PLAIN)[0]) == list(expected) == ["a", "b", "c"]
