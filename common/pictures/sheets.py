"""Pictures on one sheet, with a title, captions and a legend."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, PngImagePlugin

from common.pictures.lettering import Lettering
from common.pictures.palette import Colour

_LEAST_WIDTH = 420  # of a sheet, so that its legend can be read
_MOST_FOR_TITLE = 840  # pixels that small pictures are widened to for a title
_FAINT = (90, 90, 90)
_PLACES = "places"  # in a sheet's ``info`` and in its PNG file: where each picture is, by its caption


class _Grid(NamedTuple):
    """Where pictures are in rows and columns, each below a line of text."""

    columns: int
    widths: list[int]  # of the columns
    heights: list[int]  # of the rows
    gap: int
    line: int

    def place(self, index: int) -> tuple[int, int]:
        """Return left and top of the line above a picture; rows are counted from 0."""
        row, column = divmod(index, self.columns)
        left = self.gap + sum(self.widths[:column]) + self.gap * column
        return left, sum(self.heights[:row]) + row * (self.line + self.gap)

    @property
    def height(self) -> int:
        return sum(self.heights) + len(self.heights) * (self.line + self.gap)


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
        columns: pictures in a row; by default about as many rows as columns.
        caption_colours: of the captions; grey by default.

    Returns:
        A sheet in RGB. ``info["places"]`` has the place ``[left, top, right, bottom]`` of each picture by its caption,
        as JSON, if all captions differ; :func:`save_sheet` writes it along.

    Raises:
        ValueError: if there is no picture, or not one caption for each.
    """
    if not pictures or len(pictures) != len(captions):
        raise ValueError(f"expected one caption for each picture, got {len(pictures)} and {len(captions)}")
    columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    widths = [max(row[column].width for row in rows if column < len(row)) for column in range(columns)]
    letters = Lettering.for_width(sum(widths))
    grid = _Grid(columns, widths, [max(each.height for each in row) for row in rows], letters.gap, letters.line)
    for_title = min(letters.title_length(title) + 2 * letters.gap if title else 0, _MOST_FOR_TITLE)
    width = max(sum(widths) + letters.gap * (columns + 1), _LEAST_WIDTH, for_title)
    lines = letters.legend_lines(legend or {}, width - 2 * letters.gap)
    above = letters.gap + (letters.line + letters.gap // 2 if title else 0)
    sheet = Image.new("RGB", (width, above + grid.height + len(lines) * letters.line), "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        letters.write_title(draw, title, (letters.gap, letters.gap), width - 2 * letters.gap)
    places = {}
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = grid.place(index)
        room = widths[index % columns] if columns > 1 else width - 2 * letters.gap
        colour = caption_colours[index] if caption_colours else _FAINT
        letters.write(draw, caption, (left, above + top), room, colour)
        top += above + letters.line
        sheet.paste(picture, (left, top))
        places[caption] = (left, top, left + picture.width, top + picture.height)
    for number, line in enumerate(lines):
        letters.draw_legend_line(draw, line, above + grid.height + number * letters.line - letters.gap // 2)
    if len(places) == len(pictures):
        sheet.info[_PLACES] = json.dumps(places)
    return sheet


def save_sheet(sheet: Image.Image, path: str | os.PathLike) -> None:
    """Write a sheet as PNG, with the places of its pictures, by which :func:`pictures_of` finds them."""
    about = PngImagePlugin.PngInfo()
    if _PLACES in sheet.info:
        about.add_text(_PLACES, sheet.info[_PLACES])
    sheet.save(Path(path), format="PNG", pnginfo=about)


def pictures_of(sheet: Image.Image) -> dict[str, Image.Image]:
    """Return the pictures of a sheet by their captions; none of a picture that :func:`draw_sheet` has not drawn."""
    places = json.loads(sheet.info.get(_PLACES, "{}"))
    return {caption: sheet.crop(place) for caption, place in places.items()}
