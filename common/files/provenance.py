"""How weights were made, as far as it is known: a JSON file beside them, which holds for these weights alone.

``model.provenance.json`` says about ``model.pt`` such facts as

- ``teacher``: name of the base that the student's teacher was made of; None where there was no teacher;
- ``teacher_card``: what is public about that base, such as its licence and what it was trained on;
- ``fine_tuned``: whether that teacher was fine-tuned before it taught;
- ``method``: what prepared the student before it was trained on labels; None where nothing did;
- ``initial``: a hash of the weights that training began with; None where they were random;
- ``phantoms``: whether the images of that training were phantoms;
- ``dataset`` and ``bundle``: the kind of dataset, "folder" where it is of your own, and the bundle of the training;

and whatever else a stage passes, such as classes, image size, and what else it takes to use the weights without their
bundle. A fact that is not known is left out. The file also
has a hash of the weights: beside others, such as those of a later training, it says nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from torch import Tensor

from common.errors import InputError
from common.files.atomic import write_json
from common.files.checkpoints import read_checkpoint
from common.files.fingerprints import state_digest
from common.files.json_files import read_json
from common.files.phantom_mark import are_phantoms

_HANDED_ON = ("teacher", "teacher_card", "fine_tuned", "method")
_OF_TEACHER = {"teacher": "base_name", "teacher_card": "card"}  # as teacher.json has them


def provenance_path(weights: str | os.PathLike) -> Path:
    """Return the file that has the provenance of a file of weights."""
    return Path(weights).with_suffix(".provenance.json")


def read_provenance(weights: str | os.PathLike) -> dict[str, Any]:
    """Return what is known of a file of weights; nothing where it has no provenance, or that of other weights.

    Raises:
        InputError: if one of the two files is damaged.
    """
    path = provenance_path(weights)
    if not path.is_file():
        return {}
    content = _read_json(path)
    state = read_checkpoint(weights)
    is_same = _is_state(state) and content.get("weights") == state_digest(state)
    return dict(content.get("provenance", {})) if is_same else {}


def write_provenance(
    weights: str | os.PathLike, provenance: Mapping[str, Any] | None, state: Mapping[str, Tensor]
) -> None:
    """Write what is known of weights that are, or will be, in a file; nothing, and no earlier record, if nothing is.

    Args:
        weights: the file of the weights.
        provenance: numbers, strings, lists and mappings by name.
        state: the state dict that the file has, or is about to have.
    """
    path = provenance_path(weights)
    if not provenance:
        path.unlink(missing_ok=True)
        return
    content = {"weights": state_digest(state), "provenance": dict(provenance)}
    write_json(path, content)


def of_teacher(folder: str | os.PathLike, method: str = "task_specific_kd") -> dict[str, Any]:
    """Return the provenance of a student of a fine-tuned teacher.

    Args:
        folder: the teacher's, whose ``teacher.json`` has the name of its base and its card, if it has them.
        method: what the student learns by.

    Raises:
        InputError: if there is no teacher in the folder, or its ``teacher.json`` is damaged.
    """
    path = Path(folder) / "teacher.json"
    if not path.is_file():
        raise InputError(f"there is no fine-tuned teacher in {folder} (no teacher.json): run finetune_teacher first")
    described = _read_json(path)
    known = {fact: described[key] for fact, key in _OF_TEACHER.items() if described.get(key)}
    return known | {"fine_tuned": True, "method": method}


def of_training(
    initial_weights: str | os.PathLike | None, entries: Sequence[Mapping[str, Any]], **facts: Any
) -> dict[str, Any]:
    """Return the provenance of weights that are trained on labelled images.

    Args:
        initial_weights: the file that training begins with, whose teacher and method are handed on; None for random
            weights.
        entries: a MONAI datalist.
        facts: what else to record, by name: numbers, strings, lists and mappings.

    Raises:
        InputError: if ``initial_weights`` or its provenance cannot be read.
        TypeError: if a fact cannot be written as JSON.
    """
    if initial_weights is None:
        before: dict[str, Any] = {"teacher": None, "fine_tuned": False, "method": None, "initial": None}
    else:
        known = read_provenance(initial_weights)
        before = {name: known[name] for name in _HANDED_ON if name in known}
        state = read_checkpoint(initial_weights, made_by="distill")
        if not _is_state(state):
            raise InputError(f"initial_weights: {initial_weights} does not hold the weights of a network by name")
        before["initial"] = state_digest(state)
    images = [path for entry in entries for path in _paths(entry.get("image"))]
    phantoms = {"phantoms": any(are_phantoms(image) for image in dict.fromkeys(images))} if images else {}
    return json.loads(json.dumps(before | phantoms | facts))  # as it will be read, and refused now rather than later


def recorded(weights: str | os.PathLike | None, name: str, default: Any) -> Any:
    """Return one fact about weights, or ``default`` where it is not known or there are no weights."""
    return read_provenance(weights).get(name, default) if weights and Path(weights).is_file() else default


def base_name(pretrained: str | os.PathLike) -> str:
    """Return what to call a base: a hub id as it is, of a path the last part, since the rest says who keeps it."""
    name = str(pretrained)
    is_id = name.count("/") == 1 and not name.startswith(("/", ".", "~"))
    return name if is_id else PurePath(name).name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): delete it, or run the stage that wrote it again") from error
    if not isinstance(content, dict) or not isinstance(content.get("provenance", {}), dict):
        raise InputError(f"{path} is damaged: delete it, or run the stage that wrote it again")
    return content


def _is_state(state: Any) -> bool:
    return isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values())


def _paths(image: Any) -> Iterator[str | os.PathLike]:
    """Yield the paths that stand for an image in a datalist; none where it is there itself."""
    if isinstance(image, (str, os.PathLike)):
        yield image
    elif isinstance(image, (list, tuple)):
        for part in image:
            yield from _paths(part)
