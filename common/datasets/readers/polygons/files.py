"""Annotation files, whichever tool has written them: the content tells."""

from __future__ import annotations

import csv
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from common.datasets.readers.polygons.annotations import Annotations
from common.datasets.readers.polygons.coco import is_coco, read_coco
from common.datasets.readers.polygons.labelme import is_labelme, read_labelme
from common.datasets.readers.polygons.via import is_via, is_via_table, read_via, read_via_table
from common.errors import InputError

SUFFIXES = (".json", ".csv")
TOOLS = "a CSV or JSON of the VGG Image Annotator, the JSON of COCO, or one of labelme"


def read_annotations(path: str | os.PathLike) -> Annotations:
    """Return what an annotation file says; it is read once, and again after it has changed.

    Raises:
        InputError: if the file cannot be read, or is that of no known tool. What is wrong with single regions is in
            ``faults``.
    """
    path = Path(path)
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _read(path: Path, modified: int, size: int) -> Annotations:
    try:
        if path.suffix.lower() == ".csv":
            if is_via_table(_columns(path)):
                return read_via_table(path)
        else:
            content = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
            for is_its, read in ((is_coco, read_coco), (is_labelme, read_labelme), (is_via, read_via)):
                if is_its(content):
                    return read(content, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply; expected {TOOLS}") from error
    except (ValueError, csv.Error) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError(f"{path}: cannot be read ({error}); expected {TOOLS}") from error
    raise InputError(f"{path}: is of no annotation tool that is known; expected {TOOLS}")


def _columns(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first: list[Any] = next(csv.reader(file), [])
    return [str(each) for each in first]
