"""Rows of datalists: CSV, and JSON as MONAI, the Medical Segmentation Decathlon, nnU-Net and MONAI Label have it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from common.datasets.folder_files.places import split_named
from common.errors import InputError

_DELIMITERS = ",;\t"


class Row(NamedTuple):
    """A row: where it is, for messages, and its values by column."""

    place: str
    values: Mapping[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a datalist; those in a section of a JSON file, such as "training", have it as "split".

    Raises:
        InputError: if it cannot be read, or is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: is not text in UTF-8; save it as UTF-8 ({error})") from error
    return _read_csv(path, text) if path.suffix.lower() == ".csv" else _read_json(path, text)


def _read_csv(path: Path, text: str) -> list[Row]:
    head = next(csv.reader(io.StringIO(text)), [])
    by_delimiter = {each: next(csv.reader(io.StringIO(text), delimiter=each), []) for each in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda each: ("image" in _cleaned(by_delimiter[each]), len(by_delimiter[each])))
    columns = _cleaned(by_delimiter[delimiter])
    if "image" not in columns:
        raise InputError(f"{path}: has no column 'image'; its first row is {', '.join(head) or 'empty'}")
    rows = []
    try:
        for cells in list(csv.reader(io.StringIO(text), delimiter=delimiter))[1:]:
            place = f"{path.name} row {len(rows) + 2}"
            if len(cells) > len(columns):
                raise InputError(f"{path}: row {len(rows) + 2} has {len(cells)} cells, the first {len(columns)}")
            rows.append(Row(place, dict(zip(columns, (cell.strip() for cell in cells), strict=False))))
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error
    return [row for row in rows if any(row.values.values())]


def _cleaned(cells: list[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _read_json(path: Path, text: str) -> list[Row]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
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
        Row(row.place, {"split": split_named(key), **row.values})
        for key, rows in sections.items()
        for row in _as_rows(path, f"{path.name} {key}", rows)
    ]


def _as_rows(path: Path, place: str, rows: list[Any]) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if isinstance(row, str):  # images of the test in the Decathlon, which have no label
            row = {"image": row}
        if not isinstance(row, Mapping):
            raise InputError(f"{path}: {place}[{number}]: expected image and label, got {row!r:.60}")
        values = dict(row)
        if isinstance(values.get("image"), str):
            values["image"] = _first_channel(path.parent, values["image"])
        yield Row(f"{place}[{number}]", values)


def _first_channel(folder: Path, image: str) -> str:
    """Return an image as the folder has it: nnU-Net lists ``imagesTr/a.nii.gz`` for ``imagesTr/a_0000.nii.gz``."""
    name = image.rsplit("/", 1)[-1]
    start, dot, ending = name.partition(".")
    channel = f"{image[: len(image) - len(name)]}{start}_0000{dot}{ending}"
    return channel if not (folder / image).exists() and (folder / channel).exists() else image


def _nnunet_rows(path: Path, content: Mapping[str, Any]) -> list[Row]:
    """Return the rows of nnU-Net's dataset.json: its cases where it lists them, else the files in its folders."""
    ending = str(content["file_ending"])
    listed = content.get("dataset")
    if isinstance(listed, Mapping):
        cases = [{"image": case["images"], "label": case["label"]} for case in listed.values()]
        return [
            Row(f"{path.name} {name}", {"split": "training", **row}) for name, row in zip(listed, cases, strict=True)
        ]
    rows = []
    for images, labels, split in (("imagesTr", "labelsTr", "training"), ("imagesTs", "labelsTs", "test")):
        for image in sorted((path.parent / images).glob(f"*_0000{ending}")):
            name = image.name.removesuffix(f"_0000{ending}")
            label = path.parent / labels / f"{name}{ending}"
            if label.exists():
                values = {"image": f"{images}/{image.name}", "label": f"{labels}/{label.name}", "split": split}
                rows.append(Row(f"{path.name} {name}", values))
            elif split == "training":
                raise InputError(f"{path}: {images}/{image.name} has no label, expected {labels}/{name}{ending}")
    return rows


def _monai_label_rows(path: Path, content: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the rows of MONAI Label's datastore_v2.json: images, and the labels that are final where there are any."""
    for name, entry in content["objects"].items():
        image = f"{name}{entry.get('image', {}).get('ext', '')}"
        final = entry.get("labels", {}).get("final")
        label = {"label": f"labels/final/{name}{final.get('ext', '')}"} if isinstance(final, Mapping) else {"label": ""}
        yield Row(f"{path.name} {name}", {"image": image, **label})
