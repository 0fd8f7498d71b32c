"""``python -m common <command>``: the commands of this project, in the manner of ``python -m monai.bundle``."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from common.configs.arguments import UsageError, read_arguments, usage
from common.configs.checks import check_configs
from common.files.writing import check_writable
from common.training.failures import show_failures


class _Command(NamedTuple):
    """A command: the function that it calls, what it does in a line, and what to print of the result."""

    module: str
    function: str
    summary: str
    said: str | None = None


_COMMANDS = {
    "pipeline": _Command("common.pipeline.run", "run_pipeline", "run the stages of a bundle, one after the other"),
    "study": _Command("common.study.run", "run_study", "compare methods on a grid of budgets"),
    "report": _Command("common.report", "write_report", "write the tables, figures and pictures of a study"),
    "check": _Command("common.pipeline.check", "check_bundle", "check a dataset before any training"),
    "phantoms": _Command("common.datasets", "write_phantoms", "write procedural images in a dataset's layout", "{}"),
    "create": _Command("common.templates", "create_bundle", "write a bundle from a page of facts", "{}"),
    "release": _Command("common.release", "release_bundle", "write a student as a bundle of its own", "released: {}"),
    "pretrain_teacher": _Command(
        "common.teachers.stand_in.pretraining", "pretrain_teacher", "pre-train the stand-in teacher"
    ),
}
_HELP = {"--help", "-h"}


def main() -> None:
    """Run the command that the command line names.

    Raises:
        SystemExit: with code 2, after one line, if there is no such command, or it lacks an argument or takes none.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    show_failures()
    try:
        _run(sys.argv[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def _run(words: Sequence[str]) -> None:
    if not words or words[0] in _HELP:
        print(_overview())
        return
    name = words[0].replace("-", "_")
    if name not in _COMMANDS:
        raise UsageError(f"there is no command {words[0]!r}; the commands are {', '.join(_COMMANDS)}")
    command = _COMMANDS[name]
    function = getattr(import_module(command.module), command.function)
    if _HELP.intersection(words):
        print(_help(name, function))
        return
    try:
        arguments = read_arguments(function, words[1:])
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    own = inspect.signature(function).parameters
    check_configs([{key: value for key, value in arguments.items() if key in own}])
    if arguments.get("output_dir") is not None:
        check_writable(arguments["output_dir"], "--output_dir")
    result = function(**arguments)
    if command.said is not None:
        print(command.said.format(result))


def _overview() -> str:
    width = max(map(len, _COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in _COMMANDS.items()]
    return "\n".join(
        ["python -m common COMMAND ...", "", *lines, "", "python -m common COMMAND --help says what a command takes."]
    )


def _help(name: str, function: Callable) -> str:
    return f"python -m common {name} {usage(function)}\n\n{inspect.getdoc(function)}"


if __name__ == "__main__":
    main()
