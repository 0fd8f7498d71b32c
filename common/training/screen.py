"""What a stage shows on the screen: its own lines in one form, and nothing that libraries say of themselves."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import textwrap
import warnings
from typing import TextIO

from common.files.shown import seen_from
from common.training.bar import clear_for
from common.training.said_once import is_news
from common.training.stage_log import is_for_screen

_INDENT = "    "  # below the name of the stage


class PlainLines(logging.Formatter):
    """Messages as they are, with paths from the current folder; what is more than news says so.

    Args:
        stream: where they are shown; a terminal would break long lines in the middle of a word.
        indent: before each line.
    """

    def __init__(self, stream: TextIO, indent: str = "") -> None:
        super().__init__()
        self.stream = stream
        self.indent = indent

    def format(self, record: logging.LogRecord) -> str:
        text = seen_from(os.getcwd(), super().format(record))
        kind = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return "\n".join(self._fold(self.indent + line) for line in (kind + text).split("\n"))

    def _fold(self, line: str) -> str:
        width = shutil.get_terminal_size().columns
        if not self.stream.isatty() or len(line) <= width:
            return line
        indent = self.indent + "  "
        return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def show_plain_lines() -> None:
    """Have this process log to standard error in plain lines, without what libraries say of themselves.

    For a command, whose standard output is its result. Where something logs already, that stays as it is.
    """
    if not sys.warnoptions:  # nobody has asked for warnings
        warnings.simplefilter("ignore")
    handler = logging.StreamHandler()
    handler.setFormatter(PlainLines(handler.stream))
    handler.addFilter(is_for_screen)
    handler.addFilter(clear_for)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def show_own_lines() -> None:
    """Have this process log to standard output in plain lines, and warnings of Python to the log of the stage alone.

    For the process of a stage in a pipeline, which takes no ``logging.conf``.
    """
    warnings.simplefilter("default")
    logging.captureWarnings(True)
    take_over_monai()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(PlainLines(handler.stream, _INDENT))
    handler.addFilter(is_for_screen)
    handler.addFilter(clear_for)
    handler.addFilter(is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def on_screen() -> list[logging.Handler]:
    """Return the handlers that write to the screen: those of all logs, and MONAI's own."""
    handlers = list(logging.getLogger().handlers)
    for logger in _monais_loggers():
        handlers += logger.handlers
    return [handler for handler in handlers if not isinstance(handler, logging.FileHandler)]


def take_over_monai() -> None:
    """Have MONAI's loggers pass their records on: they write to standard output on their own, in another form."""
    for logger in _monais_loggers():
        logger.handlers.clear()
        logger.propagate = True


def _monais_loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.items()
    return [logger for name, logger in known if name.startswith("monai.") and isinstance(logger, logging.Logger)]


def hide_loading_bars() -> None:
    """Turn off the bars of transformers and diffusers for reading weights; downloads keep theirs on a terminal."""
    for name in ("transformers", "diffusers"):
        if name in sys.modules:
            sys.modules[name].utils.logging.disable_progress_bar()
    hub = sys.modules.get("huggingface_hub.utils")
    if hub is not None and sys.stderr.isatty():
        hub.enable_progress_bars()
