"""The record of a study, by which a later command adds to the same study or is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.configs.differences import as_json, describe_differences, leaves, show
from common.errors import InputError
from common.files.atomic import write_json
from common.files.json_files import read_record as read_json_record
from common.pipeline.data import MANIFEST
from common.study.plan import Grid

RECORD = "study.json"
GRID = ("methods", "labels", "transfer_sizes", "lora_ranks", "seeds")  # the lists of a grid
GRIDS = "grids"  # of all commands: their runs are those of the study, which need not be all combinations

_SETTINGS = "settings.json"
_BEFORE_RECORD = {".lock", "phantoms", MANIFEST}  # what a study has written by then
_SAME = ("bundle", "dataset_dir", "phantoms", "overlay")  # what must not change, besides overrides and configs
_SORTED = ("labels", "transfer_sizes", "seeds")  # of several LoRA ranks the one given first is the reference
_SHOWN = 6  # differences in full: more would scroll the first ones off the screen


def check_folder(study_dir: Path) -> None:
    """Refuse a folder that holds something else than a study.

    Raises:
        InputError: if it does, or is not a folder.
    """
    if study_dir.exists() and not study_dir.is_dir():
        raise InputError(f"--output_dir {study_dir}: is a file; name a folder")
    if (study_dir / RECORD).is_file() or not study_dir.is_dir():
        return
    if any(path.name not in _BEFORE_RECORD for path in study_dir.iterdir()):
        raise InputError(f"--output_dir {study_dir}: holds files but no study ({RECORD}); name a new folder")


def read_record(study_dir: Path) -> dict[str, Any] | None:
    """Return the record of a study, None if there is none yet.

    Raises:
        InputError: if its record is damaged.
    """
    path = study_dir / RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _check_kinds(record)
        return {key: record[key] for key in (*_SAME, "overrides", *GRID, "num_images", GRIDS)}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error!r}): name another --output_dir") from error


def _check_kinds(record: Mapping[str, Any]) -> None:
    grids = [(key, grid[key], list) for grid in record[GRIDS] for key in GRID]
    for key, value, kind in [
        ("overrides", record["overrides"], dict),
        *((key, record[key], list) for key in GRID),
        *grids,
    ]:
        if not isinstance(value, kind):
            raise TypeError(f"{key} is {value!r}")


def describe(
    bundle: str, dataset_dir: Path, phantoms: bool, overlay: list[str], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the record of a study without its grid."""
    place = dataset_dir.name if phantoms else str(dataset_dir)  # phantoms move with the study they belong to
    about = {"bundle": bundle, "dataset_dir": place, "phantoms": phantoms, "overlay": overlay}
    return as_json({**about, "overrides": dict(overrides)})


def check_same(study_dir: Path, record: Mapping[str, Any], configs: Mapping[str, Any]) -> None:
    """Refuse to go on with a study if this command has other settings than earlier ones.

    A larger grid, and a method or stage that the study has not had yet, are allowed.

    Args:
        study_dir: the study.
        record: what :func:`describe` returned for this command.
        configs: the config of each stage by name, as it will be run.

    Raises:
        InputError: naming what differs.
    """
    before = read_record(study_dir)
    if before is None:
        return
    differences = [
        f"{key} was {show(before[key])}, now {show(record[key])}" for key in _SAME if before[key] != record[key]
    ]
    differences += describe_differences(before["overrides"], record["overrides"], "--{}")
    for name, config in _read_settings(study_dir).items():
        if name in configs:
            differences += describe_differences(leaves(config), leaves(as_json(configs[name])), f"{name}: {{}}")
    if differences:
        rest = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise InputError(
            f"{study_dir} holds a study with other settings, and runs of both could not be compared: "
            f"{'; '.join(differences[:_SHOWN])}{rest}. Give the same settings, or another --output_dir"
        )


def transfer_sets_drawn(study_dir: Path) -> bool:
    """Say whether a study has any transfer set yet, whose size then cannot change."""
    return any(study_dir.glob("shared/diffusion_*/transfer/datalist.json"))


def write_record(study_dir: Path, record: Mapping[str, Any], grid: Grid, configs: Mapping[str, Any]) -> None:
    """Write the record of a study: the grid of each command, and all the values that the grids have had."""
    before = read_record(study_dir) or {GRIDS: []}
    now = {key: list(value) for key, value in asdict(grid).items() if key in GRID}
    grids = [each for each in before[GRIDS] if each != now] + [now]
    lists = {key: list(dict.fromkeys(value for each in grids for value in each[key])) for key in GRID}
    for key in _SORTED:
        lists[key].sort()
    write_json(study_dir / _SETTINGS, {**_read_settings(study_dir), **as_json(dict(configs))})
    write_json(study_dir / RECORD, {**record, **lists, "num_images": grid.num_images, GRIDS: grids})


def _read_settings(study_dir: Path) -> dict[str, Any]:
    path = study_dir / _SETTINGS
    return read_json_record(path, values=dict) if path.is_file() else {}
