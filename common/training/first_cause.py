"""The first cause of a failure in one line, whatever has wrapped it on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from traceback import walk_tb
from typing import NamedTuple

from common.errors import InputError, StageError, causes
from common.files.writing import is_disk_full, no_space

_MAX_LENGTH = 400  # characters of a message that is not for users
_OURS = {InputError.__name__, StageError.__name__}
_RUN_BY_MONAI = {"initialize", "run", "finalize"}  # lists of what is done, and no key that a user gives
_BETWEEN = re.compile(
    r"\n\n(?:The above exception was the direct cause of|During handling of the above exception, another exception "
    r"occurred)[^\n]*\n\n"
)
_IN_TEXT = "Original Traceback (most recent call last):"  # of a process of a DataLoader, which sends no more than text
_LAST_LINE = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?\Z", re.DOTALL | re.MULTILINE)

_SHARED_MEMORY = re.compile(r"shared memory|</torch_\d+|Bus error", re.IGNORECASE)
_KILLED = re.compile(r"DataLoader worker \(pid\S* [\d, ]+\) (?:is killed by signal: Killed|exited unexpectedly)")
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|Cannot allocate memory", re.I)


class FirstCause(NamedTuple):
    """What a failure began with."""

    text: str  # a line, without an end of line
    is_known: bool  # whether it says all that a user needs, so that nobody has to read the traceback


class _Error(NamedTuple):
    """One of the errors that led to a failure."""

    kind: str  # name of its type
    text: str  # its message


def first_cause(error: BaseException, place: str | os.PathLike | None = None) -> FirstCause:
    """Return what a failure began with: the key or file, and what to do where that is known.

    It is the message of an :class:`InputError` if there is one, which may have several lines if it lists several
    faults. What went wrong with the machine is said with the option that helps. Any other error is named with its type,
    and with the key of the config that MONAI was reading.

    Args:
        error: with its traceback, and with the errors that led to it; those in processes of a ``DataLoader`` as well,
            of which there is text alone.
        place: where the failed run writes, to name it if the disk is full.
    """
    found = [each for one in causes(error) for each in _unpacked(one)]
    said = next((each.text for each in found if each.kind in _OURS), None)
    if said is None:
        said = _advice(error, found, place)
    if said is not None:
        return FirstCause(said, is_known=True)
    cause = found[-1]
    text = " ".join(cause.text.split())
    text = text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 3]}..."
    return FirstCause(": ".join(part for part in (_key_of(error), cause.kind, text) if part), is_known=False)


def _advice(error: BaseException, found: list[_Error], place: str | os.PathLike | None) -> str | None:
    """Return what to say where the machine is too small or somebody ended the run; None where it is something else."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command goes on from there"
    if isinstance(error, BrokenPipeError):
        return "nobody reads what is printed any more (broken pipe)"
    texts = [each.text for each in found]
    if any(map(_SHARED_MEMORY.search, texts)):
        return (
            "no space left in /dev/shm, by which the processes that load data hand it over: give --num_workers 0, or "
            "more of it, in Docker by docker run --shm-size=2g"
        )
    if any(map(_KILLED.search, texts)):
        return (
            "a process that loads data was killed, most often since memory ran out: give --num_workers 0 or fewer than "
            "now, or a smaller --batch_size"
        )
    if any(each.kind in ("OutOfMemoryError", "MemoryError") or _OUT_OF_MEMORY.search(each.text) for each in found):
        where = "of the GPU" if any("CUDA" in text for text in texts) else "of this machine"
        return (
            f"the memory {where} is too small ({_first_line(texts[-1])}): give a smaller --batch_size, or a smaller "
            "--crop_size, --image_size or --sample_size, whichever the stage has"
        )
    return no_space(place or "the folder of the results") if is_disk_full(error) else None


def _unpacked(error: BaseException) -> Iterator[_Error]:
    """Yield an error as a :class:`_Error`; in its place those that its text tells of, the first cause last."""
    text = str(error)
    if _IN_TEXT not in text:
        kind = next((base.__name__ for base in type(error).__mro__ if base.__name__ in _OURS), type(error).__name__)
        yield _Error(kind, text)
        return
    for block in reversed(_BETWEEN.split(text.rstrip())):
        told = _told_by(block)
        if told is not None:
            yield told


def _told_by(block: str) -> _Error | None:
    """Return the error at the end of one traceback, whose own lines are all indented."""
    lines = block.splitlines()
    starts = [number for number, line in enumerate(lines) if line.endswith("Traceback (most recent call last):")]
    after = lines[starts[-1] + 1 :] if starts else []
    end = next((number for number, line in enumerate(after) if line and not line[0].isspace()), None)
    match = None if end is None else _LAST_LINE.match("\n".join(after[end:]))
    return match and _Error(match["kind"].rpartition(".")[2], match["text"] or "")


def _key_of(error: BaseException) -> str | None:
    """Return the key of the config that MONAI was resolving when an error was raised; its messages lack it."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == "_resolve_one_item"]
    key = frames[-1].f_locals.get("id") if frames else None
    return key if isinstance(key, str) and key.partition("::")[0] not in _RUN_BY_MONAI else None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].split(". ")[0] or "MemoryError"
