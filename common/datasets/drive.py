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

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.datasets import masks, roots, splits
from common.datasets.issues import Faults
from common.datasets.masks import check_files, mask_fault
from common.datasets.phantoms.folder import written_whole
from common.datasets.roots import list_images
from common.datasets.splits import SECTIONS, split_groups

IN_CHANNELS = 3
CLASSES = {0: "background", 1: "vessel"}
GROUP = "image"
load = masks.load_binary
group_of = roots.name_of_image  # no two images are known to be of one patient

_SUFFIXES = (".gif", ".png", ".tif", ".tiff")
_TEST_FRACTION = 0.25  # held out of the training images where the test labels are not published


def find_root(dataset_dir: str | Path) -> Path:
    """Return the folder that holds ``training/images``, given it, its parent, or one of those two folders.

    Raises:
        InputError: if there is no such folder, or more than one.
    """
    expected = (
        "DRIVE as it is unpacked, with training/images/21_training.tif, training/1st_manual/21_manual1.gif and "
        "training/mask/21_training_mask.gif"
    )
    return roots.find_root(dataset_dir, "DRIVE", ["training/images"], expected)


def datalist(
    dataset_dir: str | Path,
    section: str,
    seed: int = 0,
    num_validation: int = 2,
    num_labels: int | None = None,
) -> list[dict[str, str]]:
    """Return the images of one section with their labels and fields of view.

    The test section is the official one where ``test/1st_manual`` has labels, else a quarter of the training images.
    Of the training images that remain, ``num_validation`` are for validation. Sections share no image and depend on
    the file names and the seed alone.

    Args:
        dataset_dir: see :func:`find_root`.
        section: "training", "validation" or "test".
        seed: draws the sections, and the order of the training section.
        num_validation: number of validation images.
        num_labels: label budget: the first so many training images, so that small budgets are part of larger ones.

    Returns:
        One ``{"image": path, "label": path, "fov": path}`` per image.

    Raises:
        InputError: if files are missing or too few, or ``num_labels`` is out of range; all faults at once.
        ValueError: if ``section`` is none of the three.
    """
    splits.check_section(section)
    root = find_root(dataset_dir)
    faults = Faults("DRIVE", root)
    sections = _split(_find_files(root, faults), seed, num_validation, num_labels, faults)
    faults.raise_if_any()
    return sections[section]


def check(
    dataset_dir: str | Path, num_validation: int = 2, num_labels: int | None = None, seed: int = 0
) -> dict[str, int]:
    """Read every image, label and mask and return the number of images in each section.

    Test images without published labels are not looked at, because no section lists them.

    Raises:
        InputError: listing every fault at once: files missing, unreadable, of the wrong kind, size or grey values,
            too few images for a split, ``num_labels`` out of range.
    """
    root = find_root(dataset_dir)
    faults = Faults("DRIVE", root)
    parts = _find_files(root, faults)
    for cases in parts.values():
        for files in cases.values():
            masks = [files[key] for key in ("label", "fov") if key in files]
            check_files(files["image"], dict.fromkeys(masks, mask_fault), root, faults)
    sections = _split(parts, seed, num_validation, num_labels, faults)
    faults.raise_if_any()
    return {section: len(entries) for section, entries in sections.items()}


def _find_files(root: Path, faults: Faults) -> dict[str, dict[str, dict[str, Path]]]:
    """Return "image", "label" and "fov" by number, for "training" and, in the older releases, for "test"."""
    parts = ["training", "test"] if list_images(root / "test" / "1st_manual", _SUFFIXES) else ["training"]
    return {part: _join_by_number(root, part, faults) for part in parts}


