"""What the dataset modules share: reading with clear errors, listing faults, fixed splits, and writing in one piece."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from common.datasets.workbook import read_sheets
from common.errors import InputError

SECTIONS = ("training", "validation", "test")

_PHANTOMS = "PHANTOMS"  # a file
_MAX_LISTED = 20  # faults shown in full: more would scroll the first ones off the screen

T = TypeVar("T")


def check_section(section: str) -> None:
    """Refuse a section that no dataset has.

    Raises:
        ValueError: if ``section`` is none of ``SECTIONS``.
    """
    if section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}")


def name_of_image(entry: Mapping[str, str]) -> str:
    """Return the name of an entry's image, which is its group where nothing is known of patients."""
    return Path(entry["image"]).stem


def read_image(path: str | Path) -> Image.Image:
    """Return the image at ``path``, decoded to its last pixel.

    Raises:
        InputError: if the file is missing, a folder, empty, cut off, or not an image.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder, expected an image' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty, copy it again")
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except Exception as error:  # on damaged bytes Pillow's decoders raise far more than OSError
        raise InputError(f"{path}: cannot be read as an image, copy it again ({error})") from error


def load_binary(entry: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the image of an entry, as it is, and its mask ``(H, W)``, uint8: 0, and 1 for every other value.

    Args:
        entry: paths of an "image" and of a "label" that :func:`mask_fault` finds nothing wrong with.

    Raises:
        InputError: if a file cannot be read.
    """
    label = read_image(entry["label"])
    mask = np.asarray(to_grey(label) if label.mode == "RGB" else label) > 0
    return np.asarray(read_image(entry["image"])), mask.astype(np.uint8)


def to_grey(image: Image.Image) -> Image.Image:
    """Return the image with one 8-bit channel; a ``converter`` for MONAI's ``PILReader``."""
    return image.convert("L")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image with three 8-bit channels; a ``converter`` for MONAI's ``PILReader``."""
    return image.convert("RGB")


