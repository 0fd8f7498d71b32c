"""What the files of labels look like: facts, from which somebody else concludes how they are to be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from common.datasets.readers.dicom_segmentation import segment_values
from common.datasets.readers.label_formats.black_white import read_black_white, split_shades
from common.datasets.readers.label_formats.colours import Colour, colour_numbers, colour_of
from common.datasets.readers.label_pictures import DARKEST_WHITE, LOSSY_FORMATS, open_label_picture
from common.datasets.readers.nifti import is_volume_file, read_volume
from common.datasets.readers.polygons.files import SUFFIXES, read_annotations
from common.errors import InputError

_MOST_COLOURS = 32
_MOST_VALUES = 256
_CHUNK = 2**22  # pixels


@dataclass
class LabelSurvey:
    """What label files look like.

    Attributes:
        num_files: how many there are.
        num_read: how many of them were read.
        formats: files by format: "PNG", "JPEG", "NIfTI or NRRD", "VGG Image Annotator", "COCO", "labelme", ...
        modes: pictures by Pillow's mode.
        values: share of the pixels by grey value or palette index; empty where a file has colours without a palette.
        colours: share of the pixels of pictures by colour as it is shown, the most frequent first, at most 32.
        num_colours: how many colours there are.
        files_with: in how many files each value, or else each colour, occurs.
        is_grey: whether no picture shows a colour.
        has_palette: whether a picture has a palette.
        shown: by palette index that occurs, the colours that the palettes of these files show it in.
        is_black_white: whether every file can be read as black and white.
        are_ids: whether all values can be class ids: whole, from 0 on, none so high that it would be a white.
        lossy: files whose format alters values.
        faults: why files could not be read.
        names: polygons by what their class is called.
        unnamed: polygons without a class.
        num_images: images that annotation files list.
    """

    num_files: int = 0
    num_read: int = 0
    formats: dict[str, int] = field(default_factory=Counter)
    modes: dict[str, int] = field(default_factory=Counter)
    values: dict[int, float] = field(default_factory=dict)
    colours: dict[Colour, float] = field(default_factory=dict)
    num_colours: int = 0
    files_with: dict[int | Colour, int] = field(default_factory=dict)
    is_grey: bool = True
    has_palette: bool = False
    shown: dict[int, set[Colour]] = field(default_factory=dict)
    is_black_white: bool = False
    are_ids: bool = False
    lossy: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=Counter)
    unnamed: int = 0
    num_images: int = 0

    @property
    def label_formats(self) -> tuple[str, ...]:
        """The values of ``source::label_format`` by which each of these files can be read."""
        if self.num_images:
            return () if self.modes else ("polygons",)
        fits = {
            "ids": self.are_ids,
            "black_white": self.is_black_white,
            "colours": not self.is_grey and not self.lossy and self.num_colours <= _MOST_COLOURS,
        }
        return tuple(name for name, is_so in fits.items() if is_so)


def describe_label_files(paths: Sequence[Path], most: int = 40) -> LabelSurvey:
    """Return what label files look like.

    Args:
        paths: all of them: pictures, volumes, or annotation files.
        most: how many are read, evenly from first to last.
    """
    survey, counts = LabelSurvey(len(paths)), _Counts()
    chosen = sorted({round(place) for place in np.linspace(0, len(paths) - 1, min(most, len(paths)))})
    for path in (paths[place] for place in chosen):
        try:
            if path.suffix.lower() in SUFFIXES:
                _add_annotations(survey, path)
            elif is_volume_file(path):
                _add_volume(survey, counts, path, "NIfTI or NRRD", read_volume(path).values)
            elif path.suffix.lower() == ".dcm":
                _add_volume(survey, counts, path, "DICOM SEG", segment_values(path))
            else:
                _add_picture(survey, counts, path)
        except InputError as error:
            survey.faults.append(str(error))
        else:
            survey.num_read += 1
    counts.describe(survey)
    return survey


class _Counts:
    """Pixels by value and by colour, of all files so far."""

    def __init__(self) -> None:
        self.values: Counter[int] = Counter()
        self.colours: Counter[Colour] = Counter()
        self.files_with_value: Counter[int] = Counter()
        self.files_with_colour: Counter[Colour] = Counter()
        self.has_values = self.are_black_white = self.are_whole = True

    def add_values(self, values: np.ndarray) -> None:
        found, counts = np.unique(values, return_counts=True)
        if not (found == np.round(found)).all():
            self.are_whole = False
            return
        own = dict(zip(found.astype(int).tolist(), counts.tolist(), strict=True))
        self.values.update(own)
        self.files_with_value.update(own.keys())

    def add_colours(self, numbers: np.ndarray) -> None:
        found, counts = _count(numbers)
        own = {colour_of(number): count for number, count in zip(found.tolist(), counts.tolist(), strict=True)}
        self.colours.update(own)
        self.files_with_colour.update(own.keys())

    def describe(self, survey: LabelSurvey) -> None:
        """Write into a survey what was counted."""
        if not self.values and not self.colours:
            return
        pixels, coloured = sum(self.values.values()), sum(self.colours.values())
        values = self.values if self.has_values else Counter[int]()
        most = sorted(value for value, _ in values.most_common(_MOST_VALUES))
        survey.values = {value: values[value] / pixels for value in most}
        frequent = self.colours.most_common(_MOST_COLOURS)
        survey.colours = {colour: count / coloured for colour, count in frequent}
        survey.num_colours = len(self.colours)
        if survey.values:
            survey.files_with = {value: self.files_with_value[value] for value in survey.values}
        else:
            survey.files_with = {colour: self.files_with_colour[colour] for colour in survey.colours}
        survey.is_black_white = self.are_black_white
        possible = values and self.are_whole and not survey.lossy and min(values) >= 0
        survey.are_ids = bool(possible) and max(values) < DARKEST_WHITE


def _count(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of a picture and their pixels; of a large one without sorting it."""
    if numbers.size < _CHUNK:
        return np.unique(numbers, return_counts=True)
    flat = numbers.ravel()
    counts = np.zeros(2**24, int)
    for start in range(0, flat.size, _CHUNK):
        counts += np.bincount(flat[start : start + _CHUNK], minlength=2**24)
    found = np.flatnonzero(counts)
    return found, counts[found]


