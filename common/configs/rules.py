"""What a value may be: numbers in a range, names among others, each with the words that tell a user."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What values are allowed, in words, and the test for it.

    A rule never holds for a bool in place of a number, nor for NaN or infinity.
    """

    expected: str
    allows: Callable[[Any], bool]


def whole(least: int, most: int | None = None) -> Rule:
    """Return the rule of whole numbers in a range; 2.0 is none."""
    limit = f"of at least {least}" if most is None else f"from {least} to {most}"
    return Rule(
        f"a whole number {limit}",
        lambda value: type(value) is int and value >= least and (most is None or value <= most),
    )


def number(
    *, above: float | None = None, least: float | None = None, below: float | None = None, most: float | None = None
) -> Rule:
    """Return the rule of finite numbers in a range, open at ``above`` and ``below``."""
    limits = {"above": above, "of at least": least, "below": below, "of at most": most}
    words = " and ".join(f"{word} {limit}" for word, limit in limits.items() if limit is not None)

    def allows(value: Any) -> bool:
        return (
            is_number(value)
            and (above is None or value > above)
            and (least is None or value >= least)
            and (below is None or value < below)
            and (most is None or value <= most)
        )

    return Rule(f"a number {words}", allows)


def is_number(value: Any) -> bool:
    """Say whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def one_of(*values: Any) -> Rule:
    """Return the rule of some values, of their type."""
    *others, last = values
    words = f"{', '.join(map(str, others))} or {last}"
    return Rule(words, lambda value: any(type(value) is type(each) and value == each for each in values))


def optional(rule: Rule) -> Rule:
    """Return a rule that null fits too."""
    return Rule(f"{rule.expected}, or null", lambda value: value is None or rule.allows(value))


def list_of(rule: Rule, plural: str) -> Rule:
    """Return the rule of lists, not empty, of what another rule allows."""
    return Rule(
        f"a list of {plural}",
        lambda value: isinstance(value, (list, tuple)) and len(value) > 0 and all(map(rule.allows, value)),
    )


def increasing_pair(example: str, least: float = -math.inf, most: float = math.inf) -> Rule:
    """Return the rule of two numbers in a range, the second one larger."""
    limit = f" from {least:g} to {most:g}" if math.isfinite(most) else ""

    def allows(value: Any) -> bool:
        pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_number, value))
        return pair and least <= value[0] < value[1] <= most

    return Rule(f"two increasing numbers{limit}, such as {example}", allows)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_device(value: Any) -> bool:
    """Say whether PyTorch can compute on a device, without touching it."""
    import torch  # here because masks are predicted where it is not installed

    try:
        device = torch.device(value)
        if device.type == "cpu":
            return True
        backend = torch.get_device_module(device)
        return backend.is_available() and (device.index or 0) < backend.device_count()
    except (RuntimeError, TypeError, AttributeError):  # no such name, or none that has devices
        return False


BOOLEAN = Rule("true or false", lambda value: type(value) is bool)
TEXT = Rule("a name", _is_text)
NAMES = Rule("a name or a list of names", lambda value: _is_text(value) or list_of(TEXT, "names").allows(value))


def device_rule() -> Rule:
    """Return the rule of devices that there are on this machine."""
    if find_spec("torch") is None:
        return Rule("cpu alone, since PyTorch is not installed here", lambda value: value == "cpu")
    import torch  # see _is_device

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = "cpu alone, since PyTorch finds no GPU here" if not gpus else f"cpu, or cuda:0 to cuda:{gpus - 1}"
    return Rule(found, _is_device)