def list_images(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the visible files of a folder with one of the suffixes, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def find_root(dataset_dir: str | Path, dataset: str, inside: Sequence[str], expected: str) -> Path:
    """Return the root folder of a dataset, given it, its parent, or a folder that is known to lie inside.

    Args:
        dataset_dir: what the user gave.
        dataset: name of the dataset as the user knows it.
        inside: folders of the dataset, relative to its root; the first one is what the root is known by.
            Each may be a pattern, such as ``images_*``.
        expected: the layout, for the message.

    Raises:
        InputError: if there is no such folder, or more than one.
    """
    folder = Path(os.path.abspath(Path(dataset_dir).expanduser()))
    if not folder.is_dir():
        raise InputError(f"dataset_dir {folder}: no such folder; expected {dataset}, the folder with {inside[0]} in it")

    def is_root(candidate: Path) -> bool:
        return any(path.is_dir() for path in candidate.glob(inside[0]))

    if is_root(folder):
        return folder
    for pattern in inside:
        levels = pattern.split("/")
        for depth in range(1, len(levels) + 1):
            if folder.match("/".join(levels[:depth])) and is_root(folder.parents[depth - 1]):
                return folder.parents[depth - 1]
    children = sorted(child for child in folder.iterdir() if child.is_dir() and is_root(child))
    if len(children) == 1:
        return children[0]
    if children:
        names = ", ".join(child.name for child in children)
        raise InputError(f"dataset_dir {folder}: holds several copies of {dataset} ({names}); name one of them")
    raise InputError(f"dataset_dir {folder}: no {inside[0]} here or one level down; expected {expected}")


def read_workbook(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of an Excel workbook below the first row that names the columns, in whatever sheet it is.

    Args:
        path: an ``.xlsx`` file.
        columns: names of the columns to read; case and white space around them do not matter.

    Returns:
        One dictionary for each row that is not empty: the text of its cells by column, "" for an empty cell.

    Raises:
        InputError: if the file is missing or damaged, or no row names all columns.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        tables = read_sheets(path)
    except Exception as error:  # a damaged workbook fails in the ZIP, in the XML, or in what refers to what
        raise InputError(f"{path}: cannot be read as a workbook, copy it again ({error})") from error
    wanted = [column.casefold() for column in columns]
    for table in tables:
        for number, row in enumerate(table):
            names = [cell.casefold() for cell in row]
            if set(wanted) <= set(names):
                places = [names.index(name) for name in wanted]
                rows = ([cells[place] for place in places] for cells in table[number + 1 :])
                return [dict(zip(columns, cells, strict=True)) for cells in rows if any(cells)]
    raise InputError(f"{path}: no row names the columns {', '.join(columns)}; take the workbook as it was published")


DARKEST_WHITE = 128  # that means "inside" in a mask of black and white; what is darker is a class id


def mask_fault(mask: Image.Image, colour: bool = False, fill: bool = False) -> str | None:
    """Return what keeps an image from being a mask of background 0 and one other value, if anything does.

    Args:
        mask: the image.
        colour: accept RGB if its three channels agree.
        fill: accept a structure that fills the image.
    """
    if colour and mask.mode == "RGB":
        channels = np.asarray(mask)
        if (channels != channels[..., :1]).any():
            return "expected shades of grey, got colours"
        mask = mask.getchannel(0)
    if mask.mode not in ("1", "L", "P"):
        return f"expected one grey channel, got Pillow mode {mask.mode}"
    indices = np.asarray(mask)
    values = np.unique(indices).astype(int).tolist()
    if len(values) > 2:
        return f"expected two grey values, 0 and one above, got {len(values)} from {values[0]} to {values[-1]}"
    if len(values) == 1:
        if fill and values[0] > 0:
            return _shade_fault(values[0])
        return f"expected background 0 and a foreground above, but every pixel is {values[0]}"
    if values[0] != 0:
        return f"expected background 0, but the values are {values[0]} and {values[1]}"
    grey = np.asarray(mask.convert("L"))
    if grey[indices > 0].mean() < grey[indices == 0].mean():
        return "its palette is inverted: value 0 is shown brighter than the foreground; save it as plain grey"
    return _shade_fault(values[1])


def _shade_fault(foreground: int) -> str | None:
    if foreground == 1 or foreground >= DARKEST_WHITE:
        return None
    return f"expected 1 or white (at least {DARKEST_WHITE}) for the foreground, got {foreground}, a class of its own"


class Faults:
    """Collects what is wrong with a dataset, so that the user hears of everything at once.

    Args:
        dataset: name of the dataset as the user knows it.
        folder: where it was looked for.
    """

    def __init__(self, dataset: str, folder: str | Path) -> None:
        self.dataset = dataset
        self.folder = folder
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        """Note one fault; the message starts with the file, folder or key it is about."""
        self.messages.append(message)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Note an ``InputError`` raised in the block instead of letting it out."""
        try:
            yield
        except InputError as error:
            self.add(str(error))

    def raise_if_any(self) -> None:
        """Raise one ``InputError`` that lists the faults, if there are any."""
        if not self.messages:
            return
        count = len(self.messages)
        lines = [f"{self.dataset} in {self.folder}: {count} {'fault' if count == 1 else 'faults'}"]
        lines += [f"  - {message}" for message in self.messages[:_MAX_LISTED]]
        if count > _MAX_LISTED:
            lines.append(f"  ... and {count - _MAX_LISTED} more")
        raise InputError("\n".join(lines))


def check_files(
    image_path: Path,
    masks: Mapping[Path, Callable[[Image.Image], str | None]],
    root: Path,
    faults: Faults,
    modes: Sequence[str] = ("RGB",),
) -> None:
    """Note what is wrong with the contents of one image and its masks.

    Args:
        image_path: the image, or where it should be.
        masks: by path, the function that says what is wrong with a mask.
        root: the messages name files relative to it.
        faults: gets what is wrong.
        modes: Pillow modes the image may have.
    """
    opened = {}
    for path in (image_path, *masks):
        with faults.collect():
            opened[path] = read_image(path)
    name = image_path.relative_to(root).as_posix()
    image = opened.pop(image_path, None)
    if image is not None and image.mode not in modes:
        faults.add(f"{name}: expected 8-bit {' or '.join(modes)}, got Pillow mode {image.mode}")
    for path, mask in opened.items():
        mask_name = path.relative_to(root).as_posix()
        if image is not None and mask.size != image.size:
            size, expected = ("{} x {}".format(*each.size) for each in (mask, image))
            faults.add(f"{mask_name}: is {size}, but its image {name} is {expected} pixels")
        fault = masks[path](mask)
        if fault:
            faults.add(f"{mask_name}: {fault}")


def seeded_order(groups: Sequence[str], seed: int) -> list[str]:
    """Return the distinct groups in an order that depends on their names and ``seed`` alone.

    The order comes from a hash, not from a random generator: it is the same on every machine and in every version of
    numpy, and a group that is added or removed does not reshuffle the others.
    """
    return sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())


def split_groups(groups: Sequence[str], sizes: Sequence[int | float], seed: int) -> list[list[str]]:
    """Split groups (images, patients, exams) into disjoint parts.

    Args:
        groups: one name per group, in any order; repeated names count once.
        sizes: one per part but the last, which gets the rest: a number of groups (int), or a fraction of all groups
            in (0, 1) (float), rounded to at least one.
        seed: the same seed splits the same groups the same way.

    Returns:
        ``len(sizes) + 1`` parts, each in seeded order: the first N of a part are among its first N + 1.

    Raises:
        InputError: if a part, the last one included, would get no group.
        ValueError: if a fraction is not in (0, 1).
    """
    ordered = seeded_order(groups, seed)
    counts = []
    for size in sizes:
        if isinstance(size, float):
            if not 0 < size < 1:
                raise ValueError(f"a fraction in sizes must lie between 0 and 1, got {size}")
            size = max(1, round(size * len(ordered)))
        if size < 1:
            raise InputError(f"every part of a split needs at least one group, got sizes {list(sizes)}")
        counts.append(size)
    if sum(counts) >= len(ordered):
        needed, found = sum(counts) + 1, len(ordered)
        raise InputError(f"a split with parts of {counts} and a rest needs at least {needed} groups, found {found}")
    remaining = iter(ordered)
    return [list(islice(remaining, count)) for count in counts] + [list(remaining)]


def stratified_order(strata: Mapping[str, str], seed: int) -> list[str]:
    """Return names in a seeded order in which every stretch holds each stratum in about its share of the whole.

    Cut anywhere, such an order gives stratified parts, and a small label budget is stratified as well.

    Args:
        strata: the stratum (diagnosis, say) of each name.
        seed: as for :func:`seeded_order`.
    """
    position = {}
    for stratum in set(strata.values()):
        members = seeded_order([name for name in strata if strata[name] == stratum], seed)
        position |= {name: (place + 0.5) / len(members) for place, name in enumerate(members)}
    return sorted(seeded_order(list(strata), seed), key=position.__getitem__)


def cut_sections(
    groups: Sequence[Sequence[str]],
    num_test: int,
    num_validation: int,
    num_labels: int | None,
    faults: Faults,
    unit: str = "images",
) -> dict[str, list[str]]:
    """Cut groups of images, which must not be split, into the test, validation and training sections, in this order.

    Args:
        groups: the images of each patient or exam, in the order in which they are dealt out.
        num_test: number of test images; whole groups are taken until there are at least so many.
        num_validation: number of validation images, likewise.
        num_labels: label budget: the first so many training images; ``None`` takes all.
        faults: gets what is wrong with the numbers; the sections are empty where there is too little to cut.
        unit: what a group is called, in the plural.

    Returns:
        The images of each section: test and validation sorted, training in the order of the groups.
    """
    remaining = list(groups)
    sections: dict[str, list[str]] = {"training": [], "validation": [], "test": []}
    for section, size in (("test", num_test), ("validation", num_validation)):
        while remaining and len(sections[section]) < size:
            sections[section] += remaining.pop(0)
        sections[section].sort()
    sections["training"] = [name for group in remaining for name in group]
    if len(sections["test"]) < num_test or len(sections["validation"]) < num_validation or not sections["training"]:
        count = sum(len(group) for group in groups)
        found = f"{count} images" if unit == "images" else f"{count} images of {len(groups)} {unit}, which stay whole"
        shares = [f"{num_test} for the test"] * (num_test > 0) + [f"{num_validation} for validation"] * (
            num_validation > 0
        )
        faults.add(
            f"too few complete images: {', '.join([*shares, '1 for training'])} needed, found {found}"
            + ("; set num_validation lower or add images" if num_validation > 0 else "; add images")
        )
        return {section: [] for section in SECTIONS}
    available = len(sections["training"])
    if num_labels is not None and not 1 <= num_labels <= available:
        faults.add(f"num_labels must be between 1 and the {available} training images available, got {num_labels}")
    sections["training"] = sections["training"][:num_labels]
    return sections


def repeat(items: Sequence[T], length: int) -> list[T]:
    """Cycle through ``items`` until there are ``length``: an epoch of fixed size whatever the label budget.

    Raises:
        ValueError: if ``items`` is empty or ``length`` is not positive.
    """
    if not items:
        raise ValueError("items must not be empty: there is nothing to repeat")
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    return list(islice(cycle(items), length))


def check_any(entries: Sequence[Mapping[str, str]]) -> None:
    """Check that there is something to train on: a server may be asked to before it was given a label.

    Args:
        entries: a MONAI datalist.

    Raises:
        InputError: if it is empty.
    """
    if not entries:
        raise InputError("train::dataset::data: there is no image with a label to train on; submit a label first")


def check_patches(entries: Sequence[Mapping[str, str]], patch_size: int) -> None:
    """Check that a patch can be cut out of every image: smaller ones would not stack into a batch.

    Args:
        entries: a MONAI datalist.
        patch_size: height and width of the patches.

    Raises:
        InputError: naming the first images that are smaller, or that cannot be read.
    """
    sizes = {path: read_image(path).size for path in dict.fromkeys(entry["image"] for entry in entries)}
    small = [
        f"{path} is {width} x {height}" for path, (width, height) in sizes.items() if min(width, height) < patch_size
    ]
    if small:
        limit = min(min(size) for size in sizes.values())
        raise InputError(
            f"patch_size: {len(small)} of {len(sizes)} images are smaller than {patch_size} ({'; '.join(small[:3])} "
            f"pixels): set patch_size to {limit} or less"
        )


def mark_phantoms(folder: str | Path) -> None:
    """Leave a file in a dataset that says that its images are phantoms, whatever the folder is called."""
    text = "The images here are phantoms: drawn by a program in the layout of a dataset. None is a patient's.\n"
    (Path(folder) / _PHANTOMS).write_text(text, encoding="utf-8")


def are_phantoms(path: str | Path) -> bool:
    """Say whether an image, or a folder of images, lies in a dataset that :func:`mark_phantoms` has marked."""
    places = (Path(os.path.abspath(path)), Path(path).resolve())  # as it was given, and where links lead
    return any((folder / _PHANTOMS).is_file() for place in places for folder in (place, *place.parents))


@contextmanager
def written_whole(folder: str | Path) -> Iterator[Path]:
    """Yield a temporary folder for phantoms that becomes ``folder``, marked as phantoms, when the block ends.

    It vanishes if the block raises.

    Raises:
        InputError: if ``folder`` already exists and is not empty; what is there is left alone.
    """
    folder = Path(os.path.abspath(Path(folder).expanduser()))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; name a new folder, or remove this one first")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        mark_phantoms(partial)
        if folder.exists():
            folder.rmdir()  # empty; Windows does not rename over a folder
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
