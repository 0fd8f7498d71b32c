"""Which method prepared the student of an output folder: ``method.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.distillation.methods import PROPOSED, Method
from common.errors import InputError
from common.files.atomic import write_json
from common.files.json_files import read_record
from common.pipeline.stages import STAGES

_RECORD = "method.json"


def prepares_student(stage: str, method: Method) -> bool:
    """Say whether this is the first stage in which students of different methods differ."""
    return stage == ("train" if method.config is None else "distill")


def check_method(output_dir: Path, stages: Sequence[str], method: Method) -> None:
    """Refuse a folder with the student of another method, whose preparation would be skipped as done.

    Raises:
        InputError: if the folder has one, and one of the stages prepares a student.
    """
    if not any(prepares_student(stage, method) for stage in stages):
        return
    path = output_dir / _RECORD
    if path.is_file():
        found = read_record(path, "method")["method"]
    else:  # a student that was prepared by distill.yaml alone
        found = PROPOSED if (output_dir / STAGES["distill"]).exists() else method.name
    if found != method.name:
        raise InputError(
            f"output_dir: {output_dir} has the student of method {found}; choose another folder for method "
            f"{method.name}"
        )


def note_method(output_dir: Path, method: Method) -> None:
    """Write which method prepares the student of the folder."""
    write_json(output_dir / _RECORD, {"method": method.name})
