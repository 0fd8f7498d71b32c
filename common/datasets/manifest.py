"""What a check has read, so that the next one need not read it again.

Files are known by size and time of change, as make and rsync know them: hashing them would take as long as reading.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.datasets.findings import Findings
from common.files.atomic import is_writer, write_json

_VERSION = 3  # to be raised when a check learns to find more: what earlier ones have passed is then read again
_FINDINGS = "findings"


def make_manifest(dataset: str, keys: Mapping[str, Any], folder: Path, files: Iterable[Path]) -> dict[str, Any]:
    """Return the manifest of a dataset as it is now.

    Args:
        dataset: its name.
        keys: what decides, beside the files, what a check reads and expects, such as a task.
        folder: the dataset's root, so that a dataset that is moved as a whole need not be read again.
        files: what a check reads.
    """
    listed = {Path(os.path.relpath(file, folder)).as_posix(): _state_of(file) for file in files}
    return {"version": _VERSION, "dataset": dataset, "keys": dict(keys), "files": dict(sorted(listed.items()))}


def read_findings(manifest: Mapping[str, Any], path: str | os.PathLike) -> Findings | None:
    """Return what was found in the files of a manifest, or None if a file is missing, damaged, or holds another one."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # not JSON, or not even text
        return None
    if not isinstance(record, dict) or {key: record[key] for key in record if key != _FINDINGS} != manifest:
        return None
    return Findings.from_record(record.get(_FINDINGS))


def write_manifest(manifest: Mapping[str, Any], findings: Findings, path: str | os.PathLike) -> None:
    """Write a manifest in place of an earlier one; of several processes, the first one does."""
    if is_writer():
        write_json(path, {**manifest, _FINDINGS: findings.to_record()})


def _state_of(file: Path) -> list[int] | None:
    try:
        state = file.stat()
    except OSError:  # reading it will say why
        return None
    return [state.st_size, state.st_mtime_ns]
