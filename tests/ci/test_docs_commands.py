"""Every command of every page is one that the program takes: its arguments, the keys of stages, and their values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keys_page
import pytest

from common.commands.config_keys import read_keys
from common.commands.registry import find_command
from common.configs.arguments import argument_kinds, read_arguments
from common.configs.checks import check_configs
from common.distillation.methods import METHODS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PAGES += sorted((ROOT / "bundles").glob("*/docs/README.md"))
OURS = re.compile(r"^(?:task-distill|python -m common) ")
BUNDLE_RUN = re.compile(r"^(?:torchrun .*)?python -m monai\.bundle run |^torchrun .* -m monai\.bundle run ")
SCRIPT = re.compile(r"(?:^|\s)(?:bash|python) (ci/[\w/]+\.(?:sh|py))\b")
# What MONAI's run takes beside the keys of a config.
OF_MONAI = {"config_file", "meta_file", "logging_file", "run_id", "init_id", "final_id", "args_file"}
OF_MONAI |= {"tracking", "run_name", "save_execute_config"}


class Line(NamedTuple):
    page: Path
    text: str


def lines_of(page: Path) -> Iterator[Line]:
    """Yield the lines of the page's blocks of code, those that a backslash continues as one."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    for block in blocks:
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            yield Line(page, line.strip())


LINES = [line for page in PAGES for line in lines_of(page)]
COMMANDS = [line for line in LINES if OURS.match(line.text)]
RUNS = [line for line in LINES if BUNDLE_RUN.match(line.text)]


def name_of(line: Line) -> str:
    return f"{line.page.relative_to(ROOT)}: {line.text[:80]}"


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """The keys of all stages, and those of the methods and overlays."""
    overlays = [method.config for method in METHODS.values() if method.config]
    overlays += (ROOT / "bundles").glob("*/configs/*.yaml")
    return {row.name for row in keys_page.read_rows()} | {key.name for path in overlays for key in read_keys(path)}


def words_of(text: str) -> list[str]:
    """Return the words of a command as a shell reads them, without what comes after a pipe or in a comment."""
    words = shlex.split(text, comments=True)
    return words[: words.index("|")] if "|" in words else words


def test_there_are_commands_to_look_at():
    assert len(COMMANDS) > 30
    assert len(RUNS) > 10


@pytest.mark.parametrize("line", COMMANDS, ids=name_of)
def test_a_command_has_arguments_and_values_that_it_takes(line, keys):
    name, *words = words_of(OURS.sub("", line.text))
    if name.startswith("-"):  # --help, --version
        assert name in ("--help", "--version")
        return
    command = find_command(name)
    if "--help" in words:
        return
    signature = command.source.signature
    arguments = read_arguments(signature, words)
    given = {key: value for key, value in arguments.items() if key not in argument_kinds(signature)}
    assert {key.split("::")[0].lstrip("+~") for key in given} <= keys
    check_configs([arguments])


@pytest.mark.parametrize("line", RUNS, ids=name_of)
def test_a_run_of_a_bundle_names_a_config_and_keys_that_there_are(line, keys):
    words = words_of(line.text)
    given = {word.removeprefix("--") for word in words[words.index("run") :] if word.startswith("--")}
    assert {key.split("::")[0] for key in given} <= keys | OF_MONAI
    for name in re.findall(r"[\w/.-]*configs/([\w]+)\.yaml", line.text):
        assert list((ROOT / "bundles").glob(f"*/configs/{name}.yaml")), name


def test_scripts_are_there():
    named = {name for line in LINES for name in SCRIPT.findall(line.text)}
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / name).is_file()]
