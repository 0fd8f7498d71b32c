"""Letters for pictures: DejaVu Sans where Matplotlib brings it along, Pillow's own elsewhere."""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont


@cache
def find_font() -> Path | None:
    """Return the file of DejaVu Sans, None where Matplotlib is not installed."""
    matplotlib = find_spec("matplotlib")
    if matplotlib is None or matplotlib.origin is None:
        return None
    path = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return path if path.is_file() else None


@cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return a font of a size in pixels."""
    path = find_font()
    font = ImageFont.load_default(size) if path is None else ImageFont.truetype(str(path), size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # as Pillow's own font is, too, if it has a size
    return font


def drawable(text: str, font: ImageFont.FreeTypeFont) -> str:
    """Return a text in letters that a font has: others without their accents, or else by their numbers.

    Args:
        text: in any script.
        font: which draws the same box for all letters that it does not have.
    """
    composed = unicodedata.normalize("NFC", text)
    return "".join(_drawable_letter(letter, font) for letter in composed)


def _drawable_letter(letter: str, font: ImageFont.FreeTypeFont) -> str:
    if letter.isascii() or _has(font, letter):
        return letter
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode("ascii")
    return plain or letter.encode("ascii", "backslashreplace").decode("ascii")


def _has(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    box = font.getmask("\U0010ffff")  # which no font has
    mask = font.getmask(letter)
    return mask.size != box.size or bytes(mask) != bytes(box)
