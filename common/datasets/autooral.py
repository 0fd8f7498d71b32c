"""Autooral: oral ulcers in photographs (Jiang et al., 2024, doi 10.1038/s41598-024-69125-9).

::

    Train/data_train/0001.png, Train/mask_train/0001.png   RGB of varying size, ulcer with foreground > 0
    Val/data_val/..., Test/data_test/...                   by the same pattern
    Training Set disease classification.xlsx               columns Patient ID and Image Number

The official folders are the sections. Where the workbook names the patients, none of them is split.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from common.datasets import masks, roots, splits, workbooks
from common.datasets.issues import Faults
from common.datasets.masks import check_files, mask_fault
from common.datasets.phantoms.folder import written_whole
from common.datasets.roots import list_images
from common.datasets.splits import SECTIONS, cut_sections

logger = logging.getLogger(__name__)

IN_CHANNELS = 3
CLASSES = {0: "background", 1: "ulcer"}
GROUP = "patient"
load = masks.load_binary

_PARTS = ("Train", "Val", "Test")
_WORKBOOK = "Training Set disease classification.xlsx"
_COLUMNS = ("Patient ID", "Image Number")
_SUFFIXES = (".png", ".jpg", ".jpeg")
_TEST_FRACTION = 0.25  # held out of the training images where there is no Test folder


def find_root(dataset_dir: str | Path) -> Path:
    """Return the folder that holds ``Train/data_train``, given it, its parent, or a folder of one of its parts.

    Raises:
        InputError: if there is no such folder, or more than one.
    """
    expected = (
        "Autooral as it is unpacked, with Train/data_train/0001.png and Train/mask_train/0001.png, the same in Val and "
        f"Test, and '{_WORKBOOK}'"
    )
    inside = ["Train/data_train", "Train/mask_train"]
    inside += [f"{part}/{kind}_{part.lower()}" for part in _PARTS[1:] for kind in ("data", "mask")]
    return roots.find_root(dataset_dir, "Autooral", inside, expected)


def datalist(
    dataset_dir: str | Path,
    section: str,
    seed: int = 0,
    num_validation: int = 2,
    num_labels: int | None = None,
) -> list[dict[str, str]]:
    """Return the images of one section with their labels.

    The test section is ``Test``, validation images come from ``Val``. Where one of these folders is missing, its
    section is drawn from ``Train``: patient by patient where the workbook names them, else image by image. Images in
    ``Train`` or ``Val`` of patients who are in a section held out before them are left out. The log says all this.

    Args:
        dataset_dir: see :func:`find_root`.
        section: "training", "validation" or "test".
        seed: draws the sections, and the order of the training section.
        num_validation: number of validation images; so many of ``Val``, or at least so many of ``Train``.
        num_labels: label budget: the first so many training images, so that small budgets are part of larger ones.

    Returns:
        One ``{"image": path, "label": path}`` per image.

    Raises:
        InputError: if files are missing or too few, the workbook is faulty, or ``num_labels`` is out of range; all
            faults at once.
        ValueError: if ``section`` is none of the three.
    """
    splits.check_section(section)
    root = find_root(dataset_dir)
    faults = Faults("Autooral", root)
    files = _find_files(root, faults)
    sections = _split(files, root, seed, num_validation, num_labels, faults)
    faults.raise_if_any()
    return [{key: str(path) for key, path in files[name].items()} for name in sections[section]]


def check(
    dataset_dir: str | Path, num_validation: int = 2, num_labels: int | None = None, seed: int = 0
) -> dict[str, int]:
    """Read every image and label and return the number of images in each section.

    Raises:
        InputError: listing every fault at once: files missing, unreadable, of the wrong kind, size or grey values,
            a faulty workbook, too few images for a split, ``num_labels`` out of range.
    """
    root = find_root(dataset_dir)
    faults = Faults("Autooral", root)
    files = _find_files(root, faults)
    fault_of = partial(mask_fault, colour=True)
    for pair in files.values():
        check_files(pair["image"], {pair["label"]: fault_of} if "label" in pair else {}, root, faults)
    sections = _split(files, root, seed, num_validation, num_labels, faults)
    faults.raise_if_any()
    return {section: len(names) for section, names in sections.items()}


def _find_files(root: Path, faults: Faults) -> dict[str, dict[str, Path]]:
    """Return "image" and "label" by part and stem, such as ``Train/0001``, and note what is missing.

    Labels without an image do no harm: a user may have taken the image out on purpose.
    """
    found: dict[str, dict[str, Path]] = {}
    for part in _PARTS:
        folders = {key: Path(part) / f"{name}_{part.lower()}" for key, name in (("image", "data"), ("label", "mask"))}
        paths = {key: list_images(root / folder, _SUFFIXES) for key, folder in folders.items()}
        if not paths["image"] and part != "Train":
            continue
        for key, folder in folders.items():
            if not paths[key]:
                state = "no images in it" if (root / folder).is_dir() else "no such folder"
                faults.add(f"{folder.as_posix()}: {state}; expected files such as 0001.png")
        labels = {path.stem: path for path in paths["label"]}
        for image in paths["image"]:
            name = f"{part}/{image.stem}"
            shown = image.relative_to(root).as_posix()
            if name in found:
                faults.add(f"{shown}: number {image.stem} is taken by {found[name]['image'].name}; keep one")
                continue
            found[name] = {"image": image}
            if image.stem in labels:
                found[name]["label"] = labels[image.stem]
            elif labels:  # an empty folder is one fault, not one for every image
                faults.add(f"{shown}: no label, expected {(folders['label'] / image.stem).as_posix()}.png")
    return found


def _split(
    files: dict[str, dict[str, Path]],
    root: Path,
    seed: int,
    num_validation: int,
    num_labels: int | None,
    faults: Faults,
) -> dict[str, list[str]]:
    """Return the names in every section; the sections are empty where there is too little to split."""
    if num_validation < 1:
        faults.add(f"num_validation must be at least 1, got {num_validation}")
        return {section: [] for section in SECTIONS}
    names = {part: [name for name in files if name.startswith(part) and "label" in files[name]] for part in _PARTS}
    patients = _read_patients(files, root, faults)
    _keep_patients_whole(names, patients)

    groups: dict[str, list[str]] = {}
    for name in names["Train"]:
        groups.setdefault(patients.get(name, name), []).append(name)
    ordered = [groups[patient] for patient in splits.seeded_order(list(groups), seed)]
    num_test = 0 if names["Test"] else max(1, round(_TEST_FRACTION * len(names["Train"])))
    unit = "patients" if patients else "images"
    drawn = [part for part in ("Val", "Test") if not names[part]]
    if drawn:
        logger.info(f"Autooral in {root}: no images in {' and '.join(drawn)}, drawn from the {unit} of Train instead")
    from_train = 0 if names["Val"] else num_validation
    sections = cut_sections(ordered, num_test, from_train, num_labels, faults, unit)
    if names["Val"]:
        if num_validation > len(names["Val"]):
            faults.add(f"num_validation must be at most the {len(names['Val'])} images of Val, got {num_validation}")
        sections["validation"] = sorted(splits.seeded_order(names["Val"], seed)[:num_validation])
    if names["Test"]:
        sections["test"] = sorted(names["Test"])
    return sections


def _keep_patients_whole(names: dict[str, list[str]], patients: dict[str, str]) -> None:
    """Leave images out of ``Train`` and ``Val`` whose patient is in a section that is held out before."""
    held_out: set[str] = set()
    for part in ("Test", "Val", "Train"):
        shared = [name for name in names[part] if patients.get(name) in held_out]
        if shared:
            logger.warning(
                f"Autooral: {len(shared)} images of {part} are left out, because their patients are held out for "
                f"validation or test ({', '.join(shared[:5])}{', ...' if len(shared) > 5 else ''})"
            )
        names[part] = [name for name in names[part] if name not in set(shared)]
        held_out |= {patients[name] for name in names[part] if name in patients}


def _read_patients(files: dict[str, dict[str, Path]], root: Path, faults: Faults) -> dict[str, str]:
    """Return the patient of each image that the workbook has; numbers that are not in ``Train`` may be elsewhere."""
    if not (root / _WORKBOOK).is_file():
        logger.warning(
            f"Autooral in {root}: there is no '{_WORKBOOK}', so patients are unknown: the folders are taken as they "
            "are, and images of one patient may lie in several sections"
        )
        return {}
    rows: list[dict[str, str]] = []
    readable = False
    with faults.collect():
        rows = workbooks.read_workbook(root / _WORKBOOK, _COLUMNS)
        readable = True
    by_number: dict[str, str] = {}
    for name in reversed(list(files)):  # Train comes last and wins where numbers repeat
        by_number[_number(name.split("/")[1])] = name
    patients: dict[str, str] = {}
    for row in rows:
        patient, number = row["Patient ID"], _number(row["Image Number"])
        if not patient or not number:
            faults.add(f"{_WORKBOOK}: a row has patient '{patient}' and image '{number}'; expected both")
        elif number in by_number and patients.setdefault(by_number[number], patient) != patient:
            faults.add(
                f"{_WORKBOOK}: image {number} has patients {patients[by_number[number]]} and {patient}; keep one"
            )
    unknown = [name for name in files if name.startswith("Train") and name not in patients]
    if unknown and readable:
        logger.warning(f"Autooral in {root}: {len(unknown)} images of Train have no patient, first {unknown[0]}")
    return patients


def _number(text: str) -> str:
    """Return an image number without suffix, leading zeros or the ``.0`` of a spreadsheet."""
    stem = text.split(".")[0]
    return str(int(stem)) if stem.isdecimal() else stem


def classes_of(entry: Mapping[str, str]) -> dict[int, str]:
    """Return the names of the classes that the label of an entry may have, by id."""
    return CLASSES


def group_of(entry: Mapping[str, str]) -> str | None:
    """Return the patient of an entry, None where the workbook does not name one.

    Raises:
        InputError: if the workbook is faulty.
    """
    image = Path(entry["image"])
    root = image.parents[2]
    if not (root / _WORKBOOK).is_file():
        return None
    patients = _cached_patients(root, (root / _WORKBOOK).stat().st_mtime_ns)
    return patients.get(f"{image.parents[1].name}/{image.stem}")


@lru_cache(maxsize=4)
def _cached_patients(root: Path, modified: int) -> dict[str, str]:
    """Read the workbook once for all images, and again after it has changed."""
    faults = Faults("Autooral", root)
    patients = _read_patients(_find_files(root, faults), root, faults)
    faults.raise_if_any()
    return patients


def write_phantoms(
    folder: str | Path,
    num_training: int = 8,
    num_validation: int = 3,
    num_test: int = 4,
    image_size: tuple[int, int] = (384, 512),
    seed: int = 0,
) -> Path:
    """Write procedural photographs with exact ulcer masks, in the layout and formats of Autooral.

    Patients have one to three training images each, as the workbook says.

    Args:
        folder: new folder to write, which appears only when it is complete.
        num_training: images in ``Train``.
        num_validation: images in ``Val``.
        num_test: images in ``Test``.
        image_size: height and width in pixels, which vary by a quarter.
        seed: the same seed writes the same pixels.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty.
    """
    from common.datasets.phantoms.mouth import draw_mouth  # here because a release goes without phantoms

    with written_whole(folder) as partial_folder:
        for index, (part, count) in enumerate(zip(_PARTS, (num_training, num_validation, num_test), strict=True)):
            folders = [partial_folder / part / f"{name}_{part.lower()}" for name in ("data", "mask")]
            for each in folders:
                each.mkdir(parents=True)
            for number in range(1, count + 1):
                rng = np.random.default_rng((seed, index, number))
                size = tuple(round(length * rng.uniform(0.75, 1.25)) for length in image_size)
                for each, picture in zip(folders, draw_mouth(rng, size), strict=True):
                    picture.save(each / f"{number:04d}.png")
        _write_workbook(partial_folder / _WORKBOOK, num_training)
    return Path(folder)


def _write_workbook(path: Path, num_images: int) -> None:
    """Write patients with one, two and three images in turn."""
    import openpyxl  # here because a release goes without phantoms

    workbook = openpyxl.Workbook()
    workbook.active.append(_COLUMNS)
    patients = [patient for patient in range(1, num_images + 1) for _ in range(1 + (patient - 1) % 3)]
    for number, patient in enumerate(patients[:num_images], start=1):
        workbook.active.append([patient, number])
    workbook.save(path)
