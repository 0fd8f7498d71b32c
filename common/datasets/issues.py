"""Issues of a dataset, listed all at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import InputError
from common.files.shown import seen_from

_MAX_LISTED = 20  # issues shown in full: more would scroll the first ones off the screen


class DatasetIssues:
    """Collects what is wrong with a dataset, so that the user hears of everything at once.

    Args:
        dataset: name of the dataset as the user knows it.
        folder: where it was looked for.
        messages: issues to begin with.
    """

    def __init__(self, dataset: str, folder: str | os.PathLike, messages: Iterable[str] = ()) -> None:
        self.dataset = dataset
        self.folder = folder
        self.messages: list[str] = list(messages)

    def add(self, message: str) -> None:
        """Note one issue, once; the message starts with the file, folder or key it is about."""
        if message not in self.messages:
            self.messages.append(message)

    @contextmanager
    def collect(self, root: Path | None = None) -> Iterator[None]:
        """Note an ``InputError`` raised in the block instead of letting it out.

        Args:
            root: a folder, to which paths in the message become relative.
        """
        try:
            yield
        except InputError as error:
            self.add(str(error) if root is None else seen_from(root, str(error)))

    def raise_if_any(self) -> None:
        """Raise one ``InputError`` that lists the issues, if there are any."""
        if not self.messages:
            return
        count = len(self.messages)
        lines = [f"{self.dataset} in {self.folder}: {count} {'issue' if count == 1 else 'issues'}"]
        lines += [f"  - {message}" for message in self.messages[:_MAX_LISTED]]
        if count > _MAX_LISTED:
            lines.append(f"  ... and {count - _MAX_LISTED} more")
        raise InputError("\n".join(lines))
