"""The words of a command line as arguments of a function, by the grammar of Python's fire."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from common.configs.argument_kinds import ArgumentKind
from common.configs.values import read_value
from common.errors import InputError

_FLAG = re.compile(r"--|-[a-zA-Z]")  # not a negative number
_LISTS = ("NAME,...", "NAME=VALUE,...")  # placeholders of values that may have spaces
_ANY = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


class UsageError(InputError):
    """A command that does not exist, or an argument that it lacks or does not take."""


def read_arguments(
    function: Callable | inspect.Signature, words: Sequence[str], flags: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the arguments that a command line gives to a function, with values as YAML reads them.

    ``--key value``, ``--key=value`` and ``--key-name value`` are keywords, the last of several counts, ``--flag`` is
    true and ``--no-flag`` false; other words are its arguments in order, but for those that are true or false. Where an
    argument has an annotation, this decides what its words mean, see
    :class:`~common.configs.argument_kinds.ArgumentKind`.

    Args:
        function: what the command line calls, or its signature.
        words: of the command line, after the name of the command.
        flags: names of switches beyond those of the function, for ``--noflag``.

    Raises:
        UsageError: if an argument is missing or lacks its value, or the function does not take one.
        InputError: if a value cannot be read.
    """
    kinds, takes_any = argument_kinds(function), _takes_any(function)
    positional, options, before = _split(words, kinds, {*kinds, *flags})
    places = [name for name, kind in kinds.items() if not kind.is_switch]
    _refuse_rests_of_texts(positional, before, kinds, places, options)
    if len(positional) > len(places):
        raise UsageError(f"{positional[len(places)]!r} is one argument too many; expected {usage(function)}")
    in_order = dict(zip(places, positional, strict=False))
    twice = [name for name in in_order if name in options]
    if twice:
        raise UsageError(f"--{twice[0]}: is given twice, also as {in_order[twice[0]]!r}")
    given: dict[str, str | bool] = {**in_order, **options}
    _check_names(given, kinds, takes_any, usage(function))
    found = {}
    for name, value in given.items():
        kind = kinds.get(name)
        if isinstance(value, str):
            found[name] = kind.read(value) if kind else read_value(name, value)
        elif kind is None or kind.takes_any_word:
            found[name] = value
        else:
            raise UsageError(f"--{name}: expected a value after it, as in --{name} {kind.placeholder}")
    return found


def argument_kinds(function: Callable | inspect.Signature) -> dict[str, ArgumentKind]:
    """Return the arguments of a function that have a name, in order."""
    return {name: ArgumentKind(each) for name, each in _parameters(function).items() if each.kind not in _ANY}


def usage(function: Callable | inspect.Signature) -> str:
    """Return what a function takes in one line, such as ``BUNDLE --output_dir PATH [options] [--key value ...]``."""
    kinds = argument_kinds(function)
    needed = [name for name, kind in kinds.items() if kind.is_needed]
    first = next(iter(kinds), None)
    words = [name.upper() if name == first else f"--{name} {kinds[name].placeholder}" for name in needed]
    if first is not None and first not in needed:
        words.insert(0, f"[{first.upper()}]")
    if {*needed, first} < kinds.keys():
        words.append("[options]")
    if _takes_any(function):
        words.append("[--key value ...]")
    return " ".join(words)


def _parameters(function: Callable | inspect.Signature) -> Mapping[str, inspect.Parameter]:
    signature = function if isinstance(function, inspect.Signature) else inspect.signature(function)
    return signature.parameters


def _takes_any(function: Callable | inspect.Signature) -> bool:
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in _parameters(function).values())


def _refuse_rests_of_texts(
    positional: Sequence[str],
    before: Sequence[str | None],
    kinds: Mapping[str, ArgumentKind],
    places: Sequence[str],
    options: Mapping[str, str | bool],
) -> None:
    """Refuse what is left of a text that a shell has cut at a space, as in ``--classes background,skin lesion``.

    Args:
        positional: the words in order.
        before: for each of them the keyword whose value stands right before it.
        kinds: the function's arguments.
        places: names of those that words in order are for.
        options: keywords with their texts.

    Raises:
        UsageError: if a word follows a text, and it has no place, or others are in order before it and the text is a
            list or a title, in which spaces are likely.
    """
    fits = len(positional) <= len(places) and not options.keys() & set(places[: len(positional)])
    for word, key in zip(positional, before, strict=True):
        if key is None:
            continue
        shape = kinds[key].placeholder if key in kinds else ""
        is_likely = shape in _LISTS or key == "title"
        if (is_likely and (before[0] != key or not fits)) or (shape == "TEXT" and not fits):
            text = f"{options[key]} {word}".replace(", ", ",")
            raise UsageError(
                f"--{key}: {word!r} stands apart; what has a space is written in quotes, and no space follows a comma: "
                f'--{key} "{text}"'
            )


def _check_names(given: Collection[str], kinds: Mapping[str, ArgumentKind], takes_any: bool, expected: str) -> None:
    """Refuse arguments that a function does not take, and name those that it lacks.

    Args:
        given: names on the command line.
        kinds: the function's arguments.
        takes_any: whether it takes other names, too.
        expected: its usage.

    Raises:
        UsageError: naming one, and what may have been meant.
    """
    unknown = [name for name in given if name not in kinds]
    if unknown and not takes_any:
        near = get_close_matches(unknown[0], kinds, n=1)
        hint = f"did you mean --{near[0]}?" if near else f"expected {expected}"
        raise UsageError(f"--{unknown[0]}: there is no such argument; {hint}")
    missing = [name for name, kind in kinds.items() if kind.is_needed and name not in given]
    if missing:
        near = get_close_matches(missing[0], unknown, n=1, cutoff=0.8)
        hint = f"did you mean it by --{near[0]}?" if near else f"expected {expected}"
        shown = missing[0].upper() if missing[0] == next(iter(kinds)) else f"--{missing[0]}"  # as in the usage
        raise UsageError(f"{shown} is missing; {hint}")


def _split(
    words: Sequence[str], kinds: Mapping[str, ArgumentKind], flags: Collection[str]
) -> tuple[list[str], dict[str, str | bool], list[str | None]]:
    """Return the words in order that belong to no keyword, keywords with their texts, or True and False, and for each
    of the words the keyword whose value stands right before it.
    """
    positional: list[str] = []
    options: dict[str, str | bool] = {}
    before: list[str | None] = []
    waiting, latest = list(words), None
    while waiting:
        word = waiting.pop(0)
        if not _FLAG.match(word):
            positional.append(word)
            before.append(latest)
            continue
        key, equals, text = word.lstrip("-").partition("=")
        key = _full_name(key.replace("-", "_"), kinds)
        options.pop(key, None)  # the last one counts, in its place
        if equals:
            options[key] = text
        elif waiting and not _FLAG.match(waiting[0]) and (key not in kinds or kinds[key].starts_with(waiting[0])):
            options[key] = waiting.pop(0)
        elif key.startswith("no_"):
            options[key[3:]] = False
        elif key.startswith("no") and key not in flags and key[2:] in flags:
            options[key[2:]] = False
        else:
            options[key] = True
        latest = key if isinstance(options.get(key), str) else None
    return positional, options, before


def _full_name(key: str, names: Iterable[str]) -> str:
    """Return the argument that a single letter stands for, if it is the only one that begins with it."""
    matching = [name for name in names if len(key) == 1 and name.startswith(key)]
    return matching[0] if len(matching) == 1 else key
