"""Docstrings in the style of Google, as text for a terminal."""

from __future__ import annotations

import re
from typing import NamedTuple

_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):$", re.MULTILINE)
_ARGUMENT = re.compile(r"^ {4}(\w+): (.*)$")
_ROLE = re.compile(r":\w+:`(?:~?(?:\w+\.)*)(\w+)`")  # :func:`~common.files.atomic.write_json` is write_json


class Docstring(NamedTuple):
    """What a docstring says: paragraphs without examples, and a text for each argument."""

    paragraphs: list[str]
    arguments: dict[str, str]


def read_docstring(text: str) -> Docstring:
    """Take a docstring apart.

    Args:
        text: without indentation, as :func:`ast.get_docstring` returns it.
    """
    parts = _SECTION.split(text)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    paragraphs = [plain(each) for each in re.split(r"\n\s*\n", parts[0].strip()) if not each.startswith("Example:")]
    return Docstring(paragraphs, _arguments(sections.get("Args", "")))


def plain(text: str) -> str:
    """Return a text in one line, without the marks of reStructuredText."""
    text = _ROLE.sub(r"\1", text).replace("``", "")
    return " ".join(text.split())


def _arguments(section: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for line in section.splitlines():
        match = _ARGUMENT.match(line)
        if match:
            found[match[1]] = [match[2]]
        elif line.strip() and found:
            found[next(reversed(found))].append(line)
    return {name: plain("\n".join(lines)) for name, lines in found.items()}
