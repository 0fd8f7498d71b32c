"""The keys of a stage's config, with the values and comments that its file has."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import yaml

from common.errors import InputError

WIDTH = 60  # characters of a value that are shown
_SPECIAL = ("imports", "stage", "initialize", "run", "finalize")  # what nobody overrides


class ConfigKey(NamedTuple):
    """A key at the top of a config."""

    name: str
    value: str  # as it is written, in one line
    comment: str


def head_of(text: str) -> str:
    """Return the first paragraph of the comment that a config begins with: what the stage does."""
    lines = list(takewhile(lambda line: line.startswith("# "), text.splitlines()))
    return " ".join(line.removeprefix("# ") for line in lines)


def read_keys(path: Path) -> list[ConfigKey]:
    """Return the keys at the top of a config that may be overridden, in order.

    Args:
        path: a YAML file; what refers to other keys or makes components is shown as it is written, too.

    Raises:
        InputError: if the file is no YAML with keys.
    """
    text = path.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InputError(f"{path} cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path}: expected keys with values, as in epochs: 3")
    lines = text.splitlines()
    pairs = [(key, value) for key, value in node.value if key.value not in _SPECIAL]
    return [ConfigKey(key.value, _value(text, value), _comment(lines, value)) for key, value in pairs]


def _value(text: str, node: yaml.Node) -> str:
    """Return a value in one line: as it is written, or of a mapping over several lines the keys."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        written = f"{{{', '.join(key.value for key, _ in node.value)}}}"
    else:
        written = " ".join(text[node.start_mark.index : node.end_mark.index].split())
    return written if len(written) <= WIDTH else f"{written[: WIDTH - 4]} ..."


def _comment(lines: list[str], node: yaml.Node) -> str:
    """Return the comment behind a value that ends in the line where it is."""
    mark = node.end_mark
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    match = re.match(r"\s+# (.*)", rest)
    return match[1] if match else ""
