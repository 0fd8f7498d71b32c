"""Text on sheets: titles, captions and legends, in letters that fit the size of the sheet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from PIL import ImageDraw, ImageFont

from common.pictures.fonts import drawable, load_font
from common.pictures.palette import Colour

INK: Colour = (20, 20, 20)

_WIDTH = 1000  # of a sheet whose letters are as they are named below; wider ones are shrunk to be looked at
_TITLE, _TEXT, _LINE, _GAP, _SWATCH = 17, 14, 22, 12, 15  # pixels


class Legend(NamedTuple):
    """One entry of a legend, and where it begins in its line."""

    left: float
    name: str
    colour: Colour


class Lettering(NamedTuple):
    """Letters of one size, and the spaces that go with them.

    Args:
        scale: 1 for letters of 14 pixels.
    """

    scale: float

    @classmethod
    def for_width(cls, width: int) -> Lettering:
        """Return letters for a sheet of this width in pixels."""
        return cls(min(max(width / _WIDTH, 1), 4))

    @property
    def gap(self) -> int:
        """Pixels between pictures."""
        return round(_GAP * self.scale)

    @property
    def line(self) -> int:
        """Height of a line of text in pixels."""
        return round(_LINE * self.scale)

    def write_title(self, draw: ImageDraw.ImageDraw, text: str, place: tuple[int, int], room: float) -> None:
        """Write a line in larger letters; see :meth:`write`."""
        font = self._font(_TITLE)
        draw.text((place[0], place[1] + self.line // 2), shorten(text, room, font), INK, font, "lm")

    def title_length(self, text: str) -> int:
        """Return how many pixels wide a title is."""
        font = self._font(_TITLE)
        return math.ceil(font.getlength(drawable(" ".join(text.split()), font)))

    def write(
        self, draw: ImageDraw.ImageDraw, text: str, place: tuple[int, int], room: float, colour: Colour = INK
    ) -> None:
        """Write one line, shortened in its middle if it is wider than there is room.

        Args:
            draw: where.
            text: what.
            place: left and top of the line.
            room: pixels.
            colour: of the letters.
        """
        font = self._font(_TEXT)
        draw.text((place[0], place[1] + self.line // 2), shorten(text, room, font), colour, font, "lm")

    def legend_lines(self, legend: Mapping[str, Colour], width: int) -> list[list[Legend]]:
        """Return what stands in each line of a legend that is at most ``width`` pixels wide."""
        lines: list[list[Legend]] = []
        font, swatch = self._font(_TEXT), self._swatch
        left = float(width)
        for name, colour in legend.items():
            shown = shorten(name, width - 1.5 * swatch, font)
            needed = 1.5 * swatch + font.getlength(shown)
            if left + needed > width:
                lines.append([])
                left = 0
            lines[-1].append(Legend(left, shown, colour))
            left += needed + 2 * self.gap
        return lines

    def draw_legend_line(self, draw: ImageDraw.ImageDraw, line: Sequence[Legend], top: int) -> None:
        """Draw one line of a legend below ``top``."""
        middle = top + self.line // 2
        for left, name, colour in line:
            start = self.gap + left
            box = (start, middle - self._swatch // 2, start + self._swatch, middle + self._swatch // 2)
            draw.rectangle(box, colour, outline=INK)
            draw.text((start + 1.5 * self._swatch, middle), name, INK, self._font(_TEXT), "lm")

    @property
    def _swatch(self) -> int:
        return round(_SWATCH * self.scale)

    def _font(self, size: int) -> ImageFont.FreeTypeFont:
        return load_font(round(size * self.scale))


def shorten(text: str, room: float, font: ImageFont.FreeTypeFont) -> str:
    """Return a text on one line, without its middle where it is wider than there is room, in letters of the font."""
    text = drawable(" ".join(text.split()), font)
    return next((each for each in _shorter(text) if font.getlength(each) <= room), "")


def _shorter(text: str) -> Iterator[str]:
    yield text
    for kept in range(len(text) - 1, 0, -1):
        yield f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
