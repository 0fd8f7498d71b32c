"""PH2: skin lesions in dermoscopic images (Mendonca et al., 2013, doi 10.1109/EMBC.2013.6610779).

::

    PH2 Dataset images/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp   about 766 x 575, RGB, sizes vary
    PH2 Dataset images/IMD002/IMD002_lesion/IMD002_lesion.bmp       1-bit, one of them 24-bit, foreground > 0
    PH2_dataset.xlsx                                                the diagnosis of each image, an X in its column
    PH2_dataset.txt                                                 the same, as a code; copies with one of the two

PH2 has no official split. Sections are stratified by diagnosis where one of the two tables can be read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from common.datasets import masks, roots, splits, workbooks
from common.datasets.issues import Faults
from common.datasets.masks import check_files, mask_fault
from common.datasets.phantoms.folder import written_whole
from common.datasets.splits import SECTIONS, cut_sections
from common.errors import InputError

logger = logging.getLogger(__name__)

IN_CHANNELS = 3
CLASSES = {0: "background", 1: "lesion"}
GROUP = "image"
load = masks.load_binary
group_of = roots.name_of_image  # no two images are known to be of one patient
DIAGNOSES = ("Common Nevus", "Atypical Nevus", "Melanoma")  # in the order of the codes in PH2_dataset.txt

_IMAGES = "PH2 Dataset images"
_IMAGE = "{0}_Dermoscopic_Image/{0}.bmp"
_LABEL = "{0}_lesion/{0}_lesion.bmp"
_TEST_FRACTION = 0.25


def find_root(dataset_dir: str | Path) -> Path:
    """Return the folder that holds ``PH2 Dataset images``, given it, its parent, or that folder.

    Raises:
        InputError: if there is no such folder, or more than one.
    """
    expected = f"PH2 as it is unpacked, with '{_IMAGES}/IMD002/{_IMAGE.format('IMD002')}' and PH2_dataset.xlsx"
    return roots.find_root(dataset_dir, "PH2", [_IMAGES], expected)


def datalist(
    dataset_dir: str | Path,
    section: str,
    seed: int = 0,
    num_validation: int = 2,
    num_labels: int | None = None,
) -> list[dict[str, str]]:
    """Return the images of one section with their labels.

    A quarter of the images is for the test, ``num_validation`` of the others for validation. Where the diagnoses can
    be read, each section, and each label budget, has about the same share of every diagnosis; the log says whether.
    Sections share no image and depend on the file names, the diagnoses and the seed alone.

    Args:
        dataset_dir: see :func:`find_root`.
        section: "training", "validation" or "test".
        seed: draws the sections, and the order of the training section.
        num_validation: number of validation images.
        num_labels: label budget: the first so many training images, so that small budgets are part of larger ones.

    Returns:
        One ``{"image": path, "label": path}`` per image.

    Raises:
        InputError: if files are missing or too few, or ``num_labels`` is out of range; all faults at once.
        ValueError: if ``section`` is none of the three.
    """
    splits.check_section(section)
    root = find_root(dataset_dir)
    faults = Faults("PH2", root)
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
            too few images for a split, ``num_labels`` out of range.
    """
    root = find_root(dataset_dir)
    faults = Faults("PH2", root)
    files = _find_files(root, faults)
    # Some melanomas fill nearly the whole image, and the label of IMD002 is stored in colour.
    fault_of = partial(mask_fault, colour=True, fill=True)
    for pair in files.values():
        check_files(pair["image"], {pair["label"]: fault_of} if "label" in pair else {}, root, faults)
    sections = _split(files, root, seed, num_validation, num_labels, faults)
    faults.raise_if_any()
    return {section: len(names) for section, names in sections.items()}


def _find_files(root: Path, faults: Faults) -> dict[str, dict[str, Path]]:
    """Return "image" and "label" by name, and note what is missing.

    Labels without an image do no harm: a user may have taken the image out on purpose. The log names them.
    """
    found: dict[str, dict[str, Path]] = {}
    without_image = []
    for folder in sorted((root / _IMAGES).iterdir()):
        if not folder.is_dir() or folder.name.startswith((".", "__")):
            continue
        image, label = folder / _IMAGE.format(folder.name), folder / _LABEL.format(folder.name)
        if not image.is_file():
            without_image.append(folder.name)
            continue
        found[folder.name] = {"image": image}
        if label.is_file():
            found[folder.name]["label"] = label
        else:
            expected = label.relative_to(root).as_posix()
            faults.add(f"{image.relative_to(root).as_posix()}: no label, expected {expected}")
    if found and without_image:
        logger.warning(
            f"PH2 in {root}: {len(without_image)} folders without an image of their name are left out; expected "
            f"{without_image[0]}/{_IMAGE.format(without_image[0])} in {_name_some(without_image)}"
        )
    if not found:
        faults.add(f"{_IMAGES}: no images in it; expected files such as IMD002/{_IMAGE.format('IMD002')}")
    return found


