"""A look over a dataset before any training: what is in it, what is wrong with it, and where its labels lie."""

from __future__ import annotations

import inspect
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from monai.bundle import ConfigParser
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy.ndimage import maximum_filter, minimum_filter
from tqdm import tqdm

from common.checkpoints import replace_file
from common.datasets import find_dataset
from common.datasets.checks import SECTIONS
from common.errors import InputError
from common.pipeline import find_configs

logger = logging.getLogger(__name__)

CONTACT_SHEET_SIZE = 12

_COLUMNS = 3
_SIDE = 256  # longest side of an image on the contact sheet, in pixels
_LINE = 20  # height of a line of text there
# The colours of Okabe and Ito, which the colour-blind can tell apart (https://jfly.uni-koeln.de/color).
_COLOURS = np.array(
    [(86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178)]
)


class Case(NamedTuple):
    """An image and its label, as far as the report needs them."""

    entry: Mapping[str, Any]
    section: str
    group: str | None  # patient or exam, None if unknown
    size: tuple[int, int]  # width and height
    pixels: np.ndarray  # of each class, by id


def check_bundle(
    bundle: str | os.PathLike, dataset_dir: str | os.PathLike, output_dir: str | os.PathLike | None = None, **keys: Any
) -> dict[str, Any]:
    """Look over the dataset of a bundle; see :func:`check_dataset`.

    Args:
        bundle: folder of the bundle; keys that are not given have the values of its ``train.yaml``.
        dataset_dir: the dataset in its official layout.
        output_dir: where to write; by default ``eval`` in the bundle, as for its stages.
        keys: what the split depends on, such as ``num_validation``, ``num_labels`` or ``split_seed``.

    Returns:
        What ``check.json`` holds.

    Raises:
        InputError: if the bundle does not exist, and as :func:`check_dataset` does.
    """
    config_file = find_configs(bundle) / "train.yaml"
    if not config_file.is_file():
        raise InputError(f"{config_file}: no such file; the values of the split are read from it")
    dataset = Path(bundle).resolve().name
    config = ConfigParser(ConfigParser.load_config_file(str(config_file)))
    known = split_keys(find_dataset(dataset))
    configured = {key: config.get_parsed_content(key) for key in known if key in config}
    return check_dataset(dataset, dataset_dir, output_dir or Path(bundle) / "eval", **{**configured, **keys})


def check_dataset(
    dataset: str, dataset_dir: str | os.PathLike, output_dir: str | os.PathLike, **keys: Any
) -> dict[str, Any]:
    """Check a dataset, print what is in it, and write ``check.json`` and the contact sheet ``check.png``.

    The numbers are of all labelled images that a section lists; the label budget ``num_labels`` counts for the size of
    the training section alone. Both files are written when everything else is done, or not at all.

    Args:
        dataset: name of the dataset, or of its bundle.
        dataset_dir: the dataset in its official layout.
        output_dir: where to write; earlier reports there are replaced.
        keys: what the split depends on, as configs name it; by default the values of the dataset's ``datalist``.

    Returns:
        What ``check.json`` holds: numbers of images and groups, image sizes, the share of each class among all pixels
        and the number of images that have it, the sections, how well two annotators agree on the test section where
        that is known, and what the dataset's module had to say.

    Raises:
        InputError: listing every fault of the dataset at once; if a key is unknown, missing or of the wrong type; or
            if nothing can be written to ``output_dir``.
    """
    module = find_dataset(dataset)
    settings = _complete_keys(module, keys)
    output_dir = Path(output_dir)
    _check_writable(output_dir)
    arguments = {"seed" if key == "split_seed" else key: value for key, value in settings.items()}
    logger.info(f"checking {dataset_dir}: every image and label is read")
    with _collected_notes() as notes:
        module.check(dataset_dir, **arguments)
        sections = {section: module.datalist(dataset_dir, section, **arguments) for section in SECTIONS}
        unlimited = module.datalist(dataset_dir, "training", **{**arguments, "num_labels": None})
        cases = _read_cases(module, {**sections, "training": unlimited})
        annotator_dice = _measure_agreement(module, dataset_dir, arguments)
    classes = module.classes_of(cases[0].entry)
    labelled = {entry["image"] for entries in sections.values() for entry in entries}
    summary = {
        "dataset": module.__name__.rpartition(".")[2],
        "dataset_dir": str(module.find_root(dataset_dir)),
        "settings": settings,
        "group": module.GROUP,
        **_summarise(cases, classes, [case for case in cases if case.entry["image"] in labelled]),
    }
    if annotator_dice is not None:
        summary["annotator_dice"] = {
            name: value if np.isfinite(value) else None for name, value in annotator_dice.items()
        }
    summary["notes"] = notes + _missing_classes(summary)
    sheet = draw_contact_sheet(module, cases)
    with replace_file(output_dir / "check.png") as picture, replace_file(output_dir / "check.json") as record:
        sheet.save(picture, format="PNG")
        record.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(describe(summary), f"written: {output_dir / 'check.json'}, {output_dir / 'check.png'}", sep="\n", flush=True)
    return summary


