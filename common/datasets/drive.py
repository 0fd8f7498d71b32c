"""DRIVE: retinal vessels in fundus photographs (Staal et al., 2004, doi 10.1109/TMI.2004.825627).

::

    training/images/21_training.tif      565 x 584, RGB
    training/1st_manual/21_manual1.gif   vessels, foreground > 0
    training/mask/21_training_mask.gif   field of view, foreground > 0
    test/images/01_test.tif              and test/mask/01_test_mask.gif
    test/1st_manual/01_manual1.gif       in older releases only

The number before the first ``_`` joins an image with its label and mask.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.datasets.base import Entry, SegmentationDataset
from common.datasets.issues import DatasetIssues
from common.datasets.roots import describe_folder, list_images
from common.datasets.splits import SPLITS, split_groups

_SUFFIXES = (".gif", ".png", ".tif", ".tiff")


class DriveDataset(SegmentationDataset):
    """DRIVE, whose entries have the field of view as "fov".

    The test split is the official one where ``test/1st_manual`` has labels, else a quarter of the training images. Test
    images without published labels are ignored.
    """

    name = "drive"
    title = "DRIVE"
    in_channels = 3
    class_names = ("background", "vessel")
    landmarks = ("training/images",)
    layout = (
        "DRIVE as it is unpacked, with training/images/21_training.tif, training/1st_manual/21_manual1.gif and "
        "training/mask/21_training_mask.gif"
    )
    keys = ("image", "label", "fov")

    @property
    def unused(self) -> tuple[str, ...]:
        """The second reader's labels, and the test images where there are no labels for them."""
        second = ("training/2nd_manual/*", "test/2nd_manual/*")
        return second if self._has_test_labels() else (*second, "test/*")

    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        """Return the files by part and number, such as ``training/21``."""
        found = {}
        for part in ("training", "test") if self._has_test_labels() else ("training",):
            for number, entry in _join_by_number(self.folder, part, issues).items():
                found[f"{part}/{number}"] = entry
        return found

    def split(self, files: Mapping[str, Entry], issues: DatasetIssues) -> dict[str, list[str]]:
        """Return the official test images, or a quarter of the others, and divide the rest by the seed."""
        test = sorted(name for name in files if name.startswith("test/"))
        numbers = [name.split("/")[1] for name in files if name.startswith("training/")]
        num_test = 0 if test else self.quarter(numbers)
        needed = num_test + self.num_validation + 1
        if len(numbers) < needed:
            purposes = f"{num_test} for the test, " * (num_test > 0)
            purposes += f"{self.num_validation} for validation and 1 for training"
            issues.add(f"training/images: {needed} complete images needed ({purposes}), found {len(numbers)}")
            return {split: [] for split in SPLITS}
        sizes = [num_test] * (num_test > 0) + [self.num_validation]
        *held_out, validation, training = split_groups(numbers, sizes, self.seed)
        return {
            "training": [f"training/{number}" for number in training],
            "validation": [f"training/{number}" for number in sorted(validation)],
            "test": test or [f"training/{number}" for number in sorted(held_out[0])],
        }

    def _has_test_labels(self) -> bool:
        return bool(list_images(self.folder / "test" / "1st_manual", _SUFFIXES))

    @classmethod
    def write_phantoms(cls, folder: str | os.PathLike, **options: Any) -> Path:
        """Write procedural fundus photographs: see :func:`common.datasets.phantoms.drive.write_phantoms`."""
        from common.datasets.phantoms.drive import write_phantoms  # here because a release goes without phantoms

        return write_phantoms(folder, **options)


def _join_by_number(root: Path, part: str, issues: DatasetIssues) -> dict[str, Entry]:
    """Return the files of every image of a part, and note what is missing.

    Labels and masks without an image do no harm: a user may have taken the image out on purpose.
    """
    expected = {
        "image": (f"{part}/images", f"{{}}_{part}.tif"),
        "label": (f"{part}/1st_manual", "{}_manual1.gif"),
        "fov": (f"{part}/mask", f"{{}}_{part}_mask.gif"),
    }
    found: dict[str, dict[str, Path]] = {}
    for key, (folder, name) in expected.items():
        found[key] = {}
        paths = list_images(root / folder, _SUFFIXES)
        if not paths:
            example = name.format("21" if part == "training" else "01")
            issues.add(f"{folder}: {describe_folder(root / folder)}; expected files such as {example}")
        for path in paths:
            number = path.stem.split("_")[0]
            if number in found[key]:
                issues.add(f"{folder}/{path.name}: number {number} is taken by {found[key][number].name}; keep one")
            found[key].setdefault(number, path)
    for number, image in found["image"].items():
        for key, what in (("label", "label"), ("fov", "field-of-view mask")):
            folder, name = expected[key]
            if found[key] and number not in found[key]:  # an empty folder is one issue, not one for every image
                issues.add(f"{part}/images/{image.name}: no {what}, expected {folder}/{name.format(number)}")
    return {number: {key: found[key][number] for key in found if number in found[key]} for number in found["image"]}
