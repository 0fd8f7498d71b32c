"""What a command line's words mean to an argument, by the annotation that the function gives it."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from common.configs.key_kinds import LISTS, TEXTS, is_path
from common.configs.values import read_path, read_text, read_value
from common.errors import InputError

_NULL = ("null", "None")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class ArgumentKind:
    """How one argument of a function is written on a command line.

    Args:
        parameter: of the function's signature. Without an annotation its name and default alone decide.
    """

    parameter: inspect.Parameter

    @property
    def name(self) -> str:
        """The argument's name."""
        return self.parameter.name

    @property
    def is_needed(self) -> bool:
        """Whether it has no default."""
        return self.parameter.default is inspect.Parameter.empty

    @property
    def is_switch(self) -> bool:
        """Whether it is true or false, so that its name alone says true."""
        return "bool" in self._types or isinstance(self.parameter.default, bool)

    @property
    def is_path(self) -> bool:
        """Whether it is a file or folder."""
        return "PathLike" in self._types or is_path(self.name)

    @property
    def choices(self) -> tuple[Any, ...]:
        """What it may be, where its annotation is a ``Literal``."""
        return self._annotated.choices

    @property
    def takes_any_word(self) -> bool:
        """Whether its name alone means something, too: a switch, or an argument that may be anything."""
        return self.is_switch or not self._types or "Any" in self._types

    @property
    def placeholder(self) -> str:
        """What stands for its value in help, such as ``PATH`` or ``NUMBER``; nothing for a switch."""
        if self.is_switch:
            return ""
        if self.choices:
            return "|".join(map(str, self.choices))
        if self.is_path:
            return "PATH"
        if {"Mapping", "dict"} & self._types:
            return "NAME=VALUE,..." if "str" in self._annotated.union else "{NAME: VALUE, ...}"
        if "Sequence" in self._types:
            return "NUMBER,..." if {"int", "float"} & self._types else "NAME,..."
        if {"int", "float"} & self._types:
            return "NUMBER"
        return "TEXT" if "str" in self._types else "VALUE"

    def starts_with(self, word: str) -> bool:
        """Say whether the word after the argument's name is its value; a switch takes none but true and false."""
        return not self.is_switch or word.lower() in _BOOLEANS

    def read(self, text: str) -> Any:
        """Return the value that a text means.

        Raises:
            InputError: if it means none.
        """
        if self.is_switch:
            return self._read_switch(text)
        if self._is_optional and text in _NULL:
            return None
        if self.choices:
            return self._choose(text)
        if "PathLike" in self._types and text.strip():
            return read_path(text)
        if self._types == {"str"} and not (is_path(self.name) or self.name in TEXTS):
            return read_text(text)
        by_key = is_path(self.name) or self.name in LISTS or text.strip()[:1] in ("", "[", "{", "(", '"', "'")
        if "Sequence" in self._types and not by_key:
            found = [self._read_one(each.strip()) for each in text.split(",")]
            return found if len(found) > 1 else found[0]
        return read_value(self.name, text)

    def _read_one(self, text: str) -> Any:
        return read_text(text) if "str" in self._types else read_value(self.name, text)

    def _read_switch(self, text: str) -> bool:
        if text.lower() not in _BOOLEANS:
            raise InputError(f"--{self.name}: expected true or false, got {text!r}")
        return _BOOLEANS[text.lower()]

    def _choose(self, text: str) -> Any:
        meant = {str(each): each for each in self.choices}
        if text not in meant:
            raise InputError(f"--{self.name}: expected {' or '.join(meant)}, got {text!r}")
        return meant[text]

    @property
    def _types(self) -> frozenset[str]:
        return self._annotated.names - {"None"}

    @property
    def _is_optional(self) -> bool:
        return "None" in self._annotated.union

    @cached_property
    def _annotated(self) -> _Annotation:
        annotation = self.parameter.annotation
        if annotation is inspect.Parameter.empty:
            return _Annotation(frozenset(), frozenset(), ())
        text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        return _read_annotation(ast.parse(text, mode="eval").body)


class _Annotation(NamedTuple):
    """An annotation, such as ``str | Sequence[int]``."""

    union: frozenset[str]  # its types without what they hold: str and Sequence
    names: frozenset[str]  # all types: str, Sequence and int
    choices: tuple[Any, ...]  # the values of a Literal


def _read_annotation(node: ast.expr) -> _Annotation:
    if isinstance(node, ast.BinOp):  # one | other
        parts = [_read_annotation(each) for each in (node.left, node.right)]
    elif isinstance(node, ast.Tuple):
        parts = [_read_annotation(each) for each in node.elts]
    elif isinstance(node, ast.Subscript):
        outer = _read_annotation(node.value)
        if outer.names == {"Literal"}:
            values = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return outer._replace(choices=tuple(ast.literal_eval(each) for each in values))
        return outer._replace(names=outer.names | _read_annotation(node.slice).names)
    else:
        name = frozenset({node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)})
        return _Annotation(name, name, ())
    unions, names, choices = zip(*parts, strict=True)
    return _Annotation(frozenset().union(*unions), frozenset().union(*names), sum(choices, ()))
