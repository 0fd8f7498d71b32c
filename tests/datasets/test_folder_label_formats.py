"""The same labels in a folder, in every way that labels are drawn: checked, and read as they were drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_labels import (
    CLASSES,
    COLOURS,
    coco,
    compress,
    in_colours,
    labelme,
    labelme_shape,
    runs_of,
    save,
    source,
    via_project,
    via_region,
    write_json,
    write_via_table,
)
from integration import refused

from common.datasets.folder import FolderDataset
from common.datasets.readers.folder_labels import LoadFolderLabeld
from common.datasets.readers.images import LoadPictured, to_rgb
from common.datasets.readers.label_survey import describe_label_files

SIZE = (48, 36)
NAMES = [f"wound {number} ü" for number in range(10)]


def boxes_of(place: int) -> dict[str, list[tuple[int, int]]]:
    """Return the corners of a wound and, in every other image, of a scar."""
    boxes = {"wound": (3 + place, 4, 20 + place, 15)}
    if place % 2:
        boxes["scar"] = (5, 20 + place, 40, 22 + place)
    return {name: [(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for name, (x0, y0, x1, y1) in boxes.items()}


def ids_of(place: int) -> np.ndarray:
    ids = np.zeros(SIZE[::-1], np.uint8)
    for number, name in enumerate(("wound", "scar"), start=1):
        for corners in filter(None, [boxes_of(place).get(name)]):
            (x0, y0), _, (x1, y1), _ = corners
            ids[y0 : y1 + 1, x0 : x1 + 1] = number
    return ids


def write_pictures(labels: Path, form: str) -> None:
    for place, name in enumerate(NAMES):
        ids = ids_of(place)
        masks = {each: ids == number for number, each in ((1, "wound"), (2, "scar")) if (ids == number).any()}
        if form == "united":
            for number, inside in enumerate(masks.values()):
                save(labels / f"{name}_mask{f'_{number}' if number else ''}.png", ids * inside)
        elif form == "files":
            for each, inside in masks.items():
                save(labels / f"{name}_{each}.png", inside * np.uint8(255))
        elif form == "folders":
            for number, each in ((1, "wound"), (2, "scar")):
                (labels / each).mkdir(exist_ok=True)
                save(labels / each / f"{name}.png", (ids == number) * np.uint8(255))
        else:
            save(labels / f"{name}.png", {"ids": ids, "values": 80 * ids, "colours": in_colours(ids)}[form])


def write_via(labels: Path, form: str) -> None:
    regions = {
        f"{name}.png": [via_region(points, tissue=each) for each, points in boxes_of(place).items()]
        for place, name in enumerate(NAMES)
    }
    if form == "VIA CSV":
        write_via_table(labels / "via.csv", regions)
    else:
        write_json(labels / "via.json", via_project(regions))


def write_labelme(labels: Path, form: str) -> None:
    for place, name in enumerate(NAMES):
        shapes = [labelme_shape(each, points) for each, points in boxes_of(place).items()]
        write_json(labels / f"{name}.json", labelme(shapes, f"..\\photos\\{name}.png", SIZE))


def write_coco(labels: Path, form: str) -> None:
    annotations = []
    for place, name in enumerate(NAMES):
        for each in boxes_of(place):
            runs = {"size": list(SIZE[::-1]), "counts": compress(runs_of(ids_of(place) == CLASSES.index(each)))}
            annotations.append({"image": f"{name}.png", "category": each, "segmentation": runs})
    write_json(labels / "coco.json", coco(annotations, [f"{name}.png" for name in NAMES], SIZE))


WRITERS = {
    **dict.fromkeys(("ids", "united", "values", "colours", "files", "folders"), write_pictures),
    **dict.fromkeys(("VIA CSV", "VIA JSON"), write_via),
    "labelme": write_labelme,
    "COCO": write_coco,
}
FORMS = list(WRITERS)
SETTINGS: dict[str, dict[str, Any]] = {
    "ids": {"label_format": "ids"},
    "united": {"label_format": "ids", "label_suffix": "_mask"},
    "values": {"label_format": "ids", "values": {80: 1, 160: 2}},
    "colours": {"label_format": "colours", "colours": {name: list(colour) for name, colour in COLOURS.items()}},
    "files": {"label_format": "file_per_class", "class_files": {"wound": "_wound", "scar": "_scar"}},
    "folders": {"label_format": "file_per_class", "class_files": {"wound": "wound/", "scar": "scar/"}},
}


def write_folder(folder: Path, form: str) -> dict[str, Any]:
    """Write images and labels, and return what the configs say of them."""
    photos, labels = folder / "photos", folder / "labels"
    photos.mkdir(parents=True)
    labels.mkdir()
    generator = np.random.default_rng(0)
    for name in NAMES:
        save(photos / f"{name}.png", generator.integers(0, 255, (*SIZE[::-1], 3), dtype=np.uint8))
    WRITERS[form](labels, form)
    return source(**{"labels": "labels", **SETTINGS.get(form, {"label_format": "polygons"})}).to_config()


@pytest.mark.parametrize("form", FORMS)
def test_labels_come_back_as_they_were_drawn(tmp_path, form):
    own = write_folder(tmp_path / "my wounds", form)
    dataset = FolderDataset(root=tmp_path / "my wounds", source=own, num_validation=2)
    assert sum(dataset.check().values()) == len(NAMES)
    transform = LoadFolderLabeld(source=own)
    num_read = 0
    for entries in dataset.all_entries().values():
        for entry in entries:
            expected = ids_of(NAMES.index(Path(entry["image"]).stem))
            np.testing.assert_array_equal(dataset.load(entry)[1], expected)
            read = transform(LoadPictured("image", to_rgb)({"image": entry["image"], "label": entry["label"]}))
            np.testing.assert_array_equal(read["label"][0].numpy(), expected.T)
            num_read += 1
    assert num_read == len(NAMES)


@pytest.mark.parametrize("form", ["VIA CSV", "VIA JSON", "COCO"])
def test_a_name_that_is_no_class_is_one_issue_and_not_one_for_every_image(tmp_path, form):
    own = write_folder(tmp_path, form)
    dataset = FolderDataset(root=tmp_path, source={**own, "classes": ["background", "wound", "burn"]}, num_validation=2)
    with refused(r": 1 issue\n", "5 regions are called 'scar' .*; expected wound, burn$"):
        dataset.check()


def test_the_survey_of_each_folder_has_the_format_that_it_was_written_in(tmp_path):
    for form in FORMS:
        write_folder(tmp_path / form, form)
        files = sorted(path for path in (tmp_path / form / "labels").rglob("*") if path.is_file())
        survey = describe_label_files(files)
        assert survey.faults == []
        read_as = {"united": "ids", "files": "black_white", "folders": "black_white"}.get(form, form)
        fits = {"ids": ("ids",), "colours": ("colours",), "values": (), "black_white": ("black_white",)}
        assert survey.label_formats == fits.get(read_as, ("polygons",))
