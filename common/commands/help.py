"""What the command line says of itself: all commands, and what each of them takes."""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from common.commands.docstrings import read_docstring
from common.commands.registry import COMMANDS, Command
from common.configs.argument_kinds import ArgumentKind
from common.configs.arguments import argument_kinds, usage
from common.configs.checks import RULES
from common.configs.rules import Rule

_COLUMN = 28  # where the texts beside options begin
_LISTED = {  # arguments whose values the command list has
    "dataset": "datasets",
    "method": "methods",
    "methods": "methods",
    "overlay": "overlays",
    "pretrained": "teachers",
    "stages": "stages",
}
_QUICK_START = """\
From a folder of images and masks to masks of new images:
  {program} create wounds --images photos/ --labels masks/ --classes background,wound --output_dir .
  {program} check wounds_segmentation
  {program} pipeline wounds_segmentation --output_dir runs/wounds
  {program} predict new_photos/ --weights runs/wounds/model.pt --output_dir new_masks/"""


def program() -> str:
    """Return the name that the command line was called by."""
    name = Path(sys.argv[0]).name.removesuffix(".exe")
    return "python -m common" if name == "__main__.py" else name


def version() -> str:
    """Return the name and version of what is installed."""
    return f"task-distill {metadata.version('task-specific-distillation')}"


def overview() -> str:
    """Return what is said without a command: all of them, each in a line."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"{program()} COMMAND ...",
            "",
            *lines,
            "",
            _QUICK_START.format(program=program()),
            "",
            f"{program()} COMMAND --help says what a command takes, {program()} --version which version this is.",
        ]
    )


def command_help(command: Command) -> str:
    """Return what a command does, each of its arguments with type and default, and examples."""
    signature, docstring = command.source
    said = read_docstring(docstring)
    kinds, rules = list(argument_kinds(signature).values()), RULES | command.rules
    needed = [_describe(kind, said.arguments, rules, is_first=kind is kinds[0]) for kind in kinds if kind.is_needed]
    options = [_describe(kind, said.arguments, rules) for kind in kinds if not kind.is_needed]
    options += [
        _entry("--KEY VALUE", said.arguments.get(name, "").removesuffix("."), _remark(_listed("keys BUNDLE")))
        for name, each in signature.parameters.items()
        if each.kind is inspect.Parameter.VAR_KEYWORD
    ]
    blocks = [
        _fill(f"{program()} {command.name} {usage(signature)}", "    "),
        "\n\n".join(_fill(paragraph) for paragraph in said.paragraphs),
        _block("needed", needed),
        _block("options", options),
        _block("examples", [f"  {program()} {example}" for example in command.examples]),
    ]
    return "\n\n".join(block for block in blocks if block)


def _block(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *lines]) if lines else ""


def _describe(kind: ArgumentKind, texts: Mapping[str, str], rules: Mapping[str, Rule], is_first: bool = False) -> str:
    head = kind.name.upper() if is_first else f"--{kind.name} {kind.placeholder}".rstrip()
    listed = _listed(_LISTED[kind.name]) if kind.name in _LISTED else ""
    return _entry(
        head, texts.get(kind.name, "").removesuffix("."), _remark(_limits(kind, rules), _default(kind), listed)
    )


def _remark(*texts: str) -> str:
    said = "; ".join(text for text in texts if text)
    return f"({said})" if said else ""


def _listed(what: str) -> str:
    return f"see: {program()} list {what}"


def _limits(kind: ArgumentKind, rules: Mapping[str, Rule]) -> str:
    """Return what a value may be where its placeholder does not say so."""
    rule = rules.get(kind.name)
    return rule.expected if rule and kind.placeholder == "NUMBER" else ""


def _default(kind: ArgumentKind) -> str:
    default = kind.parameter.default
    if kind.is_switch:
        return f"a switch, {'on' if default is True else 'off'} by default"
    return "" if kind.is_needed or default is None or default == "" else f"default: {default}"


def _entry(head: str, *texts: str) -> str:
    """Return an argument in the left column, and what is said of it in the right one."""
    indent = " " * _COLUMN
    text = _fill(" ".join(each for each in texts if each), indent, indent)
    head = f"  {head}"
    if len(head) < _COLUMN - 1:
        return f"{head:{_COLUMN}}{text[_COLUMN:]}".rstrip()
    return f"{head}\n{text}".rstrip()


def _fill(text: str, after: str = "", first: str = "") -> str:
    width = min(max(shutil.get_terminal_size().columns, 60), 120)
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=after, break_long_words=False, break_on_hyphens=False
    )
