"""How each method is drawn: a colour that the page decides on, a marker and a line.

Any number of methods can be drawn. Colours are repeated after eight methods and markers after thirteen, so that the two
together tell a hundred methods apart, and a figure of thirteen can be read without its colours.
"""

from __future__ import annotations

from typing import NamedTuple

from common.distillation.methods import METHODS
from common.report.settings import TEACHER, is_aside, place_of

TEXT = "#010203"  # placeholder of the colour of text
_COLOURS = [f"method-{number}" for number in range(1, 9)]  # variables of page.css
_MARKERS = "osD^vPX<>phd*"
_PLACEHOLDERS = {name: f"#0102{16 + number:02x}" for number, name in enumerate([*_COLOURS, "network", "teacher"])}


class Look(NamedTuple):
    """How a method is drawn."""

    colour: str  # placeholder
    marker: str
    line: str  # as matplotlib writes it
    beside: float  # how far its points are beside those of others, where these have distance 1


def look_of(method: str) -> Look:
    """Return how a method, or the teacher, is drawn; all unknown methods look alike."""
    place = place_of(method)
    marker = _MARKERS[place % len(_MARKERS)]
    beside = 0.3 * (place / (len(METHODS) + 1) - 0.5)
    if method == TEACHER:
        return Look(_PLACEHOLDERS["teacher"], marker, ":", beside)
    if is_aside(method):
        return Look(_PLACEHOLDERS["network"], marker, "--", beside)
    return Look(_PLACEHOLDERS[_COLOURS[place % len(_COLOURS)]], marker, "-", beside)


def set_colours(svg: str) -> str:
    """Return a drawing with the page's colours in the place of the placeholders."""
    for name, placeholder in _PLACEHOLDERS.items():
        svg = svg.replace(placeholder, f"var(--{name})")
    return svg.replace(TEXT, "currentColor")
