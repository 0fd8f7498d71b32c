"""Where weights come from, as far as it is known: noted on the network, and kept in the file of its weights.

An origin is a dictionary of

- ``teacher``: name of the base that the student's teacher was made of, None where there was no teacher;
- ``fine_tuned``: whether that teacher was fine-tuned before it taught;
- ``initial``: a hash of the weights that training started from, None where they were random;
- ``phantoms``: whether the images of that training were phantoms;

each of them left out where it is not known. A teacher has the one fact ``base`` instead, and ``fine_tuned``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from torch import Tensor, nn

from common.files.fingerprints import state_digest, unwrap

# Of modules; what starts with an underscore is no part of a network's fingerprint.
_NOTE = "_origin"


def note_origin(network: nn.Module, origin: Mapping[str, Any]) -> None:
    """Note an origin on a network in place of an earlier one, and on its layers, some of which may be another's."""
    for module in unwrap(network).modules():
        setattr(module, _NOTE, dict(origin))


def origin_of(network: nn.Module) -> dict[str, Any]:
    """Return the origin that was noted on a network, or else on the first of its layers that has one."""
    noted = (getattr(module, _NOTE, None) for module in unwrap(network).modules())
    return dict(next((origin for origin in noted if origin is not None), {}))


def note_teacher(student: nn.Module, teacher: nn.Module) -> None:
    """Note on a student, or on the part of it that is trained, whom it learns from; nothing, where that is unknown."""
    about = origin_of(teacher)
    known = {"teacher": about["base"], "fine_tuned": about.get("fine_tuned", False)} if "base" in about else {}
    note_origin(student, known)


def with_origin(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's state dict, which carries the network's origin to a file and back."""
    state = unwrap(network).state_dict()
    state.origin = origin_of(network)
    return state


def carried_origin(state: Any) -> dict[str, Any]:
    """Return the origin that a state dict from a file carries; an empty one where it carries none."""
    origin = getattr(state, "origin", None)
    return dict(origin) if isinstance(origin, dict) else {}


def note_data(network: nn.Module, entries: Any) -> None:
    """Note whether a network is trained on phantoms, given a datalist; nothing, where that names no files."""
    origin = origin_of(network)
    origin.pop("phantoms", None)
    images = {each.get("image") for each in entries} if _is_datalist(entries) else set()
    if images and all(isinstance(image, (str, os.PathLike)) for image in images):
        origin["phantoms"] = any(are_phantoms(image) for image in images)
    note_origin(network, origin)


def _is_datalist(entries: Any) -> bool:
    return isinstance(entries, Sequence) and all(isinstance(each, Mapping) for each in entries)


def handed_on(state: Any) -> dict[str, Any]:
    """Return the origin of weights that are trained from a state dict, as far as it is the same."""
    origin = carried_origin(state)
    return {key: origin[key] for key in ("teacher", "fine_tuned") if key in origin} | {"initial": state_digest(state)}


def base_name(pretrained: str | os.PathLike) -> str:
    """Return what to call a base: a hub id as it is, of a path the last part, since the rest says who keeps it."""
    name = str(pretrained)
    is_id = name.count("/") == 1 and not name.startswith(("/", ".", "~"))
    return name if is_id else PurePath(name).name


_PHANTOMS = "PHANTOMS"  # a file


def mark_phantoms(folder: str | Path) -> None:
    """Leave a file in a dataset that says that its images are phantoms, whatever the folder is called."""
    text = "The images here are phantoms: drawn by a program in the layout of a dataset. None is a patient's.\n"
    (Path(folder) / _PHANTOMS).write_text(text, encoding="utf-8")


def are_phantoms(path: str | Path) -> bool:
    """Say whether an image, or a folder of images, lies in a dataset that :func:`mark_phantoms` has marked."""
    places = (Path(os.path.abspath(path)), Path(path).resolve())  # as it was given, and where links lead
    return any((folder / _PHANTOMS).is_file() for place in places for folder in (place, *place.parents))
