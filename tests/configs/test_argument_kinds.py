"""The annotation of an argument says what its words on a command line mean."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from common.configs.argument_kinds import ArgumentKind
from common.configs.arguments import UsageError, argument_kinds, read_arguments
from common.errors import InputError


def create(
    name: str,
    images: str | os.PathLike | None = None,
    classes: str | Sequence[str] | None = None,
    patient: str | None = None,
    sizes: int | Sequence[int] = 3,
    rate: float = 0.5,
    colours: Mapping[str, Sequence[int]] | None = None,
    files: str | Mapping[str, str] | None = None,
    form: Literal["png", "nifti"] = "png",
    table: bool = False,
    anything: Any = None,
) -> None:
    pass


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--images 2024", "2024"),
        ("--images null", None),
        ("--images ~/x", os.path.expanduser("~/x")),
        ("--images a,b", "a,b"),
        ("--classes background,1", ["background", "1"]),
        ("--classes wound", "wound"),
        ("--classes [a, b]", ["a", "b"]),
        (r"--patient [a-z]+(\d+)", r"[a-z]+(\d+)"),
        ("--patient 007", "007"),
        ("--patient none", "none"),
        ("--patient null", None),
        ("--sizes 1,2", [1, 2]),
        ("--sizes 1", 1),
        ("--sizes [1,2]", [1, 2]),
        ("--rate 1e-3", 0.001),
        ("--colours {wound: [255, 0, 0]}", {"wound": [255, 0, 0]}),
        ("--files wound=_wound,skin=#00ff00", "wound=_wound,skin=#00ff00"),
        ("--files {wound: _wound}", {"wound": "_wound"}),
        ("--form nifti", "nifti"),
        ("--table", True),
        ("--table no", False),
        ("--no-table", False),
        ("--anything", True),
        ("--anything 3", 3),
    ],
)
def test_words_mean_what_the_annotation_says(option, expected):
    flag, _, text = option.partition(" ")
    found = read_arguments(create, ["wounds", flag, *([text] if text else [])])
    assert found.pop("name") == "wounds"
    (value,) = found.values()
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--form", "jpeg"], "--form: expected png or nifti, got 'jpeg'"),
        (["--table=perhaps"], "--table: expected true or false, got 'perhaps'"),
        (["--images", ""], "--images: is empty; expected a value"),
    ],
)
def test_values_that_an_annotation_excludes_are_refused(words, said):
    with pytest.raises(InputError, match=said):
        read_arguments(create, ["wounds", *words])


@pytest.mark.parametrize("option", ["images", "classes", "patient", "sizes", "rate", "colours", "form"])
def test_an_option_without_its_value_is_named(option):
    for words in (["wounds", f"--{option}"], [f"--{option}", "--table", "wounds"]):
        with pytest.raises(UsageError, match=f"^--{option}: expected a value after it, as in --{option} "):
            read_arguments(create, words)


def test_words_in_order_are_arguments_but_not_switches():
    found = read_arguments(create, ["wounds", "photos", "a,b", "--table"])
    assert found == {"name": "wounds", "images": "photos", "classes": ["a", "b"], "table": True}


def test_help_shows_what_each_takes():
    kinds = argument_kinds(create)
    assert {name: kind.placeholder for name, kind in kinds.items()} == {
        "name": "TEXT",
        "images": "PATH",
        "classes": "NAME,...",
        "patient": "TEXT",
        "sizes": "NUMBER,...",
        "rate": "NUMBER",
        "colours": "{NAME: VALUE, ...}",
        "files": "NAME=VALUE,...",
        "form": "png|nifti",
        "table": "",
        "anything": "VALUE",
    }
    assert [name for name, kind in kinds.items() if kind.is_needed] == ["name"]


def test_annotations_may_be_types_or_texts():
    empty = inspect.Parameter.empty
    for annotation in (bool, "bool", "bool | None"):
        parameter = inspect.Parameter("x", inspect.Parameter.KEYWORD_ONLY, default=empty, annotation=annotation)
        assert ArgumentKind(parameter).is_switch