def _name_some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


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
    names = [name for name, pair in files.items() if "label" in pair]
    diagnoses = _read_diagnoses(root)
    unknown = [name for name in names if name not in diagnoses]
    if len(unknown) == len(names):
        logger.warning(f"PH2 in {root}: the split is not stratified, because no diagnosis could be read")
    elif unknown:
        logger.warning(
            f"PH2 in {root}: {len(unknown)} of {len(names)} images have no diagnosis ({_name_some(unknown)})"
        )
    if len(unknown) < len(names):
        logger.info(f"PH2 in {root}: the split is stratified by diagnosis")
    order = splits.stratified_order({name: diagnoses.get(name, "unknown") for name in names}, seed)
    num_test = max(1, round(_TEST_FRACTION * len(names)))
    return cut_sections([[name] for name in order], num_test, num_validation, num_labels, faults)


def _read_diagnoses(root: Path) -> dict[str, str]:
    """Return the diagnosis by name from the tables that can be read; the workbook counts where they differ."""
    diagnoses: dict[str, str] = {}
    for file, read in (("PH2_dataset.txt", _read_text), ("PH2_dataset.xlsx", _read_workbook)):
        if not (root / file).is_file():
            continue
        try:
            diagnoses |= read(root / file)
        except InputError as error:
            logger.warning(f"PH2: no diagnoses from {error}")
    return diagnoses


def _read_workbook(path: Path) -> dict[str, str]:
    """Return the diagnosis of each row that has exactly one."""
    diagnoses = {}
    for row in workbooks.read_workbook(path, ["Image Name", *DIAGNOSES]):
        marked = [diagnosis for diagnosis in DIAGNOSES if row[diagnosis]]
        if len(marked) == 1:
            diagnoses[row["Image Name"]] = marked[0]
    return diagnoses


def _read_text(path: Path) -> dict[str, str]:
    """Return the diagnosis of each row whose fourth field is a code."""
    diagnoses = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = [field.strip() for field in line.split("||")]
        if len(fields) > 3 and fields[3] in ("0", "1", "2"):
            diagnoses[fields[1]] = DIAGNOSES[int(fields[3])]
    if not diagnoses:
        raise InputError(f"{path}: no row such as '|| IMD003 || || 0 ||'; take the file as it was published")
    return diagnoses


def classes_of(entry: Mapping[str, str]) -> dict[int, str]:
    """Return the names of the classes that the label of an entry may have, by id."""
    return CLASSES


def write_phantoms(
    folder: str | Path,
    num_images: int = 12,
    image_size: tuple[int, int] = (575, 766),
    seed: int = 0,
) -> Path:
    """Write procedural dermoscopic images with exact lesion masks, in the layout and formats of PH2.

    Two in five are common nevi, two in five atypical nevi, one in five melanomas. The first label is stored with 24
    bits, the others with one, and sizes vary by a few pixels.

    Args:
        folder: new folder to write, which appears only when it is complete.
        num_images: images from ``IMD002`` on.
        image_size: height and width in pixels, about.
        seed: the same seed writes the same pixels.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty.
    """
    from common.datasets.phantoms.dermoscopy import draw_dermoscopy  # here because a release goes without phantoms

    diagnoses = {f"IMD{2 + index:03d}": DIAGNOSES[(0, 1, 2, 0, 1)[index % 5]] for index in range(num_images)}
    with written_whole(folder) as partial_folder:
        for index, (name, diagnosis) in enumerate(diagnoses.items()):
            rng = np.random.default_rng((seed, index))
            height, width = image_size
            size = (height - int(rng.integers(0, 4)), width - int(rng.integers(0, 6)))
            image, label = draw_dermoscopy(rng, size, diagnosis)
            if index == 0:
                label = label.convert("RGB")
            for pattern, picture in ((_IMAGE, image), (_LABEL, label)):
                path = partial_folder / _IMAGES / name / pattern.format(name)
                path.parent.mkdir(parents=True)
                picture.save(path)
        _write_workbook(partial_folder / "PH2_dataset.xlsx", diagnoses)
        _write_text(partial_folder / "PH2_dataset.txt", diagnoses)
    return Path(folder)


def _write_workbook(path: Path, diagnoses: dict[str, str]) -> None:
    """Write the workbook as PH2 has it: a legend, the header in row 13, and the images sorted by diagnosis."""
    import openpyxl  # here because a release goes without phantoms

    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet["F2"] = "Legends"
    sheet["C12"] = "Clinical Diagnosis"
    for column, name in enumerate(("Image Name", "Histological Diagnosis", *DIAGNOSES), start=1):
        sheet.cell(13, column, name)
    for row, name in enumerate(sorted(diagnoses, key=lambda name: DIAGNOSES.index(diagnoses[name])), start=14):
        sheet.cell(row, 1, name)
        sheet.cell(row, 3 + DIAGNOSES.index(diagnoses[name]), "X")
    workbook.save(path)


def _write_text(path: Path, diagnoses: dict[str, str]) -> None:
    """Write the table as PH2 has it, with bars between the fields."""
    lines = ["||   Name || Histological Diagnosis || Clinical Diagnosis ||"]
    lines += [f"|| {name} || {'':22} || {DIAGNOSES.index(diagnoses[name]):18} ||" for name in sorted(diagnoses)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
