"""Help says what every command takes: each argument in words, with its type and default, and an example."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module

import pytest

from common.commands.docstrings import read_docstring
from common.commands.help import command_help
from common.commands.registry import COMMANDS, Command
from common.configs.arguments import argument_kinds, read_arguments


def pytest_generate_tests(metafunc):
    if "command" in metafunc.fixturenames:
        metafunc.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))


@pytest.fixture(autouse=True)
def program(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/task-distill"])
    monkeypatch.setenv("COLUMNS", "100")


def test_source_of_a_command_says_what_the_function_has(command):
    module, name = command.function.split(":")
    signature = inspect.signature(getattr(import_module(module), name))
    found = command.source.signature
    assert list(found.parameters) == list(signature.parameters)
    for name, parameter in signature.parameters.items():
        assert found.parameters[name].kind == parameter.kind
        assert found.parameters[name].default == parameter.default
        assert found.parameters[name].annotation == parameter.annotation


def test_every_argument_is_explained_in_its_place_with_its_default(command):
    said = read_docstring(command.source.docstring).arguments
    printed = " ".join(command_help(command).split())
    assert set(said) == set(command.source.signature.parameters)
    for name, kind in argument_kinds(command.source.signature).items():
        is_first = kind.is_needed and name == next(iter(command.source.signature.parameters))
        head = name.upper() if is_first else f"--{name} {kind.placeholder}".rstrip()
        assert f"{head} {said[name].removesuffix('.')}" in printed
        if kind.parameter.default not in (inspect.Parameter.empty, None, True, False, ""):
            assert f"default: {kind.parameter.default}" in printed


def test_examples_are_command_lines_that_the_command_takes(command):
    assert command.examples
    for example in command.examples:
        name, *words = example.split()
        assert name == command.name
        assert read_arguments(command.source.signature, words) or not words
        assert f"  task-distill {example}\n" in command_help(command) + "\n"


def test_help_shows_no_marks_of_docstrings(command):
    printed = command_help(command)
    assert "``" not in printed
    assert not re.search(r":\w+:", printed)
    assert "common." not in printed.replace("python -m common.", "")


def test_types_limits_and_lists_are_shown():
    printed = " ".join(command_help(COMMANDS["pretrain_teacher"]).split())
    assert "--steps NUMBER optimiser steps" in printed
    assert "(a whole number of at least 0; default: 1400)" in printed
    printed = " ".join(command_help(COMMANDS["pipeline"]).split())
    assert "--demo try it out in minutes, without data" in printed
    assert "(a switch, off by default) --method TEXT" in printed
    assert "(default: task_specific_kd; see: task-distill list methods)" in printed


def test_a_limit_is_that_of_the_command():
    printed = " ".join(command_help(COMMANDS["create"]).split())
    assert "to choose the best weights, one or more (a whole number of at least 1)" in printed


def test_a_command_line_is_understood_before_pytorch_and_monai_are_imported():
    lines = [["--help"], ["--version"], ["pipeline", "--help"], ["predict", "--help"], ["pipeline"], ["pipelin"]]
    code = f"""
import sys
for name in ("torch", "monai", "fire", "ignite", "transformers", "matplotlib"):
    sys.modules[name] = None  # importing it fails
from common.__main__ import main
for words in {lines}:
    sys.argv = ["task-distill", *words]
    try:
        main()
    except SystemExit as end:
        print("code", end.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("code 2") == 2
    assert done.stderr.count("error: ") == 2
    assert "Run a bundle's stages in order" in done.stdout


def test_docstrings_are_taken_apart():
    found = read_docstring(
        "First.\n\nSecond of\n:func:`~a.b.c` and ``d``.\n\nExample: x\n\n"
        "Args:\n    one: is ``1``,\n        or 2.\n    two: is more.\n\nRaises:\n    ValueError: if not.\n"
    )
    assert found.paragraphs == ["First.", "Second of c and d."]
    assert found.arguments == {"one": "is 1, or 2.", "two": "is more."}


def test_overview_names_every_command_and_the_way_from_a_folder_to_masks(monkeypatch, capsys):
    from common.__main__ import main

    for line in ([], ["--help"], ["-h"], ["help"]):
        monkeypatch.setattr(sys, "argv", ["/usr/bin/task-distill", *line])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        main()
        printed = capsys.readouterr().out
        for name, command in COMMANDS.items():
            assert re.search(rf"\n  {name} +{command.summary}\n", printed)
        for name in ("create", "check", "pipeline", "predict"):
            assert f"  task-distill {name} " in printed


def test_help_of_a_command_has_several_ways(monkeypatch, capsys):
    from common.__main__ import main

    texts = set()
    for line in (["pipeline", "--help"], ["help", "pipeline"], ["pipeline", "bundles", "-h"]):
        monkeypatch.setattr(sys, "argv", ["/usr/bin/task-distill", *line])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        main()
        texts.add(capsys.readouterr().out)
    assert len(texts) == 1
    assert texts.pop().startswith("task-distill pipeline BUNDLE --output_dir PATH [options] [--key value ...]\n")


def test_the_program_is_called_as_it_was_called():
    command = [sys.executable, "-m", "common", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("python -m common COMMAND")


def test_a_command_that_gives_its_function_a_default_by_name():
    command = Command(name="x", function="common.pipeline.run:run_pipeline", summary="", examples=())
    assert command.source.signature.parameters["method"].default == "task_specific_kd"
