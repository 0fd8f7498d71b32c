"""Rows of datalists: CSV, and JSON as MONAI, the Medical Segmentation Decathlon, nnU-Net and MONAI Label have it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from common.datasets.folder_files.places import split_named
from common.errors import InputError

_DELIMITERS = ",;\t"
_SEPARATOR = re.compile(r"sep=(.)\n", re.IGNORECASE)  # the line before the columns by which Excel knows its own files


class Cells(Mapping[str, Any]):
    """The values of a row by column; capitals and spaces around a column's name do not matter.

    Args:
        values: by column as it is written, no two of which differ in capitals and spaces alone.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {column_key(column): value for column, value in values.items()}
        self._columns = tuple(values)

    def __getitem__(self, column: str) -> Any:
        return self._values[column_key(column)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def column_key(column: Any) -> str:
    """Return what columns are compared by."""
    return str(column).strip().casefold()


class Row(NamedTuple):
    """A row: where it is, for messages, and its values by column."""

    place: str
    values: Cells


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a datalist; those in a section of a JSON file, such as "training", have it as "split".

    Raises:
        InputError: if it cannot be read, or is none.
    """
    return _read_csv(path, _read_text(path)) if path.suffix.lower() == ".csv" else _read_json(path, parse_json(path))


def parse_json(path: Path) -> Any:
    """Return what a datalist in JSON says.

    Raises:
        InputError: if it cannot be read, or is no JSON.
    """
    text = _read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = _find_twice(key for key, _ in pairs)
    if twice is not None:
        raise ValueError(f"'{twice}' is there twice in one object")
    return dict(pairs)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: is not text in UTF-8; save it as UTF-8 ({error})") from error


def _read_csv(path: Path, text: str) -> list[Row]:
    told = _SEPARATOR.match(text)
    text = text[told.end() :] if told else text
    try:
        heads = {each: next(_cells_of(text, each, strict=False), []) for each in (told[1] if told else _DELIMITERS)}
        delimiter = max(heads, key=lambda each: ("image" in map(column_key, heads[each]), len(heads[each])))
        _check_head(path, heads[delimiter])
        lines = list(_cells_of(text, delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); a quote may be missing") from error
    columns, *others = lines
    rows = []
    for number, cells in enumerate(others, start=2):
        if len(cells) > len(columns):
            raise InputError(f"{path}: row {number} has {len(cells)} cells, the first {len(columns)}")
        filled = [*cells, *[""] * (len(columns) - len(cells))]
        if any(filled):
            values = {column: cell for column, cell in zip(columns, filled, strict=True) if column}
            rows.append(Row(f"{path.name} row {number}", Cells(values)))
    return rows


def _cells_of(text: str, delimiter: str, strict: bool) -> Iterator[list[str]]:
    """Yield the cells of each line, without the empty ones at its end that spreadsheets add.

    Raises:
        csv.Error: if a cell is too long, as all rows are after a quote that does not end; if ``strict``, also if one
            does not end, or ends within a cell.
    """
    for line in csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=strict):
        cells = [cell.strip() for cell in line]
        while cells and not cells[-1]:
            cells.pop()
        yield cells


def _check_head(path: Path, columns: list[str]) -> None:
    """Refuse columns of which none is the image, or two are one.

    Raises:
        InputError: naming the columns, or the one that is there twice.
    """
    keys = [column_key(column) for column in columns if column]
    if "image" not in keys:
        raise InputError(f"{path}: has no column 'image'; its first row is {', '.join(columns) or 'empty'}")
    twice = _find_twice(keys)
    if twice is not None:
        raise InputError(f"{path}: has the column '{twice}' twice; rename or remove one")


def _find_twice(keys: Iterable[str]) -> str | None:
    return next((key for key, times in Counter(keys).items() if times > 1), None)


def _read_json(path: Path, content: Any) -> list[Row]:
    if isinstance(content, list):
        return list(_as_rows(path, path.name, content))
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected a list of images, or sections such as training, got {content!r:.60}")
    if isinstance(content.get("objects"), Mapping):
        return list(_monai_label_rows(path, content))
    if "file_ending" in content:
        return _nnunet_rows(path, content)
    sections = {key: rows for key, rows in content.items() if split_named(key) and isinstance(rows, list)}
    if not sections:
        known = ", ".join(map(str, content))
        raise InputError(f"{path}: has no list 'training'; it has {known}, which is no datalist known here")
    return [
        Row(row.place, Cells({"split": split_named(key), **row.values}))
        for key, rows in sections.items()
        for row in _as_rows(path, f"{path.name} {key}", rows)
    ]


def _as_rows(path: Path, place: str, rows: list[Any]) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if isinstance(row, str):  # images of the test in the Decathlon, which have no label
            row = {"image": row}
        if not isinstance(row, Mapping):
            raise InputError(f"{path}: {place}[{number}]: expected image and label, got {row!r:.60}")
        for keys in (row, *(value for value in row.values() if isinstance(value, Mapping))):  # labels by class
            twice = _find_twice(map(column_key, keys))
            if twice is not None:
                raise InputError(f"{path}: {place}[{number}] has '{twice}' twice; rename or remove one")
        values = {"image" if column_key(key) == "image" else key: value for key, value in row.items()}
        if isinstance(values.get("image"), str):
            values["image"] = _first_channel(path.parent, values["image"])
        yield Row(f"{place}[{number}]", Cells(values))


def _first_channel(folder: Path, image: str) -> str:
    """Return an image as the folder has it: nnU-Net lists ``imagesTr/a.nii.gz`` for ``imagesTr/a_0000.nii.gz``."""
    name = image.rsplit("/", 1)[-1]
    start, dot, ending = name.partition(".")
    channel = f"{image[: len(image) - len(name)]}{start}_0000{dot}{ending}"
    there, also_there = (os.path.exists(folder / each) for each in (image, channel))  # False for impossible names
    return channel if also_there and not there else image


def _nnunet_rows(path: Path, content: Mapping[str, Any]) -> list[Row]:
    """Return the rows of nnU-Net's dataset.json: its cases where it lists them, else the files in its folders."""
    ending = str(content["file_ending"])
    if "/" in ending or not ending.startswith("."):
        raise InputError(f"{path}: file_ending: expected an ending such as .nii.gz, got {ending!r}")
    listed = content.get("dataset")
    if isinstance(listed, Mapping):
        for name, case in listed.items():
            if not isinstance(case, Mapping) or not case.keys() >= {"images", "label"}:
                raise InputError(f"{path}: dataset: {name}: expected images and label, got {case!r:.60}")
        cases = [{"image": case["images"], "label": case["label"]} for case in listed.values()]
        return [
            Row(f"{path.name} {name}", Cells({"split": "training", **row}))
            for name, row in zip(listed, cases, strict=True)
        ]
    rows = []
    for images, labels, split in (("imagesTr", "labelsTr", "training"), ("imagesTs", "labelsTs", "test")):
        for image in sorted((path.parent / images).glob(f"*_0000{ending}")):
            name = image.name.removesuffix(f"_0000{ending}")
            label = path.parent / labels / f"{name}{ending}"
            if label.exists():
                values = {"image": f"{images}/{image.name}", "label": f"{labels}/{label.name}", "split": split}
                rows.append(Row(f"{path.name} {name}", Cells(values)))
            elif split == "training":
                raise InputError(f"{path}: {images}/{image.name} has no label, expected {labels}/{name}{ending}")
    return rows


def _monai_label_rows(path: Path, content: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the rows of MONAI Label's datastore_v2.json: images, and the labels that are final where there are any."""
    for name, entry in content["objects"].items():
        image, labels = (entry.get(key, {}) if isinstance(entry, Mapping) else None for key in ("image", "labels"))
        if not isinstance(image, Mapping) or not isinstance(labels, Mapping):
            raise InputError(f"{path}: objects: {name}: expected its image and labels, got {entry!r:.60}")
        image, final = f"{name}{image.get('ext', '')}", labels.get("final")
        label = {"label": f"labels/final/{name}{final.get('ext', '')}"} if isinstance(final, Mapping) else {"label": ""}
        yield Row(f"{path.name} {name}", Cells({"image": image, **label}))
