"""The seconds that each stage took, in all runs that ended well: ``seconds.json``."""

from __future__ import annotations

from pathlib import Path

from common.files.atomic import write_json
from common.files.json_files import read_record

_RECORD = "seconds.json"


def read_seconds(output_dir: Path) -> dict[str, float]:
    """Return the seconds of each stage that ended well in a folder.

    Raises:
        InputError: if the record is damaged.
    """
    path = output_dir / _RECORD
    return read_record(path, values=(int, float)) if path.is_file() else {}


def add_seconds(output_dir: Path, stage: str, seconds: float) -> None:
    """Add to the seconds of a stage."""
    spent = read_seconds(output_dir)
    spent[stage] = round(spent.get(stage, 0) + seconds, 1)
    write_json(output_dir / _RECORD, spent)
