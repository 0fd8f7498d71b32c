"""The phantoms of each dataset, once in their official layout and once in the plain folders that a lab would have."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.transforms import Compose
from PIL import Image

from common.datasets import build_dataset
from common.datasets.base import SegmentationDataset
from common.datasets.readers.chaos import LoadGroundd
from common.datasets.readers.volumes import LoadVolumed
from common.datasets.splits import SPLITS
from common.files.atomic import atomic_folder
from common.pipeline.configs import stage_config

FOLDERS = dict(zip(SPLITS, ("train", "val", "test"), strict=True))  # as labs call them
SETTINGS = {"num_validation": 1, "split_seed": 0}


@dataclass(frozen=True)
class Plan:
    """How a dataset is compared.

    Attributes:
        phantoms: how many, and how large; enough of them that the test images tell something.
        words: what somebody who knows the images tells ``create``, beside where they are and what the classes are.
    """

    phantoms: dict[str, Any]
    words: dict[str, str] = field(default_factory=dict)


_BOTH = {"left_right": "same", "upside_down": "same"}
PLANS = {
    "ph2": Plan({"num_images": 40, "image_size": (288, 384)}, _BOTH),
    "autooral": Plan({"num_training": 24, "num_test": 12, "num_validation": 2, "image_size": (288, 384)}, _BOTH),
    "drive": Plan({"num_training": 8, "num_test": 4}, {**_BOTH, "field_of_view": "fields"}),
    "kidneyus": Plan({"num_exams": 32, "image_size": (240, 320)}, {"left_right": "same"}),
    "busi": Plan({"num_images": (27, 13, 8), "image_size": (240, 290)}, {"left_right": "same"}),
    "chaos": Plan({"num_patients": 8, "image_size": (80, 96), "num_slices": 12}),
}


def write_official(bundle: Path, plan: Plan, folder: Path) -> SegmentationDataset:
    """Write the phantoms of a bundle's dataset unless they are there, and return the dataset, split as for training."""
    config = stage_config(str(bundle), "train")
    dataset = build_dataset(config, folder, **SETTINGS)
    if not folder.exists():
        type(dataset).write_phantoms(folder, **plan.phantoms)
    return dataset


def write_plain(dataset: SegmentationDataset, folder: Path) -> None:
    """Write the images and labels of a dataset into ``images/train``, ``labels/train``, ..., unless they are there.

    Images are the files of the dataset under names of their own; labels are PNGs, black and white where there is one
    structure, else class ids. Volumes and their labels are NIfTI files. Fields of view are in ``fields``.
    """
    if folder.exists():
        return
    with atomic_folder(folder) as partial:
        for split, name in FOLDERS.items():
            if dataset.units == "slices":
                _write_volumes(dataset, split, partial, name)
            else:
                _write_pictures(dataset, split, partial, name)


def _write_pictures(dataset: SegmentationDataset, split: str, folder: Path, name: str) -> None:
    for entry in dataset.entries(split):
        image = Path(entry["image"])
        stem = image.relative_to(dataset.folder).with_suffix("").as_posix().replace("/", "_").replace(" ", "_")
        shutil.copyfile(image, _place(folder, "images", name) / f"{stem}{image.suffix}")
        _, ids = dataset.load(entry)
        _save(ids * (255 if dataset.num_classes == 2 else 1), _place(folder, "labels", name) / f"{stem}.png")
        if "fov" in entry:
            inside = np.asarray(Image.open(entry["fov"]).convert("L")) > 0
            _save(inside * 255, _place(folder, "fields", name) / f"{stem}.png")


def _write_volumes(dataset: SegmentationDataset, split: str, folder: Path, name: str) -> None:
    read = Compose([LoadVolumed("image"), LoadGroundd("label", modality=dataset.settings["modality"])])
    for entry in dataset.volumes(split):
        loaded = read(entry)
        affine = np.asarray(loaded["image"].affine)
        for key, kind, dtype in (("image", "images", np.float32), ("label", "labels", np.uint8)):
            volume = nibabel.Nifti1Image(np.asarray(loaded[key][0]).astype(dtype), affine)
            nibabel.save(volume, _place(folder, kind, name) / f"patient_{entry['patient']}.nii.gz")


def _place(folder: Path, kind: str, name: str) -> Path:
    place = folder / kind / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def _save(values: np.ndarray, path: Path) -> None:
    Image.fromarray(values.astype(np.uint8)).save(path)


def options_of(dataset: SegmentationDataset, plan: Plan, folder: Path) -> dict[str, str]:
    """Return what is given to ``create`` for the plain folders of a dataset."""
    words: Mapping[str, str] = {
        key: str(folder / value) if key == "field_of_view" else value for key, value in plan.words.items()
    }
    classes = ",".join(dataset.classes.values())
    places = {"images": str(folder / "images"), "labels": str(folder / "labels")}
    return {**places, "classes": classes, "split": "folder", **words}
