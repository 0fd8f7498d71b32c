"""Datalists of phantoms."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.datasets.source import FOLDER, Source


def write_list(path: Path, source: Source, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the datalist of phantoms, with the columns that the source names.

    Args:
        path: .csv or .json.
        source: names the columns.
        rows: paths from the root, with "split", "stratum", "patient" and "fov".
    """
    named = {"patient": source.patient, "split": source.split, "stratum": source.stratum, "fov": source.field_of_view}
    columns = {key: column for key, column in named.items() if column not in (None, FOLDER) and "(" not in column}
    files = [key for key in ("image", "label", *source.classes) if key in rows[0]]
    table = [
        {**{key: row[key] for key in files}, **{column: row[key] for key, column in columns.items() if key in row}}
        for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    up = "../" * len(path.relative_to(path.parents[len(Path(source.images).parts) - 1]).parts[:-1])
    for row in table:
        for key in (*files, source.field_of_view):
            if key in row:
                row[key] = f"{up}{row[key]}"
    if path.suffix.lower() == ".json":
        path.write_text(json.dumps({"training": table}, indent=1) + "\n", encoding="utf-8")
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
