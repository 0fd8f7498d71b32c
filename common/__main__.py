"""``task-distill <command>``, or ``python -m common <command>``: the commands of this project."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.commands.help import command_help, overview, program, version
from common.commands.registry import find_command
from common.configs.arguments import UsageError, read_arguments
from common.configs.checks import check_configs
from common.files.writing import check_writable
from common.training.failures import show_failures
from common.training.screen import show_plain_lines

_HELP = {"--help", "-h"}


def main() -> None:
    """Run the command that the command line names.

    Raises:
        SystemExit: with code 2, after one line, if there is no such command, or it lacks an argument or takes none.
    """
    show_plain_lines()
    show_failures()
    try:
        _run(sys.argv[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def _run(words: Sequence[str]) -> None:
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or words[0] in _HELP:
        print(overview())
        return
    if words[0] == "--version":
        print(version())
        return
    command = find_command(words[0])
    if _HELP.intersection(words):
        print(command_help(command))
        return
    signature = command.source.signature
    try:
        arguments = read_arguments(signature, command.with_current_names(words[1:]))
    except UsageError as error:
        raise UsageError(f"{command.name}: {error}; see {program()} {command.name} --help") from None
    check_configs([{key: value for key, value in arguments.items() if key in signature.parameters}])
    if arguments.get("output_dir") is not None:
        check_writable(arguments["output_dir"], "--output_dir")
    command.run(arguments)


if __name__ == "__main__":
    main()
