"""What an input is given to: how one is made, what is run on it, and how the result is judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis.strategies import SearchStrategy

from fuzzing.outcomes import Kind

LIMIT = 60.0


class Verdict(NamedTuple):
    """What a result is worth."""

    kind: Kind
    detail: str = ""


RIGHT = Verdict(Kind.RIGHT)


def not_judged(why: str) -> Verdict:
    """Return the verdict on a result that nothing independent can confirm."""
    return Verdict(Kind.NOT_JUDGED, why)


def silent(why: str) -> Verdict:
    """Return the verdict on a wrong result."""
    return Verdict(Kind.SILENT, why)


class Target(NamedTuple):
    """One reader or command.

    Attributes:
        name: of the target.
        plans: draws what is done to an input, as what JSON can hold.
        make: writes the input of a plan into a folder ``in``; it gets the plan, the folder that has ``in``, and the
            folder of :mod:`fuzzing.sources`.
        run: what is tried, in that folder, in a process of its own; what it returns is judged, and it may write to
            ``out`` alone.
        judge: gets the plan, the folder, the result, and what was printed.
        accepts: says whether an input is sound, so that it must not be refused.
        share: how often it is tried, against the others.
        limit: seconds after which an input counts as a hang; more than usual where sound ones take longer.
    """

    name: str
    plans: SearchStrategy
    make: Callable[[Any, Path, Path], None]
    run: Callable[[Any, Path], Any]
    judge: Callable[[Any, Path, Any, str], Verdict]
    accepts: Callable[[Any, Path], bool] = lambda plan, folder: False
    share: float = 1
    limit: float = LIMIT
