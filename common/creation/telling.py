"""What is told on the screen: the rows of the table, notes, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.creation.choices import Choice
from common.creation.options import Options
from common.creation.page import EMBEDDED
from common.creation.picture import PICTURE
from common.creation.structures import Structures
from common.creation.table import draw_table
from common.datasets.base import Entry
from common.datasets.findings import count
from common.datasets.folder_files.finding import find_items
from common.datasets.folder_files.remarks import describe_orphans
from common.datasets.folder_files.remarks import describe_patients as note_patients
from common.datasets.issues import DatasetIssues
from common.datasets.source import Source


def tell(name: str, root: Path, source: Source, rows: Sequence[Choice], folder: Path, width: int) -> str:
    """Return everything that is told.

    Args:
        name: of the bundle.
        root: what configs call ``dataset_dir``.
        source: of the dataset.
        rows: of the table.
        folder: of the bundle.
        width: of a line of the table, in characters.
    """
    bundle, new = shlex.quote(str(folder)), "new_scans" if source.kind == "volumes" else "new_images"
    found = find_items(root, source, DatasetIssues("images", root))
    notes = [*found.notes, *describe_orphans(found, root), *note_patients(source, found, root)]
    lines = [f"{name}: the data are in {root}", "", draw_table(rows, width), ""]
    lines += [f"note: {note}" for note in notes] + [""] * bool(notes)
    return "\n".join(
        [
            *lines,
            f"Look at {bundle}/{PICTURE}: are the structures marked where they are? Then:",
            f"  task-distill check {bundle}",
            f"  task-distill pipeline {bundle} --output_dir runs/{name}",
            f"  task-distill predict {new}/ --weights runs/{name}/model.pt --output_dir masks/",
        ]
    )


def describe_images(entries: Sequence[Entry], place: str, structures: Structures) -> Choice:
    """Say how many images there are, and how large."""
    width, height = structures.size
    varied = "" if len(set(structures.sizes)) == 1 else " in the middle, sizes vary"
    return Choice("images", f"{_count(entries)} in {place}", f"{width} x {height} pixels{varied}")


def describe_classes(options: Options, structures: Structures) -> list[Choice]:
    """Say how much of the images each structure covers, or that no image has it."""
    rows = []
    for name in options.classes[1:]:
        if name in structures.widths:
            rows.append(Choice(f"class {name}", f"{100 * structures.shares[name]:.2g} % of the pixels"))
        else:
            why = f"no label of {structures.num_images} looked at has it: is it spelt right, are labels read right?"
            rows.append(Choice(f"class {name}", "not found", why))
    return rows


def describe_splits(splits: Mapping[str, Sequence[Entry]], source: Source) -> Choice:
    """Say how many images are in every split."""
    value = ", ".join(f"{name} {_count(entries)}" for name, entries in splits.items())
    why = "as --split says" if source.split else "drawn by seed, a quarter for the test"
    return Choice("splits", value, why, "--split, --num_validation")


def describe_patients(source: Source) -> Choice:
    """Say whether patients are known."""
    if source.patient is not None:
        return Choice("patients", "never split", f"by {source.patient}")
    why = "images of one patient may be in training and test: results look too good"
    return Choice("patients", "not known", why, "--patient")


def describe_teacher(pretrained: str | None) -> Choice:
    """Say which teacher is taken."""
    if pretrained not in (None, EMBEDDED):
        return Choice("teacher", str(pretrained), "as --pretrained says")
    return Choice(
        "teacher",
        "stand-in teacher",
        "comes along and is small, but was pre-trained on drawn shapes alone; a published one teaches more",
        "--pretrained facebook/sam-vit-base",
    )


def _count(entries: Sequence[Entry]) -> str:
    """Return how many images there are, or slices of how many volumes."""
    files = {entry["image"] for entry in entries}
    if len(files) == len(entries):
        return count(entries, "image")
    return f"{count(entries, 'slice')} of {count(files, 'volume')}"
