"""The settings that each stage of an output folder was last started with: ``settings.json``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.configs.differences import as_json, describe_differences, leaves
from common.errors import InputError
from common.files.atomic import write_json
from common.files.json_files import read_record
from common.pipeline.stages import STAGES

_RECORD = "settings.json"
_PLACES = ("bundle_root", "dataset_dir", "output_dir")  # a run that was moved is the same
_SHOWN = 3


@contextlib.contextmanager
def noted_settings(output_dir: Path, stage: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Keep with which config a stage is run in here; one that fails without its artefact leaves the record as it was.

    It is written before the stage runs: that of a pipeline which is killed when the stage is done is known, too.

    Raises:
        InputError: if the record is damaged.
    """
    before = _read(output_dir)
    write_json(output_dir / _RECORD, {**before, stage: as_json(dict(config))})
    try:
        yield
    except InputError:
        if (output_dir / STAGES[stage]).exists():
            raise
        if before:
            write_json(output_dir / _RECORD, before)
        else:
            (output_dir / _RECORD).unlink()
        raise


def describe_changes(output_dir: Path, stage: str, config: Mapping[str, Any]) -> str:
    """Return how a config differs from that of the stage which is done; nothing if it does not, or nobody knows.

    Keys of the config itself come first, then those inside of its parts.

    Raises:
        InputError: if the record is damaged.
    """
    before = _read(output_dir).get(stage)
    if before is None:
        return ""
    found = describe_differences(_settings(before), _settings(as_json(dict(config))))
    found.sort(key=lambda each: "::" in each.split(" ")[0])
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return "; ".join(found[:_SHOWN] + more)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return leaves({key: value for key, value in config.items() if key not in _PLACES})


def _read(output_dir: Path) -> dict[str, Any]:
    path = output_dir / _RECORD
    return read_record(path, values=dict) if path.is_file() else {}
