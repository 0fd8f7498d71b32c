"""Values on a command line: what YAML reads in a text.

Python's fire reads literals of Python: there ``false`` and ``null`` are words, and ``2024_01`` is the number 202401.
Configs are YAML, and so is the command line here. Where YAML 1.1 itself would surprise, this is what users mean:
``1e-4`` is a number; ``2024_01``, ``1:30`` and ``2024-01-05`` are text; ``None`` is null.
"""

from __future__ import annotations

import ast
import os
import re
from typing import Any, ClassVar

import yaml

from common.configs.key_kinds import LISTS, OPTIONAL_PATHS, PATHS, TEXTS, is_path, last_part
from common.errors import InputError


class _Loader(yaml.SafeLoader):
    """YAML's lists and mappings, with the words and numbers below."""

    yaml_implicit_resolvers: ClassVar[dict[str, list]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        for key, value in node.value:
            if isinstance(value, yaml.ScalarNode) and not value.value and value.style is None:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value!r} has no value: write a space after the colon, as in {{a: 1}}"
                )
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(problem="a key is there twice")
        return mapping


for _tag, _pattern in {
    "null": r"null|Null|NULL|None|~",
    "bool": r"true|True|TRUE|yes|Yes|YES|on|On|ON|false|False|FALSE|no|No|NO|off|Off|OFF",
    "int": r"[-+]?(?:0|[1-9][0-9]*)",
    "float": r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
    r"|\.(?:nan|NaN|NAN)",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), None)


def read_value(key: str, text: str) -> Any:
    """Return the value that a text has for a key.

    Args:
        key: of the config, or the name of an argument; nested ones have ``::`` or ``#`` between their parts.
        text: as given on the command line.

    Returns:
        For a path its text, with ``~`` expanded; for any other key what YAML reads.

    Raises:
        InputError: if the text is empty, or begins like a list or a mapping and is none.
    """
    name = last_part(key)
    if name in TEXTS:
        return read_text(text)
    if not text.strip():
        raise InputError(f"--{key}: is empty; expected {'a path' if is_path(key) else 'a value, such as null'}")
    if name in LISTS and "," in text and text.strip()[0] not in "[{(\"'$@%":
        return [read_path(each) if name in PATHS else _read_scalar(each.strip()) for each in text.split(",")]
    if is_path(key) and not (name in LISTS and text.lstrip().startswith("[")):
        return None if name in OPTIONAL_PATHS and text in ("null", "None") else read_path(text)
    value = _read_collection(key, text) if text.strip()[0] in "[{(" else _read_scalar(text)
    if is_path(key) and isinstance(value, list):
        value = [each if each is None else read_path(str(each)) for each in value]
    return value


def read_path(text: str) -> str:
    """Return a path with ``~`` expanded, without the quotes around it."""
    return os.path.expanduser(read_text(text))


def read_text(text: str) -> str:
    """Return a text, or what is in quotes if it is one string of YAML and no more."""
    if re.fullmatch(r"'(?:[^']|'')*'", text, re.DOTALL):
        return text[1:-1].replace("''", "'")
    if re.fullmatch(r'"(?:[^"\\]|\\.)*"', text, re.DOTALL):
        try:
            return ast.literal_eval(text)  # the escapes of JSON, which Python and YAML share
        except (SyntaxError, ValueError):
            return text
    return text


def _read_scalar(text: str) -> Any:
    unquoted = read_text(text.strip())
    if unquoted != text.strip():
        return unquoted
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, text.strip(), (True, False))
    value = loader.construct_object(yaml.ScalarNode(tag, text.strip()))
    return text if isinstance(value, str) else value


def _read_collection(key: str, text: str) -> Any:
    if "(" in text:  # tuples are Python's; YAML would cut them at their commas
        try:
            return _without_tuples(ast.literal_eval(text.strip()))
        except (ValueError, SyntaxError):
            if text.lstrip().startswith("("):
                return text
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(
            f"--{key}: {text} begins like a list or a mapping, but YAML cannot read it ({problem}); expected such as "
            "[1, 2] or {a: 1}, or text in quotes"
        ) from error
    cut = [each for each in _leaves(value) if isinstance(each, str) and each.count("(") != each.count(")")]
    if cut:
        raise InputError(f"--{key}: {text} has a bracket that is not closed in {cut[0]!r}; write lists as [1, 2]")
    return value


def _without_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_tuples(each) for name, each in value.items()}
    return [_without_tuples(each) for each in value] if isinstance(value, (list, tuple)) else value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return [leaf for each in value for leaf in _leaves(each)] if isinstance(value, list) else [value]
