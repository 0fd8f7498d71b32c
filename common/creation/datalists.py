"""What a datalist itself says of classes, patients and splits, and whether that is what the options say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.creation.options import Options
from common.datasets.folder_files.places import split_named
from common.datasets.folder_files.tables import Row, column_key, parse_json, read_rows
from common.errors import InputError

PATIENT = "patient"
SPLIT = "split"


def own_patients(options: Options) -> str | None:
    """Return the column of the patients: the one that is called so, where the options name no other."""
    if options.patient is not None:
        return options.patient
    return PATIENT if any(row.values.get(PATIENT) for row in read_rows(options.images)) else None


def check_splits(options: Options) -> None:
    """Ask whether the splits that a datalist has are to be kept, lest images of its test are trained on.

    Raises:
        InputError: if labelled images are in several splits, and the options do not say what to do.
    """
    if options.split is not None:
        return
    labelled = [row.values for row in read_rows(options.images) if _is_labelled(row)]
    for column in dict.fromkeys(column for values in labelled for column in values):
        splits = {split_named(str(values.get(column) or "")) for values in labelled}
        named = sorted(split for split in splits if split is not None)
        if len(named) == len(splits) > 1:
            raise InputError(
                f"--split is missing: {options.images} has images for {', '.join(named)}: give --split "
                f"{column} to keep these splits, or --split seed to draw others"
            )


def _is_labelled(row: Row) -> bool:
    others = {"image", PATIENT, SPLIT}
    return any(value for column, value in row.values.items() if column_key(column) not in others)


def check_classes(datalist: Path, classes: Sequence[str]) -> None:
    """Compare the names of the classes with those of the Decathlon's or nnU-Net's ``dataset.json``.

    Raises:
        InputError: if a class has another id there.
    """
    for index, name in _named_classes(datalist).items():
        own = [number for number, each in enumerate(classes) if each.lower() == name.lower()]
        if own and own != [index]:
            raise InputError(
                f"--classes: {name} is the class {own[0]} in {','.join(classes)}, but {index} in {datalist}: name the "
                "classes in the order of their ids there"
            )


def _named_classes(datalist: Path) -> dict[int, str]:
    """Return the names by id: ``{"1": "liver"}`` in the Decathlon, ``{"liver": 1}`` in nnU-Net."""
    if datalist.suffix.lower() != ".json":
        return {}
    content = parse_json(datalist)
    labels = content.get("labels") if isinstance(content, Mapping) else None
    if not isinstance(labels, Mapping):
        return {}
    pairs = [(key, value) if isinstance(value, str) else (value, key) for key, value in labels.items()]
    return {int(index): name for index, name in pairs if str(index).isdecimal()}
