"""Phantoms of one's own dataset: they have the layout that the source says, so that it reads them back."""

from __future__ import annotations

import numpy as np
import pytest

from common.datasets.phantoms.own_images import write_phantoms
from common.datasets.registry import dataset_class
from common.datasets.source import Source
from common.errors import InputError

CLASSES = ["background", "wound", "skin"]
PLAIN = {"images": "photos", "labels": "masks", "classes": CLASSES}
PER_CLASS = {"label_format": "file_per_class", "class_files": {"wound": "_w", "skin": "_s"}}
VOLUMES = {"kind": "volumes", "channels": 1}
COLUMNS = {"patient": "who", "split": "fold", "stratum": "kind", "field_of_view": "seen"}
SOURCES = {
    "grey": {**PLAIN, "channels": 1},
    "values": {**PLAIN, "values": {85: 1, 170: 2}},
    "colours": {**PLAIN, "label_format": "colours", "colours": {"wound": [255, 0, 0], "skin": [0, 0, 255]}},
    "files": {**PLAIN, **PER_CLASS},
    "folders": {**PLAIN, **PER_CLASS, "class_files": {"wound": "w/", "skin": "s/"}},
    "one folder": {"images": ".", "label_suffix": "_mask", "classes": CLASSES},
    "via": {**PLAIN, "labels": "via.csv", "label_format": "polygons", "polygons": {"wound": "Ulcer"}},
    "coco": {**PLAIN, "labels": "all/coco.json", "label_format": "polygons"},
    "labelme": {"images": "photos", "classes": CLASSES, "label_format": "polygons"},
    "view": {**PLAIN, "field_of_view": "fov"},
    "strata": {**PLAIN, "stratum": "folder", "split": "folder"},
    "nnunet": {**PLAIN, "images": "imagesTr", "labels": "labelsTr", "image_suffix": "_0000", "split": "folder"},
    "beside": {**PLAIN, "images": "train/images", "labels": "train/masks", "split": "folder"},
    "monai label": {**PLAIN, "images": ".", "labels": "labels/final"},
    "cases": {"images": ".", "image_suffix": "image", "label_suffix": "mask", "classes": CLASSES},
    "patients": {"images": ".", "image_suffix": "photos/", "label_suffix": "masks/", "classes": CLASSES},
    "patients by class": {
        "images": ".",
        "image_suffix": "photos/",
        "label_suffix": "masks/",
        "classes": CLASSES,
        **PER_CLASS,
    },
    "csv": {"images": "list.csv", "classes": CLASSES, **COLUMNS},
    "json": {"images": "lists/list.json", "classes": CLASSES, **PER_CLASS},
    "csv and folder": {"images": "list.csv", "labels": "masks", "classes": CLASSES, "patient": "(x)"},
    "volumes": {**PLAIN, **VOLUMES, "image_suffix": "_0000"},
    "series": {"images": ".", "image_suffix": "DICOM", "label_suffix": "Ground", "classes": CLASSES, **VOLUMES},
    "volumes by class": {**PLAIN, **VOLUMES, **PER_CLASS},
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_dataset_of_their_source_reads_them(name, tmp_path):
    source = Source.from_config(SOURCES[name])
    folder = write_phantoms(tmp_path / "phantoms", source, num_images=10, image_size=(30, 45))
    dataset = dataset_class({"data": {"_target_": source.dataset_class}})(root=folder, source=source)
    assert all(dataset.check().values())
    assert dataset.notes == []
    entries = [entry for part in dataset.all_entries().values() for entry in part]
    seen = set()
    for entry in entries[:: max(1, len(entries) // 10)]:
        image, ids = dataset.load(entry)
        assert image.shape == (30, 45, source.channels)
        assert ids.shape == (30, 45)
        seen |= set(np.unique(ids).tolist())
        assert all(image[ids == index].std() > 0 for index in np.unique(ids))
    assert seen == {0, 1, 2}


def test_classes_have_tones_of_their_own(tmp_path):
    for channels in (1, 3):
        source = Source.from_config({**PLAIN, "channels": channels})
        folder = write_phantoms(tmp_path / str(channels), source, num_images=6, image_size=(60, 90))
        dataset = dataset_class({"data": {"_target_": source.dataset_class}})(root=folder, source=source)
        for entry in dataset.entries("training"):
            image, ids = dataset.load(entry)
            tones = [image[ids == index].mean(axis=0) for index in range(3)]
            for first, second in ((0, 1), (0, 2), (1, 2)):
                assert np.abs(tones[first] - tones[second]).max() > 25


def test_the_same_seed_writes_the_same_pixels(tmp_path):
    contents = [
        sorted(
            (path.name, path.read_bytes())
            for path in write_phantoms(tmp_path / name, PLAIN, 3, seed=seed).rglob("*.png")
        )
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert contents[0] == contents[1] != contents[2]


def test_a_folder_that_has_something_is_left_alone(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"x")
    with pytest.raises(InputError, match="exists already"):
        write_phantoms(tmp_path, PLAIN)
