"""The report of ``python -m common check``: what is in a dataset, in numbers and on a contact sheet."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common.datasets.base import SegmentationDataset
from common.datasets.contact_sheet import Case, draw_contact_sheet
from common.datasets.findings import count
from common.datasets.splits import SPLITS
from common.files.atomic import atomic_file
from common.files.writing import check_writable
from common.pictures.sheets import save_sheet

logger = logging.getLogger(__name__)


def check_dataset(dataset: SegmentationDataset, output_dir: str | os.PathLike) -> dict[str, Any]:
    """Check a dataset, print what is in it, and write ``check.json`` and the contact sheet ``check.png``.

    The numbers are of all labelled images that a split lists; the label budget ``num_labels`` counts for the size of
    the training split alone. Both files are written when everything else is done, or not at all.

    Args:
        dataset: with its settings.
        output_dir: where to write; earlier reports there are replaced.

    Returns:
        What ``check.json`` holds: numbers of images and groups, image sizes, the share of each class among all pixels
        and the number of images that have it, the splits, how well two annotators agree on the test split where that is
        known, and remarks on the dataset.

    Raises:
        InputError: listing every issue of the dataset at once; or if nothing can be written to ``output_dir``.
    """
    output_dir = Path(output_dir)
    check_writable(output_dir, "--output_dir")
    logger.info(f"checking {dataset.root}: every image and label is read")
    dataset.check()
    for note in dataset.untold:
        logger.info(f"note: {note}")
    cases = _read_cases(dataset, dataset.all_entries())
    agreement = dataset.agreement("test")
    labelled = {entry["image"] for split in SPLITS for entry in dataset.entries(split)}
    summary = {
        "dataset": dataset.name,
        "dataset_dir": str(dataset.folder),
        "settings": {"split_seed" if key == "seed" else key: value for key, value in dataset.settings.items()},
        "group": dataset.group,
        **_summarise(cases, dataset.classes, [case for case in cases if case.entry["image"] in labelled]),
    }
    if agreement is not None:
        summary["annotator_dice"] = {name: value if np.isfinite(value) else None for name, value in agreement.items()}
    summary["notes"] = dataset.notes + _missing_classes(summary)
    sheet = draw_contact_sheet(dataset, cases)
    with atomic_file(output_dir / "check.png") as picture, atomic_file(output_dir / "check.json") as record:
        save_sheet(sheet, picture)
        record.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(describe(summary), f"written: {output_dir / 'check.json'}, {output_dir / 'check.png'}", sep="\n", flush=True)
    return summary


def _read_cases(dataset: SegmentationDataset, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Case]:
    """Read every image and label, and keep the numbers."""
    entries = [(split, entry) for split in SPLITS for entry in splits[split]]
    # The slices of a volume after each other: it is read once, whereas a split takes them from all volumes in turn.
    in_order = sorted(range(len(entries)), key=lambda place: (entries[place][1]["image"], place))
    cases: dict[int, Case] = {}
    for place in tqdm(in_order, desc="reading", unit=" images", disable=None):
        split, entry = entries[place]
        image, label = dataset.load(entry)
        height, width = image.shape[:2]
        pixels = np.bincount(label.ravel(), minlength=dataset.num_classes)
        cases[place] = Case(entry, split, dataset.group_of(entry), (width, height), pixels)
    return [cases[place] for place in range(len(entries))]


def _summarise(cases: Sequence[Case], classes: Mapping[int, str], in_splits: Sequence[Case]) -> dict[str, Any]:
    """Return the numbers of a report.

    Args:
        cases: all images.
        classes: names by id.
        in_splits: the images that are left to the splits by the label budget.
    """
    pixels = np.array([case.pixels for case in cases])
    shares = pixels.sum(axis=0) / pixels.sum()
    training = np.array([case.pixels for case in in_splits if case.split == "training"])
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
        "splits": {split: _count([case for case in in_splits if case.split == split]) for split in SPLITS},
    }


def _count(cases: Sequence[Case]) -> dict[str, int]:
    groups = [case.group for case in cases]
    return {"images": len(cases), "groups": len(set(groups) - {None}), "images_without_group": groups.count(None)}


def _missing_classes(summary: Mapping[str, Any]) -> list[str]:
    """Say which classes cannot be learned, because no training image has them."""
    nowhere = [each["name"] for each in summary["classes"] if each["images"] == 0]
    missing = [each["name"] for each in summary["classes"] if each["images"] > 0 and each["training_images"] == 0]
    notes = []
    if nowhere:
        notes.append(
            f"no label has {' or '.join(nowhere)}: it cannot be learned; label it, or take it out of the classes"
        )
    if missing:
        which = " or ".join(missing)
        notes.append(f"no image of the training split has {which}: raise num_labels or take another split_seed")
    for note in notes:
        logger.warning(note)
    return notes


def describe(summary: Mapping[str, Any]) -> str:
    """Return the report as a text for the eye."""
    smallest, median, largest = ("{width} x {height}".format(**size) for size in summary["image_size"].values())
    sizes = f"{median} pixels" if smallest == largest else f"{smallest} to {largest} pixels, median {median}"
    lines = [
        f"{summary['dataset']} in {summary['dataset_dir']}: {_verdict(summary['notes'])}",
        f"{'keys':12}{', '.join(_describe_settings(_as_it_came_out(summary)))}",
        f"{'images':12}{summary['images']} of {sizes}",
    ]
    grouped = summary["group"] != "image"
    groups = f"{summary['group']}s"
    if grouped:
        unknown = summary["images_without_group"]
        others = f", and {unknown} image{'s' if unknown > 1 else ''} of unknown {groups}" if unknown else ""
        lines.append(f"{groups:12}{summary['groups']}{others}")
    lines += ["", f"{'class':24}{'of pixels':>12}{'images':>10}{'training':>10}"]
    for each in summary["classes"]:
        share = f"{100 * each['pixel_share']:.3g} %"
        lines.append(f"{each['name']:24}{share:>12}{each['images']:>10}{each['training_images']:>10}")
    lines += ["", f"{'split':24}{'images':>12}{groups if grouped else '':>10}".rstrip()]
    for split, found in summary["splits"].items():
        lines.append(f"{split:24}{found['images']:>12}{found['groups'] if grouped else '':>10}".rstrip())
    return "\n".join([*lines, ""])


def _verdict(notes: Sequence[str]) -> str:
    """Say that everything can be read, and whether something is still worth a look."""
    return f"no errors; read {count(notes, 'note')} above" if notes else "no issues"


def _as_it_came_out(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, and beside ``num_validation`` how many images there are where whole patients make more."""
    settings, found = dict(summary["settings"]), summary["splits"]["validation"]
    counts_images = any(isinstance(each, Mapping) and each.get("kind") == "pictures" for each in settings.values())
    asked = settings.get("num_validation")
    if counts_images and summary["group"] == "patient" and asked is not None and found["images"] > asked:
        settings["num_validation"] = f"{asked} (whole patients: {found['images']})"
    return settings


def _describe_settings(settings: Mapping[str, Any]) -> list[str]:
    """Return settings with their values; of mappings, such as a source of files, what they say beyond defaults."""
    plain = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    lines = [f"{key} {'all' if key == 'num_labels' and value is None else value}" for key, value in plain.items()]
    for value in (value for value in settings.values() if isinstance(value, Mapping)):
        told = {key: each for key, each in value.items() if each not in (None, "")}
        lines += [
            f"{key} {', '.join(map(str, each)) if isinstance(each, list) else each}" for key, each in told.items()
        ]
    return lines
