"""KidneyUS, the Open Kidney Ultrasound Data Set (Singla et al., 2022, arXiv 2206.06657).

::

    kidneyUS_images_14_june_2022/100_IM-0246-0030_anon.png           sizes vary, grey or RGB; 100 is the exam
    labels/reviewed_masks_1/capsule/100_IM-0246-0030_anon.png        0 and 1, by sonographer 1; reviewed_masks_2 by 2
    labels/reviewed_masks_1/regions/100_IM-0246-0030_anon.png        1 central echo complex, 2 medulla, 3 cortex
    labels/reviewed_labels_1.csv                                     the polygons they were drawn from

The masks are read where there are any, else the polygons. The number before the first ``_`` is the exam, and no exam is
split. There is no official split.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import os
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from common.datasets import roots, splits
from common.datasets.issues import Faults
from common.datasets.masks import check_files
from common.datasets.phantoms.folder import written_whole
from common.datasets.readers import images
from common.datasets.readers.images import read_image
from common.datasets.readers.labels import LoadLabeld as LoadFileOfIdsd
from common.datasets.roots import list_images
from common.datasets.splits import SECTIONS, cut_sections
from common.errors import InputError

logger = logging.getLogger(__name__)

IN_CHANNELS = 1
_REGIONS = {0: "background", 1: "central echo complex", 2: "medulla", 3: "cortex"}
TASKS = {
    "regions": _REGIONS,
    "capsule": {0: "background", 1: "kidney"},
    "all": {**_REGIONS, 4: "other parenchyma"},  # inside the capsule, in none of the regions
}
CLASSES = TASKS["regions"]
GROUP = "exam"
ANNOTATORS = (1, 2, "intersection")

Polygon = list[tuple[int, int]]  # corners as x, y in pixels

_KINDS = {"regions": ("regions",), "capsule": ("capsule",), "all": ("capsule", "regions")}
# The grey value of each anatomy, in the order in which the masks were drawn: later ones cover earlier ones.
_VALUES = {"capsule": {"Capsule": 1}, "regions": {"Central Echo Complex": 1, "Medulla": 2, "Cortex": 3}}
_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
_SUFFIXES = (".png",)
_TEST_FRACTION = 0.25


def find_root(dataset_dir: str | Path) -> Path:
    """Return the folder that holds ``kidneyUS_images_...``, given it, its parent, or a folder of images or labels.

    Raises:
        InputError: if there is no such folder, or more than one.
    """
    expected = (
        "KidneyUS with its images, as in kidneyUS_images_14_june_2022/100_IM-0246-0030_anon.png, and beside them its "
        "labels, as in labels/reviewed_masks_1/regions/100_IM-0246-0030_anon.png or labels/reviewed_labels_1.csv"
    )
    inside = ["kidneyUS_images*", "labels/reviewed_masks_1", "labels/reviewed_masks_2"]
    return roots.find_root(dataset_dir, "KidneyUS", inside, expected)


def class_names(task: str) -> list[str]:
    """Return the names of a task's classes by id, background first.

    Raises:
        InputError: if ``task`` is unknown.
    """
    _check_choice("task", task, TASKS)
    return list(TASKS[task].values())


def datalist(
    dataset_dir: str | Path,
    section: str,
    seed: int = 0,
    num_validation: int = 2,
    num_labels: int | None = None,
    task: str = "regions",
    annotator: int | str = 1,
) -> list[dict[str, Any]]:
    """Return the images of one section with the files of their labels, which :class:`LoadLabeld` turns into one.

    A quarter of the images is for the test, ``num_validation`` of the others for validation; as no exam is split, it
    may be one image more. Sections share no exam and depend on the file names and the seed alone: they are the same
    for every task and annotator.

    Args:
        dataset_dir: see :func:`find_root`.
        section: "training", "validation" or "test".
        seed: draws the sections, and the order of the training section.
        num_validation: number of validation images.
        num_labels: label budget: the first so many training images, so that small budgets are part of larger ones.
        task: "regions", "capsule" or "all"; ``TASKS`` has their classes.
        annotator: 1, 2, or "intersection", which keeps a class where both agree.

    Returns:
        One ``{"image": path, "label": files}`` per image; ``files`` has, for each annotator, the path of each mask
        or of the polygons by kind, and the image that they belong to.

    Raises:
        InputError: if files are missing, too few or damaged, or ``num_labels`` is out of range; all faults at once.
            If ``task`` or ``annotator`` is unknown.
        ValueError: if ``section`` is none of the three.
    """
    splits.check_section(section)
    _check_choice("task", task, TASKS)
    _check_choice("annotator", annotator, ANNOTATORS)
    root = find_root(dataset_dir)
    faults = Faults("KidneyUS", root)
    entries = _find_files(root, task, annotator, faults)
    sections = _split(entries, seed, num_validation, num_labels, faults)
    faults.raise_if_any()
    return [entries[name] for name in sections[section]]


def check(
    dataset_dir: str | Path,
    num_validation: int = 2,
    num_labels: int | None = None,
    task: str = "regions",
    annotator: int | str = 1,
    seed: int = 0,
) -> dict[str, int]:
    """Read every image and label of a task and return the number of images in each section.

    Raises:
        InputError: listing every fault at once: files missing, unreadable, of the wrong kind, size or grey values,
            polygons that are none, too few images for a split, ``num_labels`` out of range. If ``task`` or
            ``annotator`` is unknown.
    """
    _check_choice("task", task, TASKS)
    _check_choice("annotator", annotator, ANNOTATORS)
    root = find_root(dataset_dir)
    faults = Faults("KidneyUS", root)
    entries = _find_files(root, task, annotator, faults)
    for entry in entries.values():
        masks = {
            Path(files[kind]): partial(_value_fault, highest=max(_VALUES[kind].values()))
            for files in entry["label"]
            for kind in _KINDS[task]
            if kind in files and not _is_table(files[kind])
        }
        check_files(Path(entry["image"]), masks, root, faults, modes=("L", "RGB", "RGBA"))
    _check_corners(entries, _KINDS[task], root, faults)
    sections = _split(entries, seed, num_validation, num_labels, faults)
    faults.raise_if_any()
    return {section: len(names) for section, names in sections.items()}


class LoadLabeld(LoadFileOfIdsd):
    """Reads a label as its base class does, or joins the files that :func:`datalist` names: ``(1, W, H)`` class ids."""

    def read_own(self, label: Any) -> np.ndarray:
        """Return the class ids ``(W, H)``.

        Raises:
            InputError: if a file cannot be read, or the polygons of the image are faulty.
        """
        return super().read_own(label) if isinstance(label, (str, os.PathLike)) else read_label(label).T


def read_label(label: Sequence[Mapping[str, str]]) -> np.ndarray:
    """Return the class ids ``(H, W)`` of a label of one annotator, or of where two annotators agree.

    Args:
        label: for each annotator the files of the label, as in the entries of :func:`datalist`.

    Raises:
        InputError: if a file cannot be read, or the polygons of the image are faulty.
    """
    first, *others = (_join_masks(files) for files in label)
    for other in others:
        first = np.where(first == other, first, 0)
    return first


def inter_annotator_dice(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how well the two annotators agree: the Dice coefficient by class, as a mean over images.

    No model can be expected to agree with one of them any better. Images where neither has drawn a class do not count
    for it, images where only one has count 0; a class that is in no image is NaN.

    Args:
        entries: of :func:`datalist` for annotator "intersection".

    Raises:
        InputError: if a file cannot be read, the polygons of an image are faulty, or two labels differ in size.
        ValueError: if an entry has not the labels of two annotators.
    """
    scores: dict[str, list[float]] = {}
    for entry in entries:
        if len(entry["label"]) != 2:
            raise ValueError("entries must have the labels of two annotators: take those of annotator 'intersection'")
        first, second = (_join_masks(files) for files in entry["label"])
        if first.shape != second.shape:
            sizes = " and ".join("{1} x {0}".format(*each.shape) for each in (first, second))
            where = next(iter(entry["label"][0].values()))
            raise InputError(f"{where}: the labels of the two annotators are {sizes} pixels; expected one size")
        for value, name in TASKS[_task_of(entry["label"][0])].items():
            drawn = (first == value).sum() + (second == value).sum()
            if value > 0:
                both = ((first == value) & (second == value)).sum()
                scores.setdefault(name, []).extend([2 * both / drawn] if drawn else [])
    return {name: float(np.mean(values)) if values else float("nan") for name, values in scores.items()}


