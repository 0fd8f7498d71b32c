"""Where the files of a folder dataset are, and how its labels are drawn: the ``source`` of a bundle's configs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from typing import Any, Self

from common.errors import InputError

KINDS = ("pictures", "volumes")
LABEL_FORMATS = ("ids", "black_white", "colours", "file_per_class", "polygons")
FOLDER = "folder"  # as a split or a stratum: the folder that an image is in
DATALISTS = (".csv", ".json")
_NEEDED_BY = {"colours": "colours", "file_per_class": "class_files"}  # the key that a label format cannot do without


@dataclass(frozen=True, kw_only=True)
class Source:
    """The files of a folder dataset; every path is relative to its root, with ``/`` between folders.

    Attributes:
        images: a folder, or a datalist file (.csv, .json); "." is the root itself.
        classes: names by id, background first.
        labels: a folder, or a file of polygons; None where labels are where the images are.
        kind: "pictures", or "volumes": NIfTI files or folders of DICOM slices, which are seen slice by slice.
        channels: 1 grey, 3 colour.
        image_suffix: what the stem of an image's file has beyond its name, as nnU-Net's ``_0000``.
        label_suffix: what the stem of a label's file has beyond the name, such as ``_mask``.
        label_format: "ids", "black_white", "colours", "file_per_class" or "polygons".
        colours: by class, three numbers from 0 to 255, for "colours"; background may be missing.
        class_files: by class, the suffix of the stem, or a folder in ``labels`` written with a ``/`` at its end, for
            "file_per_class".
        polygons: by class, what it is called in the file, for "polygons"; None where it is called the same.
        values: class ids by grey value, for "ids"; None where the grey values are the ids.
        patient: a regular expression with one group, searched in an image's name, or a column of the datalist.
        split: a column of the datalist, or "folder"; None: drawn by the seed.
        stratum: a column of the datalist, or "folder".
        field_of_view: a column of the datalist, or a folder of masks; what is not black counts.
    """

    images: str
    classes: tuple[str, ...]
    labels: str | None = None
    kind: str = "pictures"
    channels: int = 3
    image_suffix: str = ""
    label_suffix: str = ""
    label_format: str = "ids"
    colours: dict[str, tuple[int, int, int]] | None = None
    class_files: dict[str, str] | None = None
    polygons: dict[str, str] | None = None
    values: dict[int, int] | None = None
    patient: str | None = None
    split: str | None = None
    stratum: str | None = None
    field_of_view: str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | Source) -> Self:
        """Return the source that a config describes; keys that it lacks have their defaults.

        Raises:
            InputError: naming the key, if one is unknown, missing, of the wrong type, or contradicts another.
        """
        if isinstance(config, cls):
            return config
        if not isinstance(config, Mapping):
            raise InputError(f"source: expected keys and values, as in {{images: photos, ...}}, got {config!r}")
        known = [each.name for each in fields(cls)]
        for key in config:
            if key not in known:
                raise InputError(f"source::{key}: there is no such key; the keys are {', '.join(known)}")
        for key in ("images", "classes"):
            if config.get(key) is None:
                raise InputError(f"source::{key}: is missing; {_MEANING[key]}")
        given = {key: value for key, value in config.items() if value is not None}
        source = cls(**{key: _READ.get(key, _read_text)(key, value) for key, value in given.items()})
        source._check_classes()
        source._check_format()
        source._check_places()
        return source

    def to_config(self) -> dict[str, Any]:
        """Return all keys and values as YAML and JSON can hold them; :meth:`from_config` takes them."""
        config = asdict(self)
        config["classes"] = list(self.classes)
        if self.colours is not None:
            config["colours"] = {name: list(colour) for name, colour in self.colours.items()}
        if self.values is not None:
            config["values"] = {str(grey): index for grey, index in self.values.items()}  # JSON has no other keys
        return config

    @property
    def is_datalist(self) -> bool:
        """Whether ``images`` names a datalist rather than a folder."""
        return PurePosixPath(self.images).suffix.lower() in DATALISTS

    @property
    def dataset_class(self) -> str:
        """The class that reads such a source, for ``data::_target_``."""
        if self.kind == "volumes":
            return "common.datasets.folder_volumes.FolderVolumeDataset"
        return "common.datasets.folder.FolderDataset"

    @property
    def root_is(self) -> str:
        """What the folder is that all paths start from, in words: "the folder that holds photos and masks"."""
        held = [path for path in dict.fromkeys((self.images, self.labels)) if path not in (None, ".")]
        return f"the folder that holds {' and '.join(held)}" if held else "the folder of the images"

    def id_of(self, name: str) -> int:
        """Return the id of a class by its name."""
        return self.classes.index(name)

    def _check_classes(self) -> None:
        for key in ("colours", "class_files", "polygons"):
            for name in getattr(self, key) or ():
                if name not in self.classes:
                    raise InputError(
                        f"source::{key}: {name!r} is no class; source::classes has {', '.join(self.classes)}"
                    )
        for value, index in (self.values or {}).items():
            if not 0 <= index < len(self.classes):
                highest = len(self.classes) - 1
                raise InputError(f"source::values: {value} has class {index}; expected class ids from 0 to {highest}")

    def _check_format(self) -> None:
        form = self.label_format
        needed = _NEEDED_BY.get(form)
        if needed is not None:
            missing = [name for name in self.classes[1:] if name not in (getattr(self, needed) or {})]
            if missing:
                raise InputError(f"source::{needed}: {missing[0]} is missing; {_MEANING[needed]}")
        for key, its in (("values", "ids"), ("colours", "colours"), ("class_files", "file_per_class")):
            if getattr(self, key) is not None and form != its:
                raise InputError(f"source::{key}: is for label_format {its}, not {form}; leave it out")
        if self.polygons is not None and form != "polygons":
            raise InputError(f"source::polygons: is for label_format polygons, not {form}; leave it out")
        if form == "black_white" and len(self.classes) != 2:
            raise InputError(
                f"source::label_format: black_white has two classes, source::classes has {len(self.classes)}; "
                "take ids, colours or file_per_class"
            )
        if self.kind == "volumes" and form in ("colours", "polygons"):
            raise InputError(f"source::label_format: volumes have ids, black_white or file_per_class, not {form}")
        if self.kind == "volumes" and self.channels != 1:
            raise InputError(f"source::channels: volumes have 1 channel, got {self.channels}")

    def _check_places(self) -> None:
        if self.patient is not None and "(" in self.patient:
            try:
                groups = re.compile(self.patient).groups
            except re.error as error:
                raise InputError(f"source::patient: {self.patient!r} is no regular expression ({error})") from error
            if groups != 1:
                raise InputError(f"source::patient: {self.patient!r} has {groups} groups; one says the patient")
        if self.is_datalist:
            return
        for key in ("split", "stratum"):
            value = getattr(self, key)
            if value not in (None, FOLDER):
                raise InputError(f"source::{key}: {value!r} would be a column, but source::images is no datalist")
        if self.patient is not None and "(" not in self.patient:
            raise InputError(
                f"source::patient: {self.patient!r} is no regular expression with a group, such as '^(P[0-9]+)_'; only "
                "a datalist has columns"
            )
        among_images = self.labels is None or self.labels == self.images
        if self.label_format in ("ids", "black_white", "colours") and among_images and not self.label_suffix:
            raise InputError(
                "source::labels: is missing; give the folder of the labels, or label_suffix where they are among images"
            )


def _read_text(key: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise InputError(f"source::{key}: expected a text, got {value!r}")
    return value


def _read_path(key: str, value: Any) -> str:
    path = PurePosixPath(_read_text(key, value))
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"source::{key}: {value!r} must lie in dataset_dir; give its path from there")
    return path.as_posix()


def _read_choice(key: str, value: Any) -> Any:
    if value not in _CHOICES[key] or isinstance(value, bool):
        raise InputError(f"source::{key}: expected {', '.join(map(str, _CHOICES[key]))}, got {value!r}")
    return value


def _read_classes(key: str, value: Any) -> tuple[str, ...]:
    names = tuple(value) if isinstance(value, list | tuple) else ()
    if len(names) < 2 or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"source::{key}: expected background and one or more structures, got {value!r}")
    if len(set(names)) < len(names):
        raise InputError(f"source::{key}: every class once, got {', '.join(names)}")
    for name in names:
        if name[0] in "@$%+~_" or any(sign in name for sign in ("::", "#", ",")):
            raise InputError(f"source::{key}: {name!r} means something else in a config; take letters and digits")
    if len(names) > 256:
        raise InputError(f"source::{key}: at most 256, got {len(names)}")
    return names


def _read_colours(key: str, value: Any) -> dict[str, tuple[int, int, int]]:
    colours: dict[str, tuple[int, int, int]] = {}
    for name, colour in _read_table(key, value).items():
        parts = tuple(colour) if isinstance(colour, list | tuple) else ()
        if len(parts) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in parts):
            raise InputError(f"source::{key}: {name}: expected three numbers from 0 to 255, got {colour!r}")
        same = [other for other, taken in colours.items() if taken == parts]
        if same:
            raise InputError(f"source::{key}: {same[0]} and {name} have one colour, {list(parts)}; give each its own")
        colours[name] = parts
    return colours


def _read_names(key: str, value: Any) -> dict[str, str]:
    table = {name: _read_text(f"{key}::{name}", text) for name, text in _read_table(key, value).items()}
    fold = str.casefold if key == "class_files" else str  # files are found whatever their capitals
    for name, text in table.items():
        same = [other for other in table if other != name and fold(table[other]) == fold(text)]
        if same or not text:
            why = f"is that of {same[0]}, too" if same else "is empty"
            raise InputError(f"source::{key}: {name}: {text!r} {why}; {_MEANING[key]}")
    return table


def _read_values(key: str, value: Any) -> dict[int, int]:
    table = {}
    for grey, index in _read_table(key, value).items():
        if isinstance(grey, str) and grey.isdecimal():
            grey = int(grey)  # as JSON and :meth:`Source.to_config` have it
        if type(grey) is not int or type(index) is not int:
            raise InputError(f"source::{key}: expected class ids by grey value, such as {{85: 1}}, got {value!r}")
        table[grey] = index
    return table


def _read_table(key: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping) or not value:
        raise InputError(f"source::{key}: {_MEANING[key]}, got {value!r}")
    return value


_CHOICES = {"kind": KINDS, "channels": (1, 3), "label_format": LABEL_FORMATS}
_MEANING = {
    "images": "give a folder in dataset_dir, a datalist (.csv, .json), or '.'",
    "classes": "give the names by id, background first, as in [background, wound]",
    "colours": "give a colour for each class, as in {wound: [255, 0, 0]}",
    "class_files": "give each class the suffix or the folder of its files, as in {wound: _wound} or {wound: wound/}",
    "polygons": "give what each class is called in the file, as in {wound: Ulcer}",
    "values": "give class ids by grey value, as in {85: 1, 170: 2}",
}
_READ = {
    "images": _read_path,
    "labels": _read_path,
    "classes": _read_classes,
    "colours": _read_colours,
    "class_files": _read_names,
    "polygons": _read_names,
    "values": _read_values,
    **dict.fromkeys(_CHOICES, _read_choice),
}