def _join_by_number(root: Path, part: str, faults: Faults) -> dict[str, dict[str, Path]]:
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
            state = "no images in it" if (root / folder).is_dir() else "no such folder"
            faults.add(f"{folder}: {state}; expected files such as {name.format('21' if part == 'training' else '01')}")
        for path in paths:
            number = path.stem.split("_")[0]
            if number in found[key]:
                faults.add(f"{folder}/{path.name}: number {number} is taken by {found[key][number].name}; keep one")
            found[key].setdefault(number, path)
    for number, image in found["image"].items():
        for key, what in (("label", "label"), ("fov", "field-of-view mask")):
            folder, name = expected[key]
            if found[key] and number not in found[key]:  # an empty folder is one fault, not one for every image
                faults.add(f"{part}/images/{image.name}: no {what}, expected {folder}/{name.format(number)}")
    return {number: {key: found[key][number] for key in found if number in found[key]} for number in found["image"]}


def _split(
    parts: dict[str, dict[str, dict[str, Path]]],
    seed: int,
    num_validation: int,
    num_labels: int | None,
    faults: Faults,
) -> dict[str, list[dict[str, str]]]:
    """Return the entries of every section; the sections are empty where there is too little to split."""
    nothing: dict[str, list[dict[str, str]]] = {section: [] for section in SECTIONS}
    if num_validation < 1:
        faults.add(f"num_validation must be at least 1, got {num_validation}")
        return nothing
    official_test = "test" in parts
    numbers = [number for number, files in parts["training"].items() if len(files) == 3]
    num_test = 0 if official_test else max(1, round(_TEST_FRACTION * len(numbers)))
    needed = num_test + num_validation + 1
    if len(numbers) < needed:
        purposes = f"{num_validation} for validation and 1 for training"
        purposes = purposes if official_test else f"{num_test} for the test, {purposes}"
        faults.add(f"training/images: {needed} complete images needed ({purposes}), found {len(numbers)}")
        return nothing
    if official_test:
        test = list(parts["test"])
        validation, training = split_groups(numbers, [num_validation], seed)
    else:
        test, validation, training = split_groups(numbers, [num_test, num_validation], seed)
    if num_labels is not None:
        available = len(training)
        if not 1 <= num_labels <= available:
            faults.add(f"num_labels must be between 1 and the {available} training images available, got {num_labels}")
        training = training[:num_labels]

    def entries(part: str, chosen: list[str]) -> list[dict[str, str]]:
        return [{key: str(path) for key, path in parts[part][number].items()} for number in chosen]

    return {
        "training": entries("training", training),
        "validation": entries("training", sorted(validation)),
        "test": entries("test" if official_test else "training", sorted(test)),
    }


def classes_of(entry: Mapping[str, str]) -> dict[int, str]:
    """Return the names of the classes that the label of an entry may have, by id."""
    return CLASSES


def write_phantoms(
    folder: str | Path,
    num_training: int = 8,
    num_test: int = 4,
    image_size: tuple[int, int] = (584, 565),
    seed: int = 0,
    test_labels: bool = True,
) -> Path:
    """Write procedural fundus photographs with exact vessel labels, in the layout and formats of DRIVE.

    Args:
        folder: new folder to write, which appears only when it is complete.
        num_training: images from ``21_training.tif`` on.
        num_test: images from ``01_test.tif`` on.
        image_size: height and width in pixels.
        seed: the same seed writes the same bytes.
        test_labels: whether to write ``test/1st_manual``, as the older releases of DRIVE have it.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty.
    """
    from common.datasets.phantoms.fundus import draw_fundus  # here because a release goes without phantoms

    with written_whole(folder) as partial:
        for part, first, count in (("training", 21, num_training), ("test", 1, num_test)):
            labelled = part == "training" or test_labels
            for name in ("images", "mask", *(["1st_manual"] if labelled else [])):
                (partial / part / name).mkdir(parents=True)
            for number in range(first, first + count):
                image, label, fov = draw_fundus(np.random.default_rng((seed, part == "test", number)), image_size)
                image.save(partial / part / "images" / f"{number:02d}_{part}.tif", compression="tiff_lzw")
                # Unoptimized, Pillow keeps 255 for the foreground, as in the original, instead of a palette of 0 and 1.
                fov.save(partial / part / "mask" / f"{number:02d}_{part}_mask.gif", optimize=False)
                if labelled:
                    label.save(partial / part / "1st_manual" / f"{number:02d}_manual1.gif", optimize=False)
    return Path(folder)
