"""Pictures on one sheet, with a title, captions and a legend."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from common.pictures.palette import Colour

_GAP = 12  # pixels between pictures
_TITLE, _TEXT = 17, 14  # sizes of letters
_LINE = 22  # height of a line of text
_LEAST_WIDTH = 420  # of a sheet, so that its legend can be read
_SWATCH = 16
_INK, _FAINT = (20, 20, 20), (90, 90, 90)
_PLACES = "places"  # in a sheet's ``info`` and in its PNG file: where each picture is, by its caption


def draw_sheet(
    pictures: Sequence[Image.Image],
    captions: Sequence[str],
    title: str | None = None,
    legend: Mapping[str, Colour] | None = None,
    columns: int | None = None,
    caption_colours: Sequence[Colour] | None = None,
) -> Image.Image:
    """Lay pictures out in rows under a title, each below its caption, with a legend at the bottom.

    Args:
        pictures: of any sizes.
        captions: one line for each picture; what does not fit above it is shortened in the middle.
        title: what is shown.
        legend: colours by what they mean.
        columns: pictures in a row; by default as many rows as columns.
        caption_colours: of the captions; black by default.

    Returns:
        A sheet in RGB. ``info["places"]`` has the place ``(left, top, right, bottom)`` of each picture by its caption,
        if all captions differ; :func:`save_sheet` writes it along.

    Raises:
        ValueError: if there is no picture, or not one caption for each.
    """
    if not pictures or len(pictures) != len(captions):
        raise ValueError(f"expected one caption for each picture, got {len(pictures)} and {len(captions)}")
    columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    widths = [max(row[column].width for row in rows if column < len(row)) for column in range(columns)]
    heights = [max(picture.height for picture in row) for row in rows]
    width = max(sum(widths) + _GAP * (columns + 1), _LEAST_WIDTH)
    lines = _legend_lines(legend or {}, width - 2 * _GAP)
    above = _GAP + (_TITLE + _GAP if title else 0)
    height = above + sum(heights) + len(rows) * (_LINE + _GAP) + len(lines) * _LINE + (_GAP // 2 if lines else 0)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_GAP, _GAP + _TITLE // 2), _shorten(title, width - 2 * _GAP, _TITLE), _INK, _font(_TITLE), "lm")
    places = {}
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(index, columns)
        left = _GAP + sum(widths[:column]) + _GAP * column
        top = above + sum(heights[:row]) + row * (_LINE + _GAP)
        room = widths[column] if columns > 1 else width - 2 * _GAP
        colour = caption_colours[index] if caption_colours else _FAINT
        draw.text((left, top + _LINE // 2), _shorten(caption, room, _TEXT), colour, _font(_TEXT), "lm")
        sheet.paste(picture, (left, top + _LINE))
        places[caption] = (left, top + _LINE, left + picture.width, top + _LINE + picture.height)
    for number, line in enumerate(lines, start=1):
        _draw_legend_line(draw, line, height - _GAP // 2 - (len(lines) - number + 1) * _LINE)
    if len(places) == len(pictures):
        sheet.info[_PLACES] = json.dumps(places)
    return sheet


def save_sheet(sheet: Image.Image, path: str | os.PathLike) -> None:
    """Write a sheet as PNG, with the places of its pictures, so that :func:`read_pictures` finds them."""
    about = PngImagePlugin.PngInfo()
    if _PLACES in sheet.info:
        about.add_text(_PLACES, sheet.info[_PLACES])
    sheet.save(Path(path), format="PNG", pnginfo=about)


def pictures_of(sheet: Image.Image) -> dict[str, Image.Image]:
    """Return the pictures of a sheet by their captions; none of a picture that :func:`draw_sheet` has not drawn."""
    places = json.loads(sheet.info.get(_PLACES, "{}"))
    return {caption: sheet.crop(place) for caption, place in places.items()}


def _legend_lines(legend: Mapping[str, Colour], width: int) -> list[list[tuple[float, str, Colour]]]:
    """Return what stands in each line of a legend: where it begins, name and colour."""
    lines: list[list[tuple[float, str, Colour]]] = []
    left = float(width)
    for name, colour in legend.items():
        shown = _shorten(name, width - _SWATCH - 8, _TEXT)
        needed = _SWATCH + 8 + _font(_TEXT).getlength(shown) + 2 * _GAP
        if left + needed - 2 * _GAP > width:
            lines.append([])
            left = 0
        lines[-1].append((left, shown, colour))
        left += needed
    return lines


def _draw_legend_line(draw: ImageDraw.ImageDraw, line: Sequence[tuple[float, str, Colour]], top: int) -> None:
    middle = top + _LINE // 2
    for left, name, colour in line:
        box = (_GAP + left, middle - _SWATCH // 2, _GAP + left + _SWATCH, middle + _SWATCH // 2)
        draw.rectangle(box, colour, outline=_INK)
        draw.text((_GAP + left + _SWATCH + 8, middle), name, _INK, _font(_TEXT), "lm")


def _shorten(text: str, width: float, size: int) -> str:
    """Return a text on one line, without its middle where it does not fit."""
    text = " ".join(text.split())
    return next((each for each in _shorter(text) if _font(size).getlength(each) <= width), "")


def _shorter(text: str) -> Iterator[str]:
    yield text
    for kept in range(len(text) - 1, 0, -1):
        yield f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