# Keys and output


def split_keys(module: ModuleType) -> dict[str, Any]:
    """Return the keys that a dataset's split depends on, as configs name them, with their default values."""
    _, _, *parameters = inspect.signature(module.datalist).parameters.values()
    return {"split_seed" if each.name == "seed" else each.name: each.default for each in parameters}


def _complete_keys(module: ModuleType, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every key, as given or by default.

    Raises:
        InputError: if a key is unknown, has neither a value nor a default, or should be a whole number and is not.
    """
    known = split_keys(module)
    faults = [f"--{key}: there is no such key" for key in keys if key not in known]
    settings = {**known, **keys}
    for key, value in settings.items():
        if value is inspect.Parameter.empty:
            faults.append(f"--{key}: is missing and has no default")
        elif key in ("num_validation", "split_seed", "num_labels") and type(value) is not int:
            if key == "num_labels" and value is None:
                continue
            faults.append(f"--{key}: expected a whole number, got {value!r}")
    if faults:
        raise InputError(f"{'; '.join(faults)}; the split of this dataset depends on {', '.join(known)}")
    return settings


def _check_writable(output_dir: Path) -> None:
    """Refuse a folder that could not be written to, before minutes are spent on reading."""
    output_dir = output_dir.absolute()
    existing = next(each for each in (output_dir, *output_dir.parents) if each.exists())
    if not existing.is_dir():
        raise InputError(f"--output_dir {output_dir}: {existing} is a file; name a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--output_dir {output_dir}: no permission to write in {existing}; name another folder")


class _Notes(logging.Handler):
    """Keeps the messages of the dataset modules and passes each on once, though every section says the same."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a message on to the root logger, unless it has been there before."""
        message, root = record.getMessage(), logging.getLogger()
        if message not in self.messages:
            self.messages.append(message)
            if root.isEnabledFor(record.levelno):
                root.handle(record)


@contextmanager
def _collected_notes() -> Iterator[list[str]]:
    """Yield a list that gets each distinct message of the dataset modules."""
    datasets, notes = logging.getLogger("common.datasets"), _Notes()
    level, propagate = datasets.level, datasets.propagate
    datasets.addHandler(notes)
    datasets.setLevel(logging.INFO)
    datasets.propagate = False
    try:
        yield notes.messages
    finally:
        datasets.removeHandler(notes)
        datasets.setLevel(level)
        datasets.propagate = propagate


# Numbers


def _read_cases(module: ModuleType, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Case]:
    """Read every image and label, and keep the numbers."""
    entries = [(section, entry) for section in SECTIONS for entry in sections[section]]
    num_classes = len(module.classes_of(entries[0][1]))
    cases = []
    for section, entry in tqdm(entries, desc="reading", unit=" images"):
        image, label = module.load(entry)
        height, width = image.shape[:2]
        pixels = np.bincount(label.ravel(), minlength=num_classes)
        cases.append(Case(entry, section, module.group_of(entry), (width, height), pixels))
    return cases


def _measure_agreement(
    module: ModuleType, dataset_dir: str | os.PathLike, arguments: Mapping[str, Any]
) -> dict[str, float] | None:
    """Return the Dice between two annotators on the test section by class, None if there are none to compare."""
    if not hasattr(module, "agreement"):
        return None
    known = inspect.signature(module.agreement).parameters
    return module.agreement(dataset_dir, "test", **{key: value for key, value in arguments.items() if key in known})


def _summarise(cases: Sequence[Case], classes: Mapping[int, str], in_sections: Sequence[Case]) -> dict[str, Any]:
    """Return the numbers of a report.

    Args:
        cases: all images.
        classes: names by id.
        in_sections: the images that are left to the sections by the label budget.
    """
    pixels = np.array([case.pixels for case in cases])
    shares = pixels.sum(axis=0) / pixels.sum()
    training = np.array([case.pixels for case in in_sections if case.section == "training"])
    sizes = sorted((case.size for case in cases), key=lambda size: (size[0] * size[1], size))
    chosen = {"smallest": sizes[0], "median": sizes[len(sizes) // 2], "largest": sizes[-1]}
    return {
        **_count(cases),
        "image_size": {name: {"width": width, "height": height} for name, (width, height) in chosen.items()},
        "classes": [
            {
                "id": index,
                "name": name,
                "pixel_share": float(shares[index]),
                "images": int((pixels[:, index] > 0).sum()),
                "training_images": int((training[:, index] > 0).sum()),
            }
            for index, name in classes.items()
        ],
        "sections": {
            section: _count([case for case in in_sections if case.section == section]) for section in SECTIONS
        },
    }


def _count(cases: Sequence[Case]) -> dict[str, int]:
    groups = [case.group for case in cases]
    return {"images": len(cases), "groups": len(set(groups) - {None}), "images_without_group": groups.count(None)}


def _missing_classes(summary: Mapping[str, Any]) -> list[str]:
    """Say which classes cannot be learned, because no training image has them."""
    missing = [each["name"] for each in summary["classes"] if each["training_images"] == 0]
    if not missing:
        return []
    note = f"no image of the training section has {' or '.join(missing)}: raise num_labels or take another split_seed"
    logger.warning(note)
    return [note]


def describe(summary: Mapping[str, Any]) -> str:
    """Return the report as a text for the eye."""
    smallest, median, largest = ("{width} x {height}".format(**size) for size in summary["image_size"].values())
    sizes = f"{median} pixels" if smallest == largest else f"{smallest} to {largest} pixels, median {median}"
    lines = [
        f"{summary['dataset']} in {summary['dataset_dir']}: no faults",
        f"{'keys':12}{', '.join(f'{key} {value}' for key, value in summary['settings'].items())}",
        f"{'images':12}{summary['images']} of {sizes}",
    ]
    grouped = summary["group"] != "image"
    groups = f"{summary['group']}s"
    if grouped:
        unknown = summary["images_without_group"]
        others = f", and {unknown} images of unknown {groups}" if unknown else ""
        lines.append(f"{groups:12}{summary['groups']}{others}")
    lines += ["", f"{'class':24}{'of pixels':>12}{'images':>10}{'training':>10}"]
    for each in summary["classes"]:
        share = f"{100 * each['pixel_share']:.3g} %"
        lines.append(f"{each['name']:24}{share:>12}{each['images']:>10}{each['training_images']:>10}")
    lines += ["", f"{'section':24}{'images':>12}{groups if grouped else '':>10}".rstrip()]
    for section, count in summary["sections"].items():
        lines.append(f"{section:24}{count['images']:>12}{count['groups'] if grouped else '':>10}".rstrip())
    return "\n".join([*lines, ""])


# Contact sheet


def draw_contact_sheet(module: ModuleType, cases: Sequence[Case]) -> Image.Image:
    """Draw some images, each beside itself with its label marked on it, and a legend of the classes.

    Args:
        module: of the dataset.
        cases: of all images.
    """
    pixels, groups = np.array([case.pixels for case in cases]), [case.group or case.entry["image"] for case in cases]
    shown = [cases[index] for index in choose_cases(pixels, groups, CONTACT_SHEET_SIZE)]
    tiles = [_draw_tile(*module.load(case.entry)) for case in shown]
    columns = min(_COLUMNS, len(tiles))
    width, height = 2 * _SIDE + _LINE, max(tile.height for tile in tiles) + _LINE
    sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height + _LINE), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, (case, tile) in enumerate(zip(shown, tiles, strict=True)):
        left, top = index % columns * width, index // columns * height
        sheet.paste(tile, (left, top + _LINE))
        group = [] if module.GROUP == "image" or case.group is None else [f"{module.GROUP} {case.group}"]
        caption = ", ".join([case.section, *group, Path(case.entry["image"]).name])
        draw.text((left, top + _LINE // 2), caption, "black", font, anchor="lm")
    left, top = 0, sheet.height - _LINE
    for index, name in module.classes_of(shown[0].entry).items():
        if index > 0:
            draw.rectangle((left, top + 4, left + _LINE, sheet.height - 4), tuple(_colour_of(index).tolist()))
            draw.text((left + 1.5 * _LINE, top + _LINE // 2), name, "black", font, anchor="lm")
            left += 3 * _LINE + round(draw.textlength(name, font))
    return sheet


def choose_cases(pixels: np.ndarray, groups: Sequence[str], count: int) -> list[int]:
    """Return the indices of images for a contact sheet, so that each class and each group is shown about equally often.

    Args:
        pixels: ``(cases, classes)``, the number of pixels, background first.
        groups: patient or exam of each case.
        count: how many to choose; fewer if no more have anything but background.
    """
    present = pixels[:, 1:] > 0
    remaining = [index for index in np.random.default_rng(0).permutation(len(present)) if present[index].any()]
    classes_shown, groups_shown = np.zeros(present.shape[1]), Counter()
    chosen: list[int] = []
    while remaining and len(chosen) < count:
        available = present[remaining].any(axis=0)
        rarest = np.where(available, classes_shown, np.inf).argmin()
        with_it = [index for index in remaining if present[index, rarest]]
        index = min(with_it, key=lambda index: groups_shown[groups[index]])
        remaining.remove(index)
        chosen.append(int(index))
        classes_shown += present[index]
        groups_shown[groups[index]] += 1
    return sorted(chosen) or list(range(min(count, len(present))))


def _draw_tile(image: np.ndarray, label: np.ndarray) -> Image.Image:
    """Return the image, and beside it the image with its label, drawn at twice the size for smooth borders."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
    picture = ImageOps.contain(picture, (2 * _SIDE, 2 * _SIDE))
    resized = np.asarray(Image.fromarray(label).resize(picture.size, Image.Resampling.NEAREST))
    pair = np.concatenate([np.asarray(picture), mark_label(np.asarray(picture), resized)], axis=1)
    return Image.fromarray(pair).reduce(2)


def mark_label(picture: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return a picture on which every structure is tinted and has a border, in the colour of its class.

    Args:
        picture: ``(H, W, 3)``, uint8.
        label: class ids ``(H, W)``; background is left as it is.
    """
    border = maximum_filter(label, 3) != minimum_filter(label, 3)
    strength = np.where(border, 1.0, 0.4)[..., None] * (label > 0)[..., None]
    marked = (1 - strength) * picture + strength * _colour_of(label)
    return marked.round().astype(np.uint8)


def _colour_of(class_id: int | np.ndarray) -> np.ndarray:
    """Return the RGB of a class other than background, or of a whole label."""
    return _COLOURS[(np.asarray(class_id, int) - 1) % len(_COLOURS)]
