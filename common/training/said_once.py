"""What all stages of a pipeline say of the same data, and of the same teacher, is shown once."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHARED = (".datasets.", ".teachers.")  # parts of the names of logs: what these tell, every stage may tell again
_VARIABLE = "COMMON_SAID"  # of the environment: the file of what was said, a line each


@contextmanager
def remembered() -> Iterator[None]:
    """Have the processes that are started in here show a notice once among them."""
    with tempfile.TemporaryDirectory(prefix="said-") as folder:
        path = Path(folder) / "said"
        path.touch()
        os.environ[_VARIABLE] = str(path)
        try:
            yield
        finally:
            del os.environ[_VARIABLE]


def is_news(record: logging.LogRecord) -> bool:
    """Say whether a record is to be shown.

    It is not if it is a warning, or tells of a dataset or a teacher, and another stage has shown it.
    """
    file = os.environ.get(_VARIABLE)
    if file is None or not (record.levelno == logging.WARNING or any(each in record.name for each in _SHARED)):
        return True
    path, text = Path(file), f"{record.name} {record.getMessage()}".replace("\n", " ")
    with path.open("a+", encoding="utf-8", errors="backslashreplace") as said:
        said.seek(0)
        if text in said.read().split("\n"):
            return False
        said.write(f"{text}\n")
    return True
