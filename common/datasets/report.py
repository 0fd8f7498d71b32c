"""TODO"""

from __future__ import annotations

import inspect
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from common.datasets import find_dataset
from common.datasets.contact_sheet import Case, draw_contact_sheet
from common.datasets.splits import SECTIONS
from common.errors import InputError
from common.files.atomic import replace_file

logger = logging.getLogger(__name__)


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
