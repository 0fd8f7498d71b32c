"""The texts of a release that a person reads: templates in ``templates/``, filled with facts."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_WIDTH = 120


def render(template: str, /, **facts: Any) -> str:
    """Return a template filled with facts; one that it asks for and that is not among them is an error.

    In a template, ``{% filter paragraph %}`` breaks the lines of what follows anew.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["paragraph"] = _paragraph
    return environment.get_template(template).render(facts)


def _paragraph(text: str) -> str:
    """Return text as one paragraph, or as one item of a list where it starts with a dash."""
    text = " ".join(text.split())
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) + "\n"
