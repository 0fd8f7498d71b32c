"""What differs between the output folder of a run that was killed and that of one that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

LEFTOVERS = (".partial", ".outdated", ".tmp")  # endings of names that nothing may have when a run has ended
_OWN = ("logs", "tensorboard")  # each start adds to these: times, and one event file each
_TIMES = ("second", "time", "date", "measured_alone")  # parts of the names of what a clock says, or other work
_SECONDS = "seconds.json"  # where a clock says all; of a stage that is killed when all else is done it says nothing


class Difference(NamedTuple):
    """What is not as it should be: paths, and for different files why."""

    different: list[str]
    left_behind: list[str]


def compare_folders(folder: Path, reference: Path) -> Difference:
    """Compare all files of a folder with those of a reference: tensors bit for bit, JSON without what a clock says.

    Of logs and of TensorBoard's files only the folders are compared.
    """
    found, expected = _files(folder), _files(reference)
    left = sorted(found - expected) + sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name.endswith(LEFTOVERS)
    )
    different = [f"{name} is missing" for name in sorted(expected - found - {_SECONDS})]
    for name in sorted(found & expected - {_SECONDS}):
        if not _same_file(folder / name, reference / name):
            different.append(f"{name} differs")
    return Difference(different, list(dict.fromkeys(left)))


def _files(folder: Path) -> set[str]:
    """Return the names of files relative to the folder; of the folders that each start adds to, their own names."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {"/".join(name.parts[:2]) if name.parts[0] in _OWN else name.as_posix() for name in names}


def _same_file(one: Path, other: Path) -> bool:
    if one.is_dir() or one.parent.name in _OWN:
        return True
    if one.read_bytes() == other.read_bytes():
        return True
    if one.suffix == ".pt":
        return same_state(*(torch.load(path, map_location="cpu", weights_only=True) for path in (one, other)))
    if one.suffix == ".json":
        return _without_times(json.loads(one.read_text())) == _without_times(json.loads(other.read_text()))
    return False


def same_state(one: Any, other: Any) -> bool:
    """Compare nested states bit for bit; a NaN equals a NaN of the same bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_state, one, other))
    if isinstance(one, torch.Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return torch.equal(*(each.contiguous().reshape(-1).view(torch.uint8) for each in (one, other)))
    return one == other


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if not any(part in key.lower() for part in _TIMES)}
        names = sorted(value.keys() - kept.keys())
        return {**{key: _without_times(each) for key, each in kept.items()}, "times": names}
    return [_without_times(each) for each in value] if isinstance(value, list) else value