def _add_picture(survey: LabelSurvey, counts: _Counts, path: Path) -> None:
    picture = open_label_picture(path).image
    survey.formats[picture.format or "picture"] += 1
    survey.modes[picture.mode] += 1
    if picture.format in LOSSY_FORMATS:
        survey.lossy.append(str(path))
    bands, deep = len(picture.getbands()), picture.mode in ("I", "F") or picture.mode.startswith("I;16")
    is_grey = True
    if not deep:
        numbers = colour_numbers(picture, path)
        counts.add_colours(numbers)
        is_grey = bool(((numbers >> 8) == (numbers & 0xFF) * 257).all())
        survey.is_grey &= is_grey
    if picture.mode == "P":
        survey.has_palette = True
        _add_palette(survey, picture)
    if bands == 1:
        counts.add_values(np.asarray(picture))
    elif is_grey:
        counts.add_values(numbers & 0xFF)
    else:
        counts.has_values = False
    try:
        read_black_white(path)
    except InputError:  # which is what is asked
        counts.are_black_white = False


def _add_palette(survey: LabelSurvey, picture: Image.Image) -> None:
    colours = np.array(picture.getpalette("RGB")).reshape(-1, 3).tolist()
    used = np.flatnonzero(np.bincount(np.asarray(picture).ravel(), minlength=len(colours)))
    for index in used[used < len(colours)].tolist():
        survey.shown.setdefault(index, set()).add(tuple(colours[index]))


def _add_volume(survey: LabelSurvey, counts: _Counts, path: Path, form: str, values: np.ndarray) -> None:
    survey.formats[form] += 1
    counts.add_values(values)
    try:
        split_shades(values, path)
    except InputError:  # which is what is asked
        counts.are_black_white = False


def _add_annotations(survey: LabelSurvey, path: Path) -> None:
    annotations = read_annotations(path)
    survey.formats[annotations.tool] += 1
    survey.faults += annotations.faults
    survey.num_images += len(annotations.regions)
    survey.unnamed += annotations.num_unnamed
    for names in annotations.names().values():
        survey.names.update(names)
