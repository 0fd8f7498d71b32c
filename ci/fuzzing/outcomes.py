"""What can come of an input, and the table that counts it."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Kind(enum.StrEnum):
    """What came of an input; those from TRACEBACK on are faults."""

    RIGHT = "right"  # an independent reading agrees
    REFUSED = "refused"  # one clear line, and a non-zero code
    NOT_JUDGED = "not judged"  # a result, and nothing to compare it with
    TRACEBACK = "tracebacks"  # or an end without a word about the input
    HANG = "hangs"
    SILENT = "silent"  # a wrong result without a word
    NEEDLESS = "needless"  # a sound input was refused
    EXECUTED = "executed"  # code in a file ran
    STRAY = "strays"  # something was written outside the output folder, or half-written files stayed
    UNTRIED = "untried"  # the fuzzer could not make or judge it


FAULTS = (Kind.TRACEBACK, Kind.HANG, Kind.SILENT, Kind.NEEDLESS, Kind.EXECUTED, Kind.STRAY, Kind.UNTRIED)


class Outcome(NamedTuple):
    """What came of one input.

    Attributes:
        name: by which it can be run again.
        target: what was tried.
        kind: what came of it.
        detail: why, in one line.
        seconds: how long it took.
    """

    name: str
    target: str
    kind: Kind
    detail: str = ""
    seconds: float = 0

    @property
    def is_fault(self) -> bool:
        """Whether something must be repaired."""
        return self.kind in FAULTS


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the numbers of each target, and of all."""
    outcomes = list(outcomes)
    targets = list(dict.fromkeys(each.target for each in outcomes))
    counts = {target: Counter(each.kind for each in outcomes if each.target == target) for target in targets}
    counts["all"] = Counter(each.kind for each in outcomes)
    heads = ("target", "inputs", *Kind)
    rows = [(target, count.total(), *(count[kind] for kind in Kind)) for target, count in counts.items()]
    widths = [max(len(str(row[place])) for row in [heads, *rows]) for place in range(len(heads))]
    return "\n".join("  ".join(_aligned(row, widths)) for row in [heads, *rows])


def _aligned(row: tuple, widths: list[int]) -> list[str]:
    first, *others = row
    return [f"{first:{widths[0]}}", *(f"{each:>{width}}" for each, width in zip(others, widths[1:], strict=True))]
