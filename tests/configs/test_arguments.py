"""The words of a command line become arguments of a function."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from common.configs.arguments import UsageError, read_arguments, usage


def command(bundle, output_dir, dataset_dir=None, demo=False, **overrides):
    pass


def strict(dataset, output_dir, amp=True):
    pass


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("b o", {"bundle": "b", "output_dir": "o"}),
        ("--output_dir o b", {"bundle": "b", "output_dir": "o"}),
        ("b --output-dir=o", {"bundle": "b", "output_dir": "o"}),
        ("b -o o", {"bundle": "b", "output_dir": "o"}),
        ("b o --epochs 3 --epochs 5", {"bundle": "b", "output_dir": "o", "epochs": 5}),
        ("b o --demo --amp", {"bundle": "b", "output_dir": "o", "demo": True, "amp": True}),
        ("b o --no-demo --no_amp", {"bundle": "b", "output_dir": "o", "demo": False, "amp": False}),
        ("b o --nodemo", {"bundle": "b", "output_dir": "o", "demo": False}),
        ("b o --noise 3 --normal", {"bundle": "b", "output_dir": "o", "noise": 3, "normal": True}),
        ("b o --offset -1 --low -.5", {"bundle": "b", "output_dir": "o", "offset": -1, "low": -0.5}),
        ("b o --train::trainer::max_epochs 3", {"bundle": "b", "output_dir": "o", "train::trainer::max_epochs": 3}),
        ("b o --note=a=b", {"bundle": "b", "output_dir": "o", "note": "a=b"}),
        ("2024 1e5", {"bundle": "2024", "output_dir": "1e5"}),
    ],
)
def test_by_the_grammar_of_fire(line, expected):
    found = read_arguments(command, line.split())
    assert found == expected
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in expected.items()}


def test_switches_that_are_known_elsewhere_can_be_turned_off_without_a_hyphen():
    assert read_arguments(command, ["b", "o", "--noamp"], flags=["amp"])["amp"] is False
    assert read_arguments(command, ["b", "o", "--noamp"])["noamp"] is True


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("d", "--output_dir is missing; expected DATASET --output_dir PATH [options]"),
        ("d o more", "'more' is one argument too many"),
        ("d o --amp maybe", "'maybe' is one argument too many"),
        ("d o --output_dirs x", "--output_dirs: there is no such argument; did you mean --output_dir?"),
        ("d o --zzz x", "--zzz: there is no such argument; expected DATASET"),
        ("d o --dataset x", "--dataset: is given twice, also as 'd'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(line, said):
    with pytest.raises(UsageError) as caught:
        read_arguments(strict, line.split())
    assert str(caught.value).startswith(said)


def titled(
    name, output_dir=".", classes: str | Sequence[str] | None = None, title: str | None = None, device: str = ""
):
    pass


@pytest.mark.parametrize("words", [["--output_dir", "o"], []])
@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (["--classes", "background,skin", "lesion"], '--classes "background,skin lesion"'),
        (["--classes", "background,", "lesion"], '--classes "background,lesion"'),
        (["--classes=background,", "lesion"], '--classes "background,lesion"'),
        (["--title", "Skin", "lesions"], '--title "Skin lesions"'),
    ],
)
def test_a_text_that_a_space_has_cut_is_shown_in_quotes(value, whole, words):
    with pytest.raises(
        UsageError, match="what has a space is written in quotes, and no space follows a comma"
    ) as caught:
        read_arguments(titled, ["n", *value, *words])
    assert str(caught.value).endswith(f": {whole}")


@pytest.mark.parametrize("line", ["--classes a,b n", "n --device cpu o", "--title T n o", "n o --classes a,b"])
def test_words_in_order_may_stand_behind_options(line):
    assert read_arguments(titled, line.split())["name"] == "n"


def test_usage_shows_what_is_needed_and_what_may_be_given():
    assert usage(command) == "BUNDLE --output_dir PATH [options] [--key value ...]"
