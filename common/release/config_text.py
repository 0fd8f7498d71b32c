"""A YAML config whose keys are set, dropped and renamed where they stand, so that the rest stays as it was written.

Places come from the parser, by the marks of PyYAML's nodes. A round trip through ruamel.yaml would keep the comments
too, but it breaks long lines and flow mappings anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from monai.bundle import ConfigParser

_WIDTH = 90
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is ten times as fast


class ConfigText:
    """The text of a config.

    Args:
        text: a mapping in YAML.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def config(self) -> dict[str, Any]:
        """Return what the text says."""
        return yaml.load(self._text, Loader=_LOADER)

    def set_head(self, head: str) -> None:
        """Replace the comments above the first key."""
        first = self._root().value[0][0]
        self._text = head.rstrip() + "\n\n" + self._text[first.start_mark.index :]

    def set(self, key: str, value: Any) -> None:
        """Set a key, or one within it, as in ``network_def::depth``.

        The comment beside a plain value stays; beside a string it goes, since it lists what else might stand there.

        Raises:
            KeyError: if the key at the top does not exist.
        """
        parts = key.replace("#", "::").split("::")
        root = self._root()
        top, found = _find(root, parts[:1]), _find(root, parts)
        if top is None:
            raise KeyError(key)
        if found is not None and len(parts) > 1:
            self._replace(found[1], yaml.safe_dump(value, default_flow_style=True, width=float("inf")).split("\n")[0])
            return
        if len(parts) > 1:  # a key that is new within one that is there
            parser = ConfigParser({parts[0]: self.config()[parts[0]]})
            parser["::".join(parts)] = value
            value = parser[parts[0]]
        text = yaml.safe_dump({parts[0]: value}, sort_keys=False, width=_WIDTH, allow_unicode=True).rstrip("\n")
        start, end = top[0].start_mark.index, _end(top[1])
        if isinstance(value, str) or "\n" in text:
            end = self._end_of_line(end)
        self._text = self._text[:start] + text + self._text[end:]

    def drop(self, key: str) -> None:
        """Take a key at the top out, with the comment beside it."""
        found = _find(self._root(), [key])
        if found is not None:
            start, end = found[0].start_mark.index, self._end_of_line(_end(found[1]))
            self._text = self._text[:start] + self._text[end + 1 :]

    def change_strings(self, change: Callable[[str], str]) -> None:
        """Change what stands in the place of each string that is a value, quotes included."""
        for node in sorted(set(_scalars(self._root())), key=lambda node: node.start_mark.index, reverse=True):
            if node.tag == "tag:yaml.org,2002:str":
                self._replace(node, change(self._text[node.start_mark.index : node.end_mark.index]))

    def wrap(self, width: int = 120) -> None:
        """Break longer lines after a comma of a flow mapping or list, where they have one; what they say stays."""
        while (place := self._find_break(width)) is not None:
            index, indent = place
            self._text = f"{self._text[:index]}\n{' ' * indent}{self._text[index:].lstrip(' ')}"

    def _find_break(self, width: int) -> tuple[int, int] | None:
        """Return where to break the first line that can and must be broken, and by how much to indent what follows."""
        lines, depth = self._text.splitlines(), 0
        depths: dict[int, int] = {}  # at the start of each line: how many mappings and lists are open
        commas: dict[int, list[tuple[int, yaml.Mark]]] = {}  # of each long line, those near enough to its start
        for token in yaml.scan(self._text, Loader=_LOADER):
            end = token.end_mark
            depths.setdefault(token.start_mark.line, depth)
            depth += isinstance(token, (yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken))
            depth -= isinstance(token, (yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken))
            if isinstance(token, yaml.FlowEntryToken) and end.column <= width < len(lines[end.line]):
                commas.setdefault(end.line, []).append((depth, end))
        for number, marks in commas.items():
            outermost = min(level for level, _ in marks)
            mark = [mark for level, mark in marks if level == outermost][-1]
            stripped = lines[number].lstrip(" ")
            further = 0 if depths[number] else 4 if stripped.startswith("- ") else 2
            return mark.index, len(lines[number]) - len(stripped) + further
        return None

    def _root(self) -> yaml.MappingNode:
        return yaml.compose(self._text, Loader=_LOADER)

    def _replace(self, node: yaml.Node, text: str) -> None:
        self._text = self._text[: node.start_mark.index] + text + self._text[_end(node) :]

    def _end_of_line(self, index: int) -> int:
        return self._text.find("\n", index) if "\n" in self._text[index:] else len(self._text)


def _find(root: yaml.Node, parts: list[str]) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the nodes of a key and of its value; for an item of a list the latter twice."""
    key, value = None, root
    for part in parts:
        if isinstance(value, yaml.MappingNode):
            pairs = [pair for pair in value.value if pair[0].value == part]
        elif isinstance(value, yaml.SequenceNode) and part.isdecimal():
            pairs = [(item, item) for item in value.value[int(part) :][:1]]
        else:
            pairs = []
        if not pairs:
            return None
        key, value = pairs[0]
    return key, value


def rename_modules(text: str, package: str) -> str:
    """Return text in which ``common`` and its modules are another package and its modules."""
    return re.sub(r"\bcommon(?=\.[A-Za-z_])|(?<=\$import )common$", package, text)


def strings_in(value: Any) -> Iterator[str]:
    """Yield the strings among the values of a config, nested ones too."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings_in(item)


def _end(node: yaml.Node) -> int:
    """Return where a node ends; the parser has a block end where the next one begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, yaml.MappingNode) else last)
    return node.end_mark.index


def _scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Yield the plain values of a node."""
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _scalars(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item)
    else:
        yield node
