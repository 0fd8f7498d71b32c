"""The table of what was chosen, and why."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from common.creation.choices import Choice

_HEAD = Choice("what", "chosen", "why", "change it by")
_GAP = 2
_LEAST = (12, 20, 34, 22)  # characters of the columns
_WHOLE = 34  # characters of the longest word that is not broken, such as the id of a teacher on the hub


def draw_table(choices: Sequence[Choice], width: int = 120) -> str:
    """Return a table in plain text, with cells folded so that no line is wider than ``width`` where that is possible.

    Args:
        choices: a row each.
        width: of a line in characters.
    """
    rows = [[each.what, each.value, each.why, each.option] for each in (_HEAD, *choices)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    words = [max(len(word) for row in rows for word in row[column].split()) for column in range(4)]
    least = [max(narrow, word if word <= _WHOLE else 0) for narrow, word in zip(_LEAST, words, strict=True)]
    while sum(widths) + 3 * _GAP > width and _can_be_folded(widths, least):
        widths[max(_can_be_folded(widths, least), key=lambda column: widths[column])] -= 1  # the widest first
    lines = [_row(row, widths) for row in rows]
    rule = (" " * _GAP).join("-" * each for each in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


def _can_be_folded(widths: Sequence[int], least: Sequence[int]) -> list[int]:
    return [column for column, width in enumerate(widths) if width > least[column]]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    folded = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(cells, widths, strict=True)
    ]
    lines = []
    for number in range(max(map(len, folded))):
        parts = [cell[number] if number < len(cell) else "" for cell in folded]
        padded = [f"{part:{width}}" for part, width in zip(parts, widths, strict=True)]
        lines.append((" " * _GAP).join(padded).rstrip())
    return "\n".join(lines)