def agreement(
    dataset_dir: str | Path, section: str, seed: int = 0, num_validation: int = 2, task: str = "regions"
) -> dict[str, float] | None:
    """Return :func:`inter_annotator_dice` of one section, or None where only one annotator has drawn; the log says so.

    Args:
        dataset_dir: see :func:`find_root`.
        section: "training", "validation" or "test".
        seed: as for :func:`datalist`.
        num_validation: as for :func:`datalist`.
        task: "regions", "capsule" or "all".
    """
    try:
        entries = datalist(dataset_dir, section, seed, num_validation, task=task, annotator="intersection")
        scores = inter_annotator_dice(entries)
    except InputError as error:
        logger.info(f"how well annotators agree is not known, there are no complete labels of two: {error}")
        return None
    shown = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    logger.info(f"Dice between the annotators on {len(entries)} {section} images: {shown}")
    return scores


def load(entry: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the image ``(H, W, 1)`` of an entry of :func:`datalist` and its class ids ``(H, W)``, both uint8.

    Raises:
        InputError: if a file cannot be read, or the polygons of the image are faulty.
    """
    image = images.to_grey(read_image(entry["image"]))
    return np.asarray(image)[..., None], read_label(entry["label"]).astype(np.uint8)


def classes_of(entry: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of the classes that the label of an entry may have, by id."""
    return TASKS[_task_of(entry["label"][0])]


def group_of(entry: Mapping[str, Any]) -> str:
    """Return the exam that an entry belongs to."""
    return _exam_of(Path(entry["image"]).name)


def _exam_of(name: str) -> str:
    return name.split("_")[0]


def _task_of(files: Mapping[str, str]) -> str:
    """Return the task that a label with these files is for."""
    return next(task for task, kinds in _KINDS.items() if set(kinds) == files.keys() - {"image"})


def _join_masks(files: Mapping[str, str]) -> np.ndarray:
    """Return the class ids ``(H, W)`` of one annotator's label."""
    masks = {kind: _read_mask(files, kind) for kind in _KINDS[_task_of(files)]}
    if len(masks) == 1:
        return next(iter(masks.values()))
    return np.where(masks["regions"] > 0, masks["regions"], 4 * masks["capsule"])


def _is_table(path: str | Path) -> bool:
    return str(path).lower().endswith(".csv")


def _read_mask(files: Mapping[str, str], kind: str) -> np.ndarray:
    """Return the grey values ``(H, W)`` of a mask, drawn from polygons where it is given so."""
    path = Path(files[kind])
    if not _is_table(path):
        return np.asarray(read_image(path)).astype(np.uint8)
    image = Path(files["image"])
    polygons = _cached_polygons(path, path.stat().st_mtime_ns)
    return draw_mask(polygons.get(image.name, {}), kind, read_image(image).size)


@lru_cache(maxsize=4)
def _cached_polygons(path: Path, modified: int) -> dict[str, dict[str, list[Polygon]]]:
    """Read the polygons once for all images, and again after the file has changed."""
    faults = Faults("KidneyUS", path.parent)
    polygons = read_polygons(path, faults)
    faults.raise_if_any()
    return polygons


def draw_mask(polygons: Mapping[str, Sequence[Polygon]], kind: str, size: tuple[int, int]) -> np.ndarray:
    """Return a mask ``(H, W)`` as the owners of the dataset have drawn it from the polygons of one image.

    The border belongs to the polygon. Where two polygons of one structure overlap, the inside of one is a hole in the
    other. OpenCV, which they used, places border pixels of steep lines a little differently than Pillow does: masks
    agree but for single pixels there.

    Args:
        polygons: by anatomy.
        kind: "capsule" or "regions".
        size: width and height of the image.
    """
    mask = np.zeros(size[::-1], np.uint8)
    for anatomy, value in _VALUES[kind].items():
        inside, border = np.zeros(mask.shape, bool), Image.new("1", size)
        for polygon in polygons.get(anatomy, []):
            area = Image.new("1", size)
            ImageDraw.Draw(area).polygon(polygon, fill=1)
            inside ^= np.asarray(area)
            ImageDraw.Draw(border).line([*polygon, polygon[0]], fill=1)
        mask[inside | np.asarray(border)] = value
    return mask


def read_polygons(path: Path, faults: Faults) -> dict[str, dict[str, list[Polygon]]]:
    """Return the polygons of a table written by the VGG Image Annotator, by file name and anatomy.

    A row without a shape says that an image has been looked at. A shape without an anatomy is left out, as it is in
    the masks.

    Args:
        path: the CSV.
        faults: gets every row that cannot be understood.
    """
    polygons: dict[str, dict[str, list[Polygon]]] = {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        table = csv.DictReader(file)
        missing = [column for column in _COLUMNS if column not in (table.fieldnames or [])]
        if missing:
            faults.add(
                f"{path}: no column {', '.join(missing)}; expected a CSV of the VGG Image Annotator, in UTF-8 and with "
                "commas"
            )
            return {}
        line = table.line_num
        try:
            for row in table:
                line = table.line_num
                shapes = polygons.setdefault(row["filename"], {})
                try:
                    shape, attributes = (_parse_object(row[column]) for column in _COLUMNS[1:])
                    anatomy = attributes.get("Anatomy")
                    if shape and anatomy:
                        shapes.setdefault(_known_anatomy(anatomy), []).append(_corners(shape))
                except ValueError as error:
                    where = f"{path}: line {line}, {row['filename']}"
                    faults.add(f"{where}: {error}; mend the row in the VGG Image Annotator, or use the mask PNGs")
        except csv.Error as error:  # a quote that is not closed makes one field of all that follows
            faults.add(
                f"{path}: cannot be read after line {line} ({error}); look for a quote that is not closed, or use the "
                "mask PNGs"
            )
    return polygons


def _parse_object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"malformed JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object such as {{}}, got {text}")
    return value


def _known_anatomy(anatomy: str) -> str:
    known = [name for values in _VALUES.values() for name in values]
    if anatomy not in known:
        raise ValueError(f"expected the anatomy to be one of {', '.join(known)}, got {anatomy!r}")
    return anatomy


def _corners(shape: Mapping[str, Any]) -> Polygon:
    if shape.get("name") != "polygon":
        raise ValueError(f"expected a polygon, got a region of shape {shape.get('name')!r}")
    columns, rows = shape.get("all_points_x", []), shape.get("all_points_y", [])
    if not all(isinstance(each, list) for each in (columns, rows)):
        raise ValueError(f"expected lists of corners, got all_points_x {columns!r} and all_points_y {rows!r}")
    if len(columns) != len(rows) or len(rows) < 3:
        raise ValueError(f"expected a polygon of at least 3 corners, got {len(columns)} x and {len(rows)} y")
    odd = [each for each in (*columns, *rows) if type(each) not in (int, float) or not abs(each) < math.inf]
    if odd:
        raise ValueError(f"expected the corners of the polygon as numbers, got {odd[0]!r}")
    return [(int(x), int(y)) for x, y in zip(columns, rows, strict=True)]


def _check_corners(entries: Mapping[str, Mapping[str, Any]], kinds: Sequence[str], root: Path, faults: Faults) -> None:
    """Note polygons that reach beyond their image, as those drawn on an image of another size do."""
    anatomies = [anatomy for kind in kinds for anatomy in _VALUES[kind]]
    labels = [files for entry in entries.values() for files in entry["label"]]
    for table in sorted({path for files in labels for path in files.values() if _is_table(path)}):
        polygons = read_polygons(Path(table), Faults("KidneyUS", root))  # what is wrong with its rows is noted already
        for name in sorted(polygons.keys() & entries.keys()):
            corners = [corner for anatomy in anatomies for each in polygons[name].get(anatomy, []) for corner in each]
            try:
                width, height = read_image(entries[name]["image"]).size
            except InputError:  # so is this
                continue
            outside = [(x, y) for x, y in corners if not (0 <= x <= width and 0 <= y <= height)]
            if outside:
                faults.add(
                    f"{table}: {name}: {len(outside)} corners lie outside the image of {width} x {height} pixels, "
                    f"first {outside[0]}; take image and polygons of one release"
                )


def _value_fault(mask: Image.Image, highest: int) -> str | None:
    """Return what keeps an image from being a mask with the values from 0 to ``highest``, if anything does."""
    if mask.mode not in ("1", "L", "P"):
        return f"expected one grey channel, got Pillow mode {mask.mode}"
    values = [value for value in np.unique(mask).tolist() if value > highest]
    if values:
        return f"expected grey values from 0 to {highest}, got {', '.join(map(str, values[:5]))}"
    return None


def _check_choice(name: str, value: int | str, known: Collection[int | str]) -> None:
    # Not by `in`: of lists it may raise a TypeError, and True would pass for the annotator 1.
    if not any(type(value) is type(each) and value == each for each in known):
        raise InputError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")


def _find_images(root: Path) -> list[Path]:
    """Return the images; archives unpack into a folder of the same name once more."""
    for pattern in ("kidneyUS_images*", "kidneyUS_images*/kidneyUS_images*"):
        images = [path for folder in sorted(root.glob(pattern)) for path in list_images(folder, _SUFFIXES)]
        if images:
            return images
    return []


def _find_files(root: Path, task: str, annotator: int | str, faults: Faults) -> dict[str, dict[str, Any]]:
    """Return the entry of every image by file name, and note what is missing."""
    images = _find_images(root)
    if not images:
        faults.add("kidneyUS_images*: no images in it; expected files such as 100_IM-0246-0030_anon.png")
    entries = {path.name: {"image": str(path), "label": []} for path in images}
    for number in (1, 2) if annotator == "intersection" else (annotator,):
        labels = _find_labels(root, images, number, _KINDS[task], faults)
        for path in images:
            entries[path.name]["label"].append({**labels.get(path.name, {}), "image": str(path)})
    return entries


def _find_labels(
    root: Path, images: list[Path], number: int, kinds: tuple[str, ...], faults: Faults
) -> dict[str, dict[str, str]]:
    """Return one annotator's files by image and kind: the masks where there are any, else the table of polygons."""
    masks = Path("labels") / f"reviewed_masks_{number}"
    if (root / masks).is_dir():
        found: dict[str, dict[str, str]] = {}
        for kind in kinds:
            present = {path.name: path for path in list_images(root / masks / kind, _SUFFIXES)}
            if not present:
                faults.add(f"{(masks / kind).as_posix()}: no masks in it; expected one for each image, of its name")
                continue
            for image in images:
                if image.name in present:
                    found.setdefault(image.name, {})[kind] = str(present[image.name])
                else:
                    expected = (masks / kind / image.name).as_posix()
                    faults.add(f"{image.relative_to(root).as_posix()}: no label, expected {expected}")
        return found
    name = f"reviewed_labels_{number}.csv"
    table = next(
        (
            folder / name
            for folder in (root / "labels", images[0].parent if images else root)
            if (folder / name).is_file()
        ),
        None,
    )
    if table is None:
        faults.add(f"{masks.as_posix()}: no such folder, and no labels/{name} to draw the masks from; one is needed")
        return {}
    logger.info(f"KidneyUS in {root}: there are no masks by annotator {number}, they are drawn from {table}")
    num_faults = len(faults.messages)
    polygons = read_polygons(table, faults)
    if not polygons and len(faults.messages) == num_faults:
        faults.add(f"{table}: has no rows; take the file as it was published")
    for image in images:
        if polygons and image.name not in polygons:  # a table that cannot be read is one fault, not one for every image
            faults.add(f"{image.relative_to(root).as_posix()}: no label, expected rows of this name in {table}")
    return {image.name: dict.fromkeys(kinds, str(table)) for image in images if image.name in polygons}


def _split(
    entries: dict[str, dict[str, Any]], seed: int, num_validation: int, num_labels: int | None, faults: Faults
) -> dict[str, list[str]]:
    """Return the names in every section; the sections are empty where there is too little to split."""
    if num_validation < 1:
        faults.add(f"num_validation must be at least 1, got {num_validation}")
        return {section: [] for section in SECTIONS}
    exams: dict[str, list[str]] = {}
    for name in entries:
        exams.setdefault(_exam_of(name), []).append(name)
    ordered = [exams[exam] for exam in splits.seeded_order(list(exams), seed)]
    num_test = max(1, round(_TEST_FRACTION * len(entries)))
    return cut_sections(ordered, num_test, num_validation, num_labels, faults, "exams")


def write_phantoms(
    folder: str | Path, num_exams: int = 10, image_size: tuple[int, int] = (480, 640), seed: int = 0
) -> Path:
    """Write procedural ultrasound images of kidneys, traced by two sonographers, in the layout and formats of KidneyUS.

    Every exam has a longitudinal view, with all classes. Every second one also has a transverse view, with the capsule
    and the central echo complex alone, which is stored as RGB.

    Args:
        folder: new folder to write, which appears only when it is complete.
        num_exams: number of exams; there are one and a half times as many images.
        image_size: height and width in pixels, which vary by a tenth.
        seed: the same seed writes the same bytes.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty.
    """
    from common.datasets.phantoms.ultrasound import draw_kidney  # here because a release goes without phantoms

    with written_whole(folder) as partial_folder:
        images = partial_folder / "kidneyUS_images_14_june_2022"
        images.mkdir()
        tables: list[list[list[str | int]]] = [[], []]
        for index in range(num_exams):
            for view in ("Longitudinal", "Transverse")[: 1 + index % 2]:
                rng = np.random.default_rng((seed, index, view == "Transverse"))
                size = tuple(round(length * rng.uniform(0.9, 1.1)) for length in image_size)
                image, tracings = draw_kidney(rng, size, view == "Longitudinal")
                name = f"{index + 1}_IM-{rng.integers(1, 999):04d}-{rng.integers(1, 99):04d}_anon.png"
                image = image if view == "Longitudinal" else image.convert("RGB")
                image.save(images / name)
                for number, polygons in enumerate(tracings, start=1):
                    _write_masks(partial_folder / "labels" / f"reviewed_masks_{number}", name, polygons, image.size)
                    tables[number - 1] += _table_rows(name, (images / name).stat().st_size, view, polygons)
        for number, rows in enumerate(tables, start=1):
            path = partial_folder / "labels" / f"reviewed_labels_{number}.csv"
            with path.open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(["filename", "file_size", "file_attributes", "region_count", "region_id", *_COLUMNS[1:]])
                table.writerows(rows)
    return Path(folder)


def _write_masks(folder: Path, name: str, polygons: dict[str, Polygon], size: tuple[int, int]) -> None:
    for kind in _VALUES:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        mask = draw_mask({anatomy: [polygon] for anatomy, polygon in polygons.items()}, kind, size)
        Image.fromarray(mask).save(folder / kind / name)


def _table_rows(name: str, file_size: int, view: str, polygons: dict[str, Polygon]) -> list[list[str | int]]:
    """Return the rows of one image as the VGG Image Annotator writes them."""

    def compact(value: dict[str, Any]) -> str:
        return json.dumps(value, separators=(",", ":"))

    attributes = compact({"Quality": "Fair", "View": view, "Comments": "n/a"})
    rows: list[list[str | int]] = []
    for number, (anatomy, polygon) in enumerate(polygons.items()):
        columns, lines = zip(*polygon, strict=True)
        shape = compact({"name": "polygon", "all_points_x": columns, "all_points_y": lines})
        rows.append([name, file_size, attributes, len(polygons), number, shape, compact({"Anatomy": anatomy})])
    return rows
