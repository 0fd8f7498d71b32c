"""How the classes are drawn in the files of the labels: what follows from the files, or a question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from common.creation.options import Options
from common.datasets.readers.label_survey import LabelSurvey
from common.errors import InputError

_POLYGON_TOOLS = ("VGG Image Annotator", "COCO", "labelme")
_MOST_LISTED = 8


class LabelChoice(NamedTuple):
    """How labels are read.

    Attributes:
        settings: keys of the source, ``label_format`` and what belongs to it.
        shown: for the table.
        why: likewise.
    """

    settings: dict[str, Any]
    shown: str
    why: str


def choose_labels(options: Options, survey: LabelSurvey, class_files: Mapping[str, str] | None = None) -> LabelChoice:
    """Return how labels are read.

    Args:
        options: what the user said, which counts more than what is found.
        survey: what the files are like.
        class_files: by class, what the names of files say, where every class seems to have its own.

    Raises:
        InputError: with a question in one line where several readings fit, or none.
    """
    if survey.num_read == 0 and survey.faults:
        raise InputError(f"--labels: {survey.faults[0]}")
    if options.label_format is not None or _named_by_option(options):
        return _as_told(options, survey, class_files)
    if any(tool in survey.formats for tool in _POLYGON_TOOLS):
        return _choose_polygons(options, survey)
    if class_files is not None:
        listed = ", ".join(f"{name}: {text}" for name, text in class_files.items())
        return LabelChoice(
            {"label_format": "file_per_class", "class_files": dict(class_files)},
            "one file per class",
            f"by name: {listed}",
        )
    if survey.colours and not survey.is_grey and not survey.values and "black_white" not in survey.label_formats:
        raise InputError(_ask_for_colours(options, survey))
    return _choose_greys(options, survey)


def _named_by_option(options: Options) -> bool:
    return any(getattr(options, key) is not None for key in ("colours", "class_files", "polygons", "values"))


def _as_told(options: Options, survey: LabelSurvey, class_files: Mapping[str, str] | None) -> LabelChoice:
    given = {key: getattr(options, key) for key in ("colours", "class_files", "polygons", "values")}
    told = {key: dict(value) for key, value in given.items() if value is not None}
    implied = {"colours": "colours", "class_files": "file_per_class", "polygons": "polygons", "values": "ids"}
    form = options.label_format or implied[next(iter(told))]
    wrong = [key for key in told if implied[key] != form]
    if wrong:
        raise InputError(f"--{wrong[0]}: is for labels of the format {implied[wrong[0]]}, not {form}; leave one out")
    if form == "file_per_class" and not told and class_files is not None:
        told = {"class_files": dict(class_files)}
    if form == "colours" and not told:
        raise InputError(_ask_for_colours(options, survey))
    if form == "file_per_class" and not told:
        raise InputError(
            "--class_files is missing: give what the names of each class's files end in, such as wound=_wound"
        )
    if form == "polygons" and not told:
        return _choose_polygons(options, survey)
    if form == "black_white" and len(options.classes) > 2:
        raise InputError(f"--label_format black_white: has two classes, --classes names {len(options.classes)}")
    by = "--label_format" if options.label_format else f"--{next(iter(told))}"
    return LabelChoice({"label_format": form, **told}, _SHOWN[form], f"as {by} says")


def _choose_polygons(options: Options, survey: LabelSurvey) -> LabelChoice:
    structures, names = options.classes[1:], survey.names
    tool = next((each for each in _POLYGON_TOOLS if each in survey.formats), "polygons")
    known = {name for name in names if name in structures}
    if set(names) <= set(structures):
        shown = ", ".join(f"{name} ({names[name]})" for name in names) or "none has a name"
        if not names and len(structures) > 1:
            raise InputError(
                f"--labels: polygons have no names, --classes names {len(structures)} structures; name them"
            )
        return LabelChoice({"label_format": "polygons"}, f"polygons of {tool}", shown)
    if len(names) == 1 and len(structures) == 1 and not survey.unnamed:
        (name,) = names
        return LabelChoice(
            {"label_format": "polygons", "polygons": {structures[0]: name}},
            f"polygons of {tool}",
            f"all are called {name}: {structures[0]}",
        )
    listed = ", ".join(f"{name} ({count})" for name, count in names.items())
    example = ",".join(f"{name}={name if name in known else '...'}" for name in structures)
    raise InputError(f"--labels: polygons are called {listed}; which is which class? Give --polygons {example}")


def _choose_greys(options: Options, survey: LabelSurvey) -> LabelChoice:
    """Choose among class ids, and black and white."""
    num_classes, values = len(options.classes), survey.values
    if num_classes == 2 and "black_white" in survey.label_formats:
        why = f"white is {options.classes[1]}"
        if survey.lossy:
            some = f"{len(survey.lossy)} of " if len(survey.lossy) < survey.num_read else "all "
            why += f"; {some}{survey.num_read} looked at are stored with loss, as JPEG is, which blurs edges"
        return LabelChoice({"label_format": "black_white"}, _SHOWN["black_white"], why)
    highest = max(values, default=0)
    if "ids" in survey.label_formats and highest < num_classes:
        _ask_about_palettes(options, survey)
        listed = ", ".join(f"{index} {name}" for index, name in enumerate(options.classes))
        return LabelChoice({"label_format": "ids"}, _SHOWN["ids"], listed)
    if not values and not survey.colours:
        raise InputError(
            "--labels: labels have values that are no whole numbers; expected class ids from 0 on, or black and white: "
            "save them so"
        )
    if survey.is_black_white and num_classes > 2:
        raise InputError(
            f"--labels: labels are black and white, --classes names {num_classes}: give --class_files if every "
            "structure has its own file, or name two classes"
        )
    if not values:
        raise InputError(_ask_for_colours(options, survey))
    raise InputError(_ask_for_values(options, survey))


def _ask_about_palettes(options: Options, survey: LabelSurvey) -> None:
    """Ask what counts, palette indices or what is shown, where these contradict each other.

    Raises:
        InputError: if files show one index in several colours, or white and black mean the reverse of 0 and 1.
    """
    for index, colours in sorted(survey.shown.items()):
        if len(colours) > 1:
            first, second = map(hex_of, sorted(colours, reverse=True)[:2])
            shares = {hex_of(colour): share for colour, share in survey.colours.items()}
            raise InputError(
                f"--labels: palettes differ, some files show the value {index} as {first}, others as {second}: give "
                f"--colours {_examples_of_colours(options, shares)} if colours are the classes, as far as that is "
                "right, or --label_format ids if values are"
            )
    black, white = ({colour} for colour in ((0, 0, 0), (255, 255, 255)))
    if survey.shown.get(0) == white and survey.shown.get(1) == black and len(options.classes) == 2:
        background, structure = options.classes
        raise InputError(
            f"--labels: the palette shows the value 0 as white and 1 as black: which is {structure}? Give --colours "
            f"{background}=#000000,{structure}=#ffffff if white is, --label_format ids if black is"
        )


def _ask_for_values(options: Options, survey: LabelSurvey) -> str:
    values = sorted(survey.values)
    listed = _list({f"{value}": survey.values[value] for value in values})
    if survey.lossy:
        return f"--labels: {survey.lossy[0]} is stored with loss, which alters class ids; save the originals as PNG"
    if len(values) > max(_MOST_LISTED, len(options.classes)):
        return (
            f"--labels: labels have {len(values)} grey values ({listed}), too many for classes, as blurred or shaded "
            "labels have: save them as black and white, or as class ids, without smoothing"
        )
    if len(values) > len(options.classes):
        return (
            f"--labels: labels have {len(values)} grey values ({listed}), --classes names {len(options.classes)}: "
            f"name as many, or say which class each is, as in --values {_pairs(values, options)}"
        )
    return (
        f"--labels: which grey value is which class? Labels have {listed}: give --values "
        f"{_pairs(values, options)}, as far as that is right"
    )


def _pairs(values: list[int], options: Options) -> str:
    return ",".join(f"{value}={min(place, len(options.classes) - 1)}" for place, value in enumerate(values))


def _ask_for_colours(options: Options, survey: LabelSurvey) -> str:
    shares = {hex_of(colour): share for colour, share in survey.colours.items()}
    listed = _list(shares, survey.num_colours)
    if survey.num_colours > len(options.classes):
        return (
            f"--labels: labels have {survey.num_colours} colours ({listed}), --classes names {len(options.classes)}: "
            "name a class for each and give --colours; blurred edges and JPEG make colours of their own: save as PNG"
        )
    return (
        f"--labels: which colour is which class? Labels have {listed}: give --colours "
        f"{_examples_of_colours(options, shares)}, as far as that is right"
    )


def _examples_of_colours(options: Options, colours: Iterable[str]) -> str:
    """Return an answer for ``--colours`` that the most frequent colours may be right in."""
    return ",".join(f"{name}={colour}" for name, colour in zip(options.classes, colours, strict=False))


def hex_of(colour: tuple[int, int, int]) -> str:
    """Return a colour as ``#ff0000``."""
    return "#" + bytes(colour).hex()


def _list(shares: Mapping[str, float], total: int = 0) -> str:
    """Return the first shares, and how many there are beside them, of ``total`` or of those given."""
    shown = [f"{name} ({100 * share:.2g} %)" for name, share in list(shares.items())[:_MOST_LISTED]]
    more = max(total, len(shares)) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


_SHOWN = {
    "ids": "class ids",
    "black_white": "black and white",
    "colours": "one colour per class",
    "file_per_class": "one file per class",
    "polygons": "polygons",
}
