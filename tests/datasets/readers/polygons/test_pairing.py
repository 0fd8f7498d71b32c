"""Which annotation file belongs to which image."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest
from drawn_labels import IDS, ON_PIXELS, coco, labelme, labelme_shape, save, source, via_project, via_region, write_json

from common.datasets.issues import DatasetIssues
from common.datasets.readers.folder_labels import polygon_names, read_folder_label
from common.datasets.readers.polygons.pairing import pair_polygons

SOURCE = source("polygons")


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "labels").mkdir()
    return tmp_path


def images(folder, *names) -> list[Path]:
    for name in names:
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        save(folder / "photos" / name, IDS)
    return [folder / "photos" / name for name in names]


def pair(folder, found, *files):
    issues, notes = DatasetIssues("wounds", folder), []
    pairs = pair_polygons(found, files, polygon_names(SOURCE), issues, folder, notes)
    return {image.name: path.name for image, path in pairs.items()}, issues.messages, notes


def test_one_file_may_list_many_images_and_a_file_of_labelme_lists_one(folder):
    found = images(folder, "a.png", "b.png", "c.png")
    many = write_json(folder / "labels" / "coco.json", coco([], ("a.png", "b.png")))
    one = write_json(folder / "labels" / "c.json", labelme([], "..\\photos\\c.png"))
    assert pair(folder, found, many, one) == ({"a.png": "coco.json", "b.png": "coco.json", "c.png": "c.json"}, [], [])


def test_names_may_be_in_the_other_form_of_unicode_and_have_folders(folder):
    found = images(folder, normalize("NFD", "hémorragie à gauche.png"), "b.png")
    names = (normalize("NFC", "hémorragie à gauche.png"), "export/2024/b.png")
    path = write_json(folder / "labels" / "coco.json", coco([], names))
    pairs, issues, notes = pair(folder, found, path)
    assert len(pairs) == 2
    assert issues == notes == []


def test_images_of_one_name_are_told_apart_by_their_folders(folder):
    found = images(folder, "ann/a.png", "ben/a.png")
    path = write_json(folder / "labels" / "coco.json", coco([], ("ann/a.png", "ben/a.png")))
    issues, notes = DatasetIssues("wounds", folder), []
    assert len(pair_polygons(found, [path], polygon_names(SOURCE), issues, folder, notes)) == 2
    files = []
    for name, kind in (("ann", "wound"), ("ben", "scar")):
        (folder / "labels" / name).mkdir()
        shapes = [labelme_shape(kind, ON_PIXELS["wound"])]
        files.append(write_json(folder / "labels" / name / "a.json", labelme(shapes)))
    pairs = pair_polygons(found, files, polygon_names(SOURCE), issues, folder, notes)
    assert [pairs[image] for image in found] == files
    assert issues.messages == notes == []
    for image, number in zip(found, (1, 2), strict=True):
        label = {"polygons": str(pairs[image]), "image": str(image)}
        assert read_folder_label(label, SOURCE).max() == number


def test_images_that_nothing_tells_apart_are_named(folder):
    found = images(folder, "ann/a.png", "ben/a.png")
    path = write_json(folder / "labels" / "coco.json", coco([]))
    _, issues, _ = pair(folder, found, path)
    assert issues == [
        "labels/coco.json: a.png may be photos/ann/a.png and photos/ben/a.png; give images names of their own"
    ]


def test_a_file_of_labelme_follows_its_image_that_was_renamed(folder):
    found = images(folder, "wound 1.png")
    path = write_json(
        folder / "labels" / "wound 1.json", labelme([labelme_shape("wound", ON_PIXELS["wound"])], "IMG_7.png")
    )
    assert pair(folder, found, path) == ({"wound 1.png": "wound 1.json"}, [], [])
    assert read_folder_label({"polygons": str(path), "image": str(found[0])}, SOURCE).any()


def test_an_image_that_no_file_lists_is_an_issue_and_a_name_without_an_image_a_note(folder):
    found = images(folder, "a.png", "b.png")
    path = write_json(folder / "labels" / "coco.json", coco([], ("a.png", "x.png", "y.png")))
    pairs, issues, notes = pair(folder, found, path)
    assert pairs == {"a.png": "coco.json"}
    assert issues == [
        "photos/b.png: no label, no annotation file lists it; list it there without a region if it has no structure"
    ]
    assert notes == ["labels/coco.json: lists 2 images that are not there (first: x.png): not used"]


def test_an_image_in_two_files_is_an_issue(folder):
    found = images(folder, "a.png")
    files = [write_json(folder / "labels" / name, coco([])) for name in ("one.json", "two.json")]
    _, issues, _ = pair(folder, found, *files)
    assert issues == ["photos/a.png: is listed in labels/one.json and labels/two.json; remove one of the two"]


def test_what_is_wrong_with_a_file_is_said_once_and_not_for_every_image(folder):
    found = images(folder, "a.png", "b.png", "c.png")
    regions = {name: [via_region(ON_PIXELS["wound"], kind="ulcer")] for name in ("a.png", "b.png")}
    wrong = write_json(folder / "labels" / "via.json", via_project(regions))
    other = write_json(folder / "labels" / "c.json", labelme([], "c.png"))
    pairs, issues, _ = pair(folder, found, wrong, other)
    assert pairs == {"a.png": "via.json", "b.png": "via.json", "c.png": "c.json"}
    assert issues == ["labels/via.json: 2 regions are called 'ulcer' (first: a.png, region 1); expected wound, scar"]
    broken = write_json(folder / "labels" / "broken.json", {})
    _, issues, _ = pair(folder, found, broken)
    assert len(issues) == 1


def test_regions_that_repeat_another_are_noted(folder):
    found = images(folder, "a.png")
    regions = [via_region(ON_PIXELS["wound"], kind="wound")] * 3
    path = write_json(folder / "labels" / "via.json", via_project({"a.png": regions}))
    _, issues, notes = pair(folder, found, path)
    assert issues == []
    assert notes == ["labels/via.json: regions that repeat another count once: 2 (first: region 2 = region 1)"]
