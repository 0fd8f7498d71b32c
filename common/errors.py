"""The error a user can fix, and what led to an error."""

from __future__ import annotations

from collections.abc import Iterator


class InputError(ValueError):
    """Something the user gave is missing or wrong.

    The message names the file or key, says what was expected and what to do; it is shown without a traceback.
    """


class StageError(InputError):
    """A stage that ran in a process of its own failed; the message has its cause."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it, the first cause last, as a traceback shows them."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
