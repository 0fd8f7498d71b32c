"""What is told on the screen: the rows of the table, notes, and what to do next."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.creation.choices import Choice, Choices
from common.creation.options import DEFAULT_TEACHER, Options, as_options
from common.creation.picture import PICTURE
from common.creation.places import Places
from common.creation.structures import Structures
from common.creation.table import draw_table
from common.datasets.base import Entry
from common.datasets.findings import count
from common.datasets.folder_files.items import Found
from common.datasets.folder_files.remarks import describe_orphans
from common.datasets.folder_files.remarks import describe_patients as note_patients
from common.datasets.source import Source
from common.teachers.base_names import STAND_IN
from common.teachers.published_weights import PUBLISHED

_BYTES_PER_PIXEL = 20  # of three channels, a label and a field of view
_MUCH = 2  # gigabytes
_MOST_STRATA = 4  # that are named


def tell(name: str, root: Path, source: Source, found: Found, rows: Sequence[Choice], folder: Path, width: int) -> str:
    """Return everything that is told.

    Args:
        name: of the bundle.
        root: what configs call ``dataset_dir``.
        source: of the dataset.
        found: what was found.
        rows: of the table.
        folder: of the bundle.
        width: of a line of the table, in characters.
    """
    bundle, new = shlex.quote(str(folder)), "new_scans" if source.kind == "volumes" else "new_photos"
    notes = [*found.notes, *describe_orphans(found, root), *note_patients(source, found, root)]
    lines = [f"{name}: the data are in {root}", "", draw_table(rows, width), ""]
    lines += [_fold(f"note: {_for_the_command_line(note)}", width) for note in notes] + [""] * bool(notes)
    return "\n".join(
        [
            *lines,
            f"written: {folder}",
            f"Look at {bundle}/{PICTURE}: are the structures marked where they are?",
            f"Then, in {os.getcwd()}:",
            f"  task-distill check {bundle}",
            f"  task-distill pipeline {bundle} --output_dir runs/{name}_demo --overlay demo  # a trial, in minutes",
            f"  task-distill pipeline {bundle} --output_dir runs/{name}",
            f"  task-distill predict {new}/ --weights runs/{name}/model.pt --output_dir new_masks/",
        ]
    )


def describe_images(entries: Sequence[Entry], place: str, structures: Structures) -> Choice:
    """Say how many images there are, and how large."""
    width, height = structures.size
    varied = "" if len(set(structures.sizes)) == 1 else " in the middle, sizes vary"
    return Choice("images", f"{_count(entries)} in {place}", f"{width} x {height} pixels{varied}")


def describe_pairs(entries: Sequence[Entry], source: Source) -> Choice:
    """Say which label an image has, by the example of the one with the most files."""
    example = max(entries, key=lambda entry: len(_files(entry["label"])))
    labels = [Path(path).name for path in _files(example["label"])]
    shown = ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
    united = " united" if isinstance(example["label"], list) else ""
    how = "by the datalist" if source.is_datalist and source.labels is None else "by name"
    why = f"such as {Path(example['image']).name} and {shown}{united}"
    return Choice("pairs", how, why, "" if how == "by the datalist" else "--label_suffix")


def describe_classes(options: Options, structures: Structures) -> list[Choice]:
    """Say how much of the images each structure covers, or that no image has it."""
    rows = []
    for name in options.classes[1:]:
        if name in structures.widths:
            share, number = 100 * structures.shares[name], structures.num_with[name]
            where = f"in {number} of {structures.num_images} images looked at"
            cornered = structures.num_cornered[name]
            if cornered and len(options.classes) == 2:
                where += f"; in {cornered} it has all four corners, as background has: are these labels inverted?"
            if name in structures.num_outlined:
                where += f"; in {structures.num_outlined[name]} only its outline is drawn: is the inside meant? Fill it"
            rows.append(Choice(f"class {name}", f"{share:.2g} % of the pixels", where))
        else:
            why = f"no label of {structures.num_images} looked at has it: is it spelt right, are labels read right?"
            rows.append(Choice(f"class {name}", "not found", why))
    return rows


def describe_splits(splits: Mapping[str, Sequence[Entry]], source: Source) -> Choice:
    """Say how many images are in every split."""
    value = ", ".join(f"{name} {_count(entries)}" for name, entries in splits.items())
    drawn = "whole patients, about " if source.patient else ""
    why = "as --split says" if source.split else f"drawn by seed, {drawn}a quarter for the test"
    return Choice("splits", value, why, "--split, --num_validation")


def describe_memory(training: Sequence[Entry], structures: Structures, choices: Choices) -> list[Choice]:
    """Say how much memory a training needs that keeps images whole, where that is much."""
    width, height = structures.size
    gigabytes = len(training) * width * height * _BYTES_PER_PIXEL / 2**30
    if choices.sees != "crops" or gigabytes < _MUCH:
        return []
    return [Choice("memory", f"about {gigabytes:.0f} GB", "training keeps images whole in memory", "--see images")]


def describe_patients(source: Source) -> Choice:
    """Say whether patients are known."""
    if source.patient is not None:
        return Choice("patients", "never split", f"by {source.patient}")
    return Choice("patients", "not known", "no patients were named, see the note below", "--patient")


def describe_strata(source: Source, found: Found, places: Places) -> Choice:
    """Say which kinds of images every split gets its share of."""
    if source.stratum is not None:
        counted = Counter(item.stratum or "unknown" for item in found.items.values() if item.label is not None)
        kinds = ", ".join(f"{stratum} {number}" for stratum, number in counted.most_common(_MOST_STRATA))
        more = f" and {len(counted) - _MOST_STRATA} more" if len(counted) > _MOST_STRATA else ""
        return Choice("strata", kinds + more, f"by {source.stratum}: every split gets its share of each", "--stratum")
    tops = sorted({name.split("/")[0] for name in found.items if "/" in name})
    if 1 < len(tops) <= _MOST_STRATA and source.split is None and source.patient is None:
        why = f"every split could get its share of {' and '.join(tops)}, if these folders are diagnoses or the like"
        return Choice("strata", "none", why, "--stratum folder")
    return Choice("strata", "none", "no diagnoses, or other kinds of images, were named", "--stratum")


def describe_teacher(pretrained: str | None) -> Choice:
    """Say which teacher is taken."""
    if pretrained == STAND_IN:
        why = "comes along and is small, but was pre-trained on drawn shapes alone; a published one teaches more"
        return Choice("teacher", "stand-in teacher", why, f"--pretrained {DEFAULT_TEACHER}")
    if pretrained is not None:
        return Choice("teacher", str(pretrained), "as --pretrained says")
    published = PUBLISHED[DEFAULT_TEACHER]
    why = f"a small foundation model of medical images; {published.size / 1e6:.0f} MB, downloaded when needed"
    return Choice("teacher", published.title, why, "--pretrained facebook/sam-vit-base")


def _fold(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _for_the_command_line(note: str) -> str:
    """Return a note of a check with the option in the place of the key that is to be set."""
    return as_options(note.replace("set source::patient (create: --patient) to", "give --patient"))


def _files(label: Any) -> list[str]:
    """Return the files of a label."""
    if isinstance(label, Mapping):
        return [path for key, each in label.items() if key != "image" for path in _files(each)]
    return [path for each in label for path in _files(each)] if isinstance(label, list) else [str(label)]


def _count(entries: Sequence[Entry]) -> str:
    """Return how many images there are, or slices of how many volumes."""
    files = {entry["image"] for entry in entries}
    if len(files) == len(entries):
        return count(entries, "image")
    return f"{count(entries, 'slice')} of {count(files, 'volume')}"
