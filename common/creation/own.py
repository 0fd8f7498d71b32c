"""The bundle of one's own images: looked at, chosen for, written and shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.creation.choices import Choice, choose, usual_validation
from common.creation.drafts import draft_source
from common.creation.intensities import choose_intensity
from common.creation.options import Options
from common.creation.page import make_page
from common.creation.page_file import FACTS, page_text
from common.creation.picture import PICTURE, draw_labels, most_telling, short_names, smaller
from common.creation.places import Places, find_places
from common.creation.structures import Structures, measure
from common.creation.telling import (
    describe_classes,
    describe_images,
    describe_memory,
    describe_pairs,
    describe_patients,
    describe_splits,
    describe_strata,
    describe_teacher,
    tell,
)
from common.datasets import dataset_class
from common.datasets.base import Entry
from common.datasets.findings import name_some
from common.datasets.folder import FolderDataset
from common.datasets.folder_files.finding import find_items
from common.datasets.issues import DatasetIssues
from common.datasets.readers.slices import LoadSliced
from common.datasets.source import Source
from common.errors import InputError
from common.files.atomic import atomic_file
from common.pictures.sheets import save_sheet
from common.templates import complete_facts, render_bundle, write_bundle

_SAMPLE = 40  # images that are measured
_NAMED = 5  # images that differ from the others
_KEPT_SIDE = 1024  # pixels
_VOLUMES = 8  # volumes from which slices are taken, since each is read whole

Pair = tuple[np.ndarray, np.ndarray]


def write_own_bundle(options: Options, folder: Path, width: int = 120) -> str:
    """Write a bundle for a user's images, with its page of facts and a picture of labelled images.

    Args:
        options: what the user said.
        folder: of the bundle.
        width: of a line of the table, in characters.

    Returns:
        What was chosen, and what to do next, for the screen.

    Raises:
        InputError: if images and labels do not fit together, or something is a question.
    """
    places = find_places(options)
    draft = draft_source(options, places)
    entries = _entries(options, places, draft.source, 1)
    sample = _choose_sample(entries)
    structures, pairs = _look_at(sample, places, draft.source)
    source, channels = _choose_channels(options, draft.source, structures, sample)
    choices = choose(options, structures, source.kind == "volumes")
    if source.kind == "volumes":
        choices.intensity, row = choose_intensity(_values(sample, pairs))
        choices.rows.append(row)
    num_validation = options.num_validation or usual_validation(_num_held_back(entries))
    splits = _dataset(places, source, num_validation).all_entries()
    page = make_page(options, places.root, source, structures, choices, num_validation)
    texts = render_bundle(complete_facts(page, FACTS)) | {FACTS: page_text(page)}
    found = find_items(places.root, source, DatasetIssues("images", places.root))
    strata = {str(item.image): item.stratum for item in found.items.values()}
    kinds = [(strata.get(str(entry["image"])), entry.get("patient")) for entry in sample]
    shown = most_telling(pairs, kinds)
    sheet = draw_labels(
        [pairs[index] for index in shown],
        short_names([sample[index]["image"] for index in shown]),
        options.classes,
        f"{options.name}: labels as they are read",
        enlarged=choices.sees == "crops",
    )
    write_bundle(texts, folder)
    with atomic_file(folder / PICTURE) as fresh:
        save_sheet(sheet, fresh)
    rows = [
        describe_images(entries, places.images, structures),
        describe_pairs(entries, source),
        draft.labels,
        *describe_classes(options, structures),
        channels,
        *choices.rows,
        describe_splits(splits, source),
        *describe_memory(splits["training"], structures, choices),
        describe_patients(source),
        describe_strata(source, found, places),
        describe_teacher(options.pretrained),
    ]
    return tell(options.name, places.root, source, found, rows, folder, width)


def _dataset(places: Places, source: Source, num_validation: int) -> FolderDataset:
    its_class: Any = dataset_class({"data": {"_target_": source.dataset_class}})
    return its_class(root=places.root, source=source, num_validation=num_validation)


def _entries(options: Options, places: Places, source: Source, num_validation: int) -> list[Entry]:
    """Return all labelled images in the order of their names.

    Raises:
        InputError: if images and labels do not pair, or are too few.
    """
    splits = _dataset(places, source, num_validation).all_entries()
    return sorted((entry for each in splits.values() for entry in each), key=lambda e: (e["image"], e.get("slice", 0)))


def _num_held_back(entries: Sequence[Entry]) -> int:
    return len({entry["image"] for entry in entries})


def _choose_sample(entries: Sequence[Entry]) -> list[Entry]:
    """Return images from the first to the last, or slices of some volumes, each of which has to be read whole."""
    files = list(dict.fromkeys(entry["image"] for entry in entries))
    some = set(files)
    if len(entries) > len(files):
        some = {files[place * len(files) // _VOLUMES] for place in range(_VOLUMES)}
    entries = [entry for entry in entries if entry["image"] in some]
    step = max(1, len(entries) // _SAMPLE)
    return list(entries[step // 2 :: step])[:_SAMPLE]


def _look_at(sample: Sequence[Entry], places: Places, source: Source) -> tuple[Structures, list[Pair]]:
    """Return what was measured, and the images and labels, large ones smaller so that many fit into memory."""
    dataset, pairs = _dataset(places, source, 1), []

    def read() -> Iterator[Pair]:
        for entry in sample:
            image, ids = dataset.load(entry)
            pairs.append((image, ids) if source.kind == "volumes" else smaller(image, ids, _KEPT_SIDE))
            yield image, ids

    return measure(read(), source.classes), pairs


def _values(sample: Sequence[Entry], pairs: Sequence[Pair]) -> list[Pair]:
    """Return the values of slices as they are stored, and class ids."""
    load = LoadSliced("image")
    return [(load(entry)["image"][0].numpy().T, ids) for entry, (_, ids) in zip(sample, pairs, strict=True)]


def _choose_channels(
    options: Options, source: Source, structures: Structures, sample: Sequence[Entry]
) -> tuple[Source, Choice]:
    config = source.to_config()
    names = {1: "1, grey", 3: "3, colour"}
    if source.kind == "volumes":
        return source, Choice("channels", names[1], "volumes have one")
    grey, total = len(structures.grey), structures.num_images
    if options.channels is not None:
        chosen, why = options.channels, f"as --channels {options.channels} says"
    elif grey in (0, total):
        chosen = 1 if grey else 3
        why = f"all of {total} images looked at {'are grey' if grey else 'have colours'}"
    else:
        fewer, kind = _fewer_of(structures)
        shown = name_some(short_names([sample[place]["image"] for place in fewer]), _NAMED)
        raise InputError(
            f"--channels is missing: of {total} images looked at {grey} are grey and {total - grey} have colours "
            f"({kind}: {shown}): give --channels 3 to read all as colour, or --channels 1 to read all as grey"
        )
    return Source.from_config({**config, "channels": chosen}), Choice("channels", names[chosen], why, "--channels")


def _fewer_of(structures: Structures) -> tuple[Sequence[int], str]:
    """Return the places of the grey images, or of those in colour where they are fewer, and what they are."""
    others = [place for place in range(structures.num_images) if place not in structures.grey]
    return (structures.grey, "grey") if len(structures.grey) <= len(others) else (others, "in colour")
