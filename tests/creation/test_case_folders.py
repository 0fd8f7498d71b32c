"""Folders of cases and of patients: images and labels are told apart, and the folder is the patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from integration import refused
from PIL import Image

from common.creation.drafts import draft_source
from common.creation.options import Options
from common.creation.places import find_places
from common.datasets.folder_files.finding import find_items
from common.datasets.issues import DatasetIssues
from common.datasets.source import Source


def put(root: Path, *names: str) -> None:
    pixels = np.zeros((8, 9), np.uint8)
    pixels[2:5, 3:6] = 255
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def draft(root: Path, **given) -> Source:
    options = Options(name="x", images=root, classes=("background", "wound"), **given)
    return draft_source(options, find_places(options)).source


def labels_of(root: Path, source: Source) -> dict[str, object]:
    """Return the labels by image, and check that there are no issues."""
    issues = DatasetIssues("images", root)
    found = find_items(root, source, issues)
    assert issues.messages == []
    return {
        name: [path.relative_to(root).as_posix() for path in item.label]
        if isinstance(item.label, list)
        else item.label.relative_to(root).as_posix()
        for name, item in found.items.items()
    }


def test_a_folder_for_each_case(tmp_path):
    put(tmp_path, *(f"P{index}/{name}" for index in range(6) for name in ("image.jpg", "mask.png")), "P2/mask_1.png")
    source = draft(tmp_path)
    assert (source.image_suffix, source.label_suffix, source.patient) == ("image", "mask", "^([^/]+)")
    labels = labels_of(tmp_path, source)
    assert labels["P1"] == "P1/mask.png"
    assert labels["P2"] == ["P2/mask.png", "P2/mask_1.png"]
    found = find_items(tmp_path, source, DatasetIssues("images", tmp_path))
    assert found.items["P1"].patient == "P1"


def test_further_images_of_a_case_are_refused_since_all_labels_would_be_those_of_the_first(tmp_path):
    names = ("image.jpg", "image_1.jpg", "mask.png", "mask_1.png")
    put(tmp_path, *(f"P{index}/{name}" for index in range(6) for name in names))
    issues = DatasetIssues("images", tmp_path)
    find_items(tmp_path, draft(tmp_path), issues)
    assert len(issues.messages) == 6
    assert issues.messages[0].startswith("P0/image_1.jpg: is a further image beside P0/image.jpg")


def test_folders_of_images_and_labels_for_each_patient(tmp_path):
    put(tmp_path, *(f"P{patient}/{kind}/{n}.png" for patient in range(6) for kind in ("photos", "masks") for n in "ab"))
    source = draft(tmp_path)
    assert (source.image_suffix, source.label_suffix, source.patient) == ("photos/", "masks/", "^([^/]+)")
    labels = labels_of(tmp_path, source)
    assert labels["P1/a"] == "P1/masks/a.png"
    assert len(labels) == 12
    found = find_items(tmp_path, source, DatasetIssues("images", tmp_path))
    assert found.items["P5/b"].patient == "P5"


def test_few_folders_are_not_taken_for_patients(tmp_path):
    put(tmp_path, *(f"{top}/{kind}/{n}.png" for top in ("benign", "bad") for kind in ("photos", "masks") for n in "ab"))
    assert draft(tmp_path).patient is None


def test_suffixes_without_folders_say_no_patient(tmp_path):
    put(tmp_path, *(f"{n}{kind}.png" for n in range(6) for kind in ("_img", "_mask")))
    source = draft(tmp_path, image_suffix="_img", label_suffix="_mask")
    assert source.patient is None
    assert labels_of(tmp_path, source)["1"] == "1_mask.png"


def test_a_suffix_within_folders_stays_a_suffix(tmp_path):
    put(tmp_path, *(f"P{index}/{name}.png" for index in range(6) for name in ("a", "a_mask")))
    source = draft(tmp_path)
    assert (source.image_suffix, source.label_suffix) == ("", "_mask")
    assert labels_of(tmp_path, source)["P1/a"] == "P1/a_mask.png"


def test_a_folder_and_a_suffix(tmp_path):
    put(tmp_path, *(f"P1/{path}.png" for path in ("photos/a", "photos/b", "masks/a_m", "masks/b_m")))
    source = draft(tmp_path, image_suffix="photos/", label_suffix="masks/_m")
    assert labels_of(tmp_path, source) == {"P1/a": "P1/masks/a_m.png", "P1/b": "P1/masks/b_m.png"}


def test_which_of_two_files_is_the_label_may_be_a_question(tmp_path):
    put(tmp_path, *(f"P{index}/{name}.png" for index in range(3) for name in ("one", "two")))
    with refused(r"P0 have a file one and a file two: which has the label\?", "--image_suffix one --label_suffix two"):
        draft(tmp_path)


@pytest.mark.parametrize("missing", ["P1/masks/a.png", "P1/mask.png"])
def test_a_label_that_is_missing_is_expected_where_it_belongs(tmp_path, missing):
    kinds = ("photos/a", "masks/a") if "/a" in missing else ("image", "mask")
    put(tmp_path, *(f"P{index}/{kind}.png" for index in range(3) for kind in kinds))
    source = draft(tmp_path)
    (tmp_path / missing).unlink()
    issues = DatasetIssues("images", tmp_path)
    find_items(tmp_path, source, issues)
    image = missing.replace("masks/", "photos/").replace("mask.", "image.")
    assert [each.split(";")[0] for each in issues.messages] == [f"{image}: no label, expected {missing}"]


class TestDerivedPictures:
    def test_among_images_and_labels_are_asked_about(self, tmp_path):
        put(tmp_path, *(f"{n}{kind}.png" for n in "abc" for kind in ("", "_mask", "_overlay")))
        with refused(
            r"files that end in _mask \(3 files\), _overlay \(3 files\)",
            "--label_suffix",
            "image,label and a.png,a_mask.png",
        ):
            draft(tmp_path)

    @pytest.mark.parametrize("labels", [{"label_suffix": "_mask"}, {"labels": "masks"}])
    def test_are_named_with_what_to_do(self, tmp_path, labels):
        put(tmp_path, *(f"photos/{n}{kind}.png" for n in "abc" for kind in ("", "_overlay")))
        put(tmp_path, *(f"masks/{n}.png" if "labels" in labels else f"photos/{n}_mask.png" for n in "abc"))
        put(tmp_path, "photos/d.png")
        issues = DatasetIssues("images", tmp_path)
        classes = ["background", "wound"]
        find_items(tmp_path, Source.from_config({"images": "photos", "classes": classes, **labels}), issues)
        derived, other = issues.messages
        assert derived.startswith(
            "3 pictures without a label, called as an image and '_overlay' (photos/a_overlay.png, "
        )
        assert "move them out of the folder, or list the images and labels in a CSV" in derived
        assert other.startswith("photos/d.png: no label, expected ")
