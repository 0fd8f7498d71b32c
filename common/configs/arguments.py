"""The words of a command line as arguments of a function, by the grammar of Python's fire."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from common.configs.values import read_value
from common.errors import InputError

_FLAG = re.compile(r"--|-[a-zA-Z]")  # not a negative number
_ANY = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


class UsageError(InputError):
    """A command that does not exist, or an argument that it lacks or does not take."""


def read_arguments(function: Callable, words: Sequence[str], flags: Iterable[str] = ()) -> dict[str, Any]:
    """Return the arguments that a command line gives to a function, with values as YAML reads them.

    ``--key value``, ``--key=value`` and ``--key-name value`` are keywords, the last of several counts, ``--flag`` is
    true and ``--no-flag`` false; other words are its arguments in order.

    Args:
        function: what the command line calls.
        words: of the command line, after the name of the command.
        flags: names of switches beyond those of the function, for ``--noflag``.

    Raises:
        UsageError: if an argument is missing, or the function does not take one.
        InputError: if a value cannot be read.
    """
    parameters = inspect.signature(function).parameters
    names = [name for name, each in parameters.items() if each.kind not in _ANY]
    positional, options = _split(words, names, {*names, *flags})
    if len(positional) > len(names):
        raise UsageError(f"{positional[len(names)]!r} is one argument too many; expected {usage(function)}")
    given: dict[str, str | bool] = dict(zip(names, positional, strict=False))
    twice = [name for name in given if name in options]
    if twice:
        raise UsageError(f"--{twice[0]}: is given twice, also as {given[twice[0]]!r}")
    given |= options
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    unknown = [name for name in given if name not in names]
    if unknown and not takes_any:
        near = get_close_matches(unknown[0], names, n=1)
        hint = f"did you mean --{near[0]}?" if near else f"expected {usage(function)}"
        raise UsageError(f"--{unknown[0]}: there is no such argument; {hint}")
    missing = [name for name in names if parameters[name].default is inspect.Parameter.empty and name not in given]
    if missing:
        raise UsageError(f"--{missing[0]} is missing; expected {usage(function)}")
    return {name: read_value(name, value) if isinstance(value, str) else value for name, value in given.items()}


def usage(function: Callable) -> str:
    """Return the arguments of a function in one line, such as ``BUNDLE --output_dir OUTPUT_DIR [--method METHOD]``."""
    words = []
    for number, (name, each) in enumerate(inspect.signature(function).parameters.items()):
        if each.kind in _ANY:
            words.append("[--key value ...]")
        elif number == 0:
            words.append(name.upper())
        elif each.default is inspect.Parameter.empty:
            words.append(f"--{name} {name.upper()}")
        else:
            words.append(f"[--{name}]")
    return " ".join(words)


def _split(words: Sequence[str], names: Sequence[str], flags: set[str]) -> tuple[list[str], dict[str, str | bool]]:
    """Return the words in order that belong to no keyword, and keywords with their texts, or True and False."""
    positional: list[str] = []
    options: dict[str, str | bool] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not _FLAG.match(word):
            positional.append(word)
            continue
        key, equals, text = word.lstrip("-").partition("=")
        key = _full_name(key.replace("-", "_"), names)
        options.pop(key, None)  # the last one counts, in its place
        if equals:
            options[key] = text
        elif waiting and not _FLAG.match(waiting[0]):
            options[key] = waiting.pop(0)
        elif key.startswith("no_"):
            options[key[3:]] = False
        elif key.startswith("no") and key not in flags and key[2:] in flags:
            options[key[2:]] = False
        else:
            options[key] = True
    return positional, options


def _full_name(key: str, names: Sequence[str]) -> str:
    """Return the argument that a single letter stands for, if it is the only one that begins with it."""
    matching = [name for name in names if len(key) == 1 and name.startswith(key)]
    return matching[0] if len(matching) == 1 else key
