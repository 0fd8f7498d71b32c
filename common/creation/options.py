"""What a user says of their images on the command line, checked and in one form."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from common.creation.option_tables import read_by_class, read_values
from common.datasets.source import LABEL_FORMATS
from common.errors import InputError

SAME, DIFFERENT = "same", "different"
SEES = ("images", "crops")
DEFAULT_TEACHER = "lite_medsam"
_ENDING = "_segmentation"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says; None where it says nothing.

    Attributes:
        images: folder or datalist.
        labels: folder, or a file of polygons.
        classes: names by id, background first.
        colours: by class, red, green and blue.
        class_files: by class, suffix or folder.
        polygons: by class, its name in the file.
        values: class ids by grey value.
        left_right: "same" if a mirrored image is as likely, "different" if not.
        upside_down: "same" if an image is as likely in any other position, "different" if not.
        others: the rest, by the names of :func:`common.creation.create`.
    """

    name: str
    images: Path
    labels: Path | None = None
    classes: tuple[str, ...]
    label_suffix: str | None = None
    image_suffix: str | None = None
    label_format: str | None = None
    colours: Mapping[str, tuple[int, int, int]] | None = None
    class_files: Mapping[str, str] | None = None
    polygons: Mapping[str, str] | None = None
    values: Mapping[int, int] | None = None
    channels: int | None = None
    patient: str | None = None
    split: str | None = None
    stratum: str | None = None
    field_of_view: str | None = None
    left_right: str | None = None
    upside_down: str | None = None
    size: int | None = None
    see: str | None = None
    pretrained: str | None = None
    num_validation: int | None = None
    title: str | None = None


def read_options(name: str, given: Mapping[str, Any]) -> Options:
    """Return the options of :func:`common.creation.create`, checked one by one.

    Raises:
        InputError: naming the first option that is missing or of no use, with what was expected.
    """
    checked: dict[str, Any] = {"name": _read_name(name), "images": _read_images(given["images"])}
    if given.get("labels") is not None:
        checked["labels"] = _absolute(given["labels"])
        if not checked["labels"].exists():
            meant = _what_was_meant(checked["labels"]) or "; expected the folder of the labels"
            raise InputError(f"--labels: {checked['labels']}: no such folder{meant}")
    checked["classes"] = _read_classes(given.get("classes"))
    for key in ("label_suffix", "image_suffix", "patient", "split", "stratum", "pretrained", "title"):
        if given.get(key) is not None:
            checked[key] = str(given[key])
    if given.get("field_of_view") is not None:
        checked["field_of_view"] = str(given["field_of_view"])
    checked["label_format"] = _choice("label_format", given, LABEL_FORMATS)
    checked["channels"] = _choice("channels", given, (1, 3))
    checked["left_right"] = _choice("left_right", given, (SAME, DIFFERENT))
    checked["upside_down"] = _choice("upside_down", given, (SAME, DIFFERENT))
    checked["see"] = _choice("see", given, SEES)
    checked["size"] = _read_size(given.get("size"))
    checked["num_validation"] = _read_count("num_validation", given.get("num_validation"))
    for key in ("colours", "class_files", "polygons"):
        if given.get(key) is not None:
            checked[key] = read_by_class(key, given[key], checked["classes"])
    if given.get("values") is not None:
        checked["values"] = read_values(given["values"], len(checked["classes"]))
    return Options(**checked)


def as_options(text: str) -> str:
    """Return a text with options in the place of the keys of a source, which have the same names."""
    return re.sub(r"\bsource::(\w+)(?: \(create: --\w+\))?", r"--\1", text)


def _read_name(name: Any) -> str:
    text = str(name)
    if text.endswith(_ENDING):
        raise InputError(f"name: {text!r}: leave out {_ENDING}, which is added: {text.removesuffix(_ENDING)}")
    if re.fullmatch(r"[a-z][a-z0-9_]*", text):
        return text
    simple = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    hint = f", such as {simple}" if re.match(r"[a-z]", simple) else ", such as wounds"
    raise InputError(f"name: {text!r}: expected lower-case letters, digits and _{hint}")


def _absolute(path: Any) -> Path:
    text = ",".join(map(str, path)) if isinstance(path, list) else str(path)  # a comma in the name of a folder
    return Path(os.path.abspath(os.path.expanduser(text)))


def _read_images(value: Any) -> Path:
    path = _absolute(value)
    if not path.exists():
        raise InputError(f"--images: {path}: no such folder or datalist{_what_was_meant(path)}")
    if path.is_file() and path.suffix.lower() not in (".csv", ".json"):
        raise InputError(f"--images: {path}: expected a folder, or a datalist (.csv, .json)")
    return path


def _what_was_meant(path: Path) -> str:
    """Return a hint at what is called nearly as a path that does not exist."""
    near = get_close_matches(path.name, os.listdir(path.parent), n=1) if path.parent.is_dir() else []
    return f"; did you mean {near[0]}?" if near else ""


def _read_classes(value: Any) -> tuple[str, ...]:
    if value is None:
        raise InputError("--classes is missing: name the classes by id, background first, as in background,wound")
    names = [
        str(each).strip()
        for each in (value if isinstance(value, Sequence) and not isinstance(value, str) else str(value).split(","))
    ]
    if len(names) < 2 or not all(names):
        raise InputError(
            f"--classes: expected background and one or more structures, as in background,wound; got {value!r}"
        )
    if len(set(names)) < len(names):
        raise InputError(f"--classes: each name once, got {', '.join(names)}")
    later = [name for name in names[1:] if name.lower() == "background"]
    if later:
        rest = [name for name in names if name not in later]
        raise InputError(f"--classes: {later[0]} comes first, as in {','.join([*later, *rest])}; got {','.join(names)}")
    if len(names) > 256:
        raise InputError(f"--classes: at most 256, got {len(names)}")
    for name in names:
        if name.startswith(("$", "@", "%")) or "#" in name or "::" in name:
            raise InputError(
                f"--classes: {name!r}: configs give $, @, %, # and :: a meaning of their own; leave them out"
            )
    return tuple(names)


def _choice(key: str, given: Mapping[str, Any], allowed: Sequence[Any]) -> Any:
    value = given.get(key)
    if value is not None and (value not in allowed or isinstance(value, bool)):
        raise InputError(f"--{key}: expected {' or '.join(map(str, allowed))}, got {value!r}")
    return value


def _read_size(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or value < 32 or value % 16:
        raise InputError(f"--size: expected pixels a side, a multiple of 16 from 32 on, such as 256; got {value!r}")
    return value


def _read_count(key: str, value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise InputError(f"--{key}: expected a whole number of at least 1, got {value!r}")
    return value
