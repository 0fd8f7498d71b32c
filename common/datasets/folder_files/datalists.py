"""Datalists: CSV and JSON files that say which files belong together, and what else is known of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.datasets.findings import count, name_some
from common.datasets.folder_files.items import Found, Item
from common.datasets.folder_files.names import name_below, normal, stem_of
from common.datasets.folder_files.places import SPLIT_NAMES, split_named
from common.datasets.folder_files.tables import Cells, Row, column_key, read_rows
from common.datasets.issues import DatasetIssues
from common.datasets.source import FOLDER, Source
from common.errors import InputError

_UNITED = "|"  # between several files in a cell of a CSV


def read_datalist(path: Path, source: Source, root: Path, issues: DatasetIssues) -> Found:
    """Return the images of a datalist with what it says of them.

    A row has the columns ``image`` and ``label``, or for a file per class a column for each class; paths start from the
    datalist's folder or from the root. Further columns are named by the source.

    Args:
        path: the datalist, .csv or .json.
        source: which columns count.
        root: folder of the dataset.
        issues: gets rows that are wrong.

    Raises:
        InputError: if it cannot be read, or lacks a column.
    """
    rows = read_rows(path)
    _check_columns(path, rows, source)
    found = Found()
    reader = _RowReader(path, root, source, issues)
    for row in rows:
        item = reader.read(row)
        if item is None:
            continue
        name = name_below(item.image, root, stem_of(item.image))
        if name in found.items:
            issues.add(f"{row.place}: {name} is there twice; keep one row")
            continue
        found.items[name] = item
        if item.label is None:
            found.unlabelled.append(item.image)
    return found


def _check_columns(path: Path, rows: list[Row], source: Source) -> None:
    if not rows:
        raise InputError(f"{path}: lists no images; expected a row for each, with the columns image and label")
    columns = list(dict.fromkeys(column for row in rows for column in row.values))
    needed = {"image": "image", "patient": source.patient, "split": source.split, "stratum": source.stratum}
    needed["field_of_view"] = source.field_of_view
    for key, column in needed.items():
        if column is None or column == FOLDER or (key == "patient" and "(" in column):
            continue
        if key == "field_of_view" and (path.parent / column).is_dir():
            continue
        if column_key(column) not in map(column_key, columns):
            where = "" if key == "image" else f" (source::{key})"
            raise InputError(f"{path}: has no column '{column}'{where}; its columns are {', '.join(columns)}")
    its_labels = ["label", *(source.class_files or ())]
    if source.labels is None and not {column_key(name) for name in its_labels} & set(map(column_key, columns)):
        expected = " or ".join(f"'{name}'" for name in its_labels)
        raise InputError(f"{path}: has no column {expected} (source::labels); its columns are {', '.join(columns)}")


class _RowReader:
    """Reads rows of a datalist, each by itself."""

    def __init__(self, path: Path, root: Path, source: Source, issues: DatasetIssues) -> None:
        self.folders = (path.parent, root)
        self.root = root
        self.source = source
        self.issues = issues

    def read(self, row: Row) -> Item | None:
        """Return the image of a row; None where there is an issue with it."""
        source, values = self.source, row.values
        issues_before = len(self.issues.messages)
        image = self._file(row, values.get("image"), "image")
        label = self._label(row, image)
        fov = None
        if source.field_of_view is not None and source.field_of_view in values:
            fov = self._file(row, values[source.field_of_view], source.field_of_view)
        facts = {key: self._text(row, getattr(source, key)) for key in ("patient", "stratum")}
        split = self._split(row)
        if image is None or len(self.issues.messages) > issues_before:
            return None
        return Item(image, label, fov, split=split, **facts)

    def _label(self, row: Row, image: Path | None) -> Any:
        if self.source.label_format == "file_per_class":
            listed = row.values.get("label")
            columns = Cells(listed) if isinstance(listed, Mapping) else row.values
            files = {name: self._files(row, columns.get(name), name) for name in self.source.class_files or {}}
            return {name: paths for name, paths in files.items() if paths is not None} or None
        label = self._files(row, row.values.get("label"), "label")
        if label is not None and self.source.label_format == "polygons":
            return {"polygons": label, "image": image}
        return label

    def _files(self, row: Row, value: Any, column: str) -> Path | list[Path] | None:
        """Return the file of a cell, a list where there are several, None where it is empty."""
        texts = value.split(_UNITED) if isinstance(value, str) else value
        if texts is None or texts in ([], [""]):
            return None
        paths = [self._file(row, text, column) for text in (texts if isinstance(texts, list) else [texts])]
        return paths[0] if len(paths) == 1 else [path for path in paths if path is not None]

    def _file(self, row: Row, value: Any, column: str) -> Path | None:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            self.issues.add(f"{row.place}: {column}: expected the path of a file, got {value!r}")
            return None
        path = _find(self.folders, value.strip())
        if path is None:
            self.issues.add(f"{row.place}: {column} {value}: no such file; paths start from the datalist's folder")
        elif path.is_relative_to(self.root):
            return path
        elif path.resolve().is_relative_to(self.root.resolve()):  # an absolute path that knows no links
            return self.root / path.resolve().relative_to(self.root.resolve())
        else:
            self.issues.add(f"{row.place}: {column} {value}: lies outside of {self.root}; copy or link it into there")
        return None

    def _text(self, row: Row, column: str | None) -> str | None:
        if column is None or "(" in column or column not in row.values:
            return None
        text = str(row.values[column]).strip() if row.values[column] is not None else ""
        return normal(text) or None

    def _split(self, row: Row) -> str | None:
        column = self.source.split
        if column in (None, FOLDER):
            return None
        text = str(row.values.get(column) or "")
        split = split_named(text)
        if split is None:
            known = ", ".join(SPLIT_NAMES)
            self.issues.add(f"{row.place}: {column}: expected {known}, got '{text}'")
        return split


def _find(folders: tuple[Path, ...], text: str) -> Path | None:
    """Return the file that a text means, in whatever form its accents are stored, and written on whatever system."""
    spellings = (text, text.replace("\\", "/"))
    for folder in folders:
        for spelling in spellings:
            path = Path(os.path.abspath(folder / spelling))
            if os.path.exists(path):  # also of names that are too long to be any
                return path
    for folder in folders:
        path = Path(os.path.abspath(folder / spellings[1]))
        if os.path.isdir(path.parent):
            same = [each for each in path.parent.iterdir() if normal(each.name) == normal(path.name)]
            if same:
                return same[0]
    return None


def describe_unlabelled(found: Found) -> list[str]:
    """Return a line about images that have no label on purpose."""
    if not found.unlabelled:
        return []
    names = [path.name for path in found.unlabelled]
    return [f"{count(names, 'image')} without a label ({name_some(names)}) are left out until they have one"]
