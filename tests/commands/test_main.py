"""The command line: what it is given has to fit the command."""

from __future__ import annotations

import sys
from functools import partial

import pytest

from common.__main__ import main
from common.datasets.ph2 import PH2Dataset
from common.errors import InputError


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "study bundles/drive_segmentation --demo",
            "study: --output_dir is missing; expected BUNDLE",
        ),
        ("pipeline --output_dir runs", "pipeline: BUNDLE is missing; expected BUNDLE --output_dir PATH [options]"),
        ("create", "create: NAME is missing; expected NAME [options]"),
        ("release bundles/drive_segmentation --output_dir dist", "release: --weights is missing"),
        (
            "pretrain_teacher runs --stepz 3",
            "pretrain_teacher: --stepz: there is no such argument; did you mean --steps",
        ),
        ("phantoms drive runs more", "phantoms: 'more' is one argument too many; expected DATASET"),
        (
            "pipeline bundles/drive_segmentation --output_dri runs",
            "pipeline: --output_dir is missing; did you mean",
        ),
        (
            "pipeline bundles/drive_segmentation --output_dir",
            "pipeline: --output_dir: expected a value after it",
        ),
        (
            "pipeline bundles/drive_segmentation --output_dir runs --method --demo",
            "pipeline: --method: expected",
        ),
        ("pipelin runs", "there is no command 'pipelin'; did you mean pipeline?"),
        ("segment runs", "there is no command 'segment'; the commands are create, check, pipeline, "),
        ("--demo", "there is no command '--demo'; the commands are "),
        ("list keys", "list: --bundle is missing: give the folder of the bundle"),
        ("list things", "list: there is no list of 'things'; there are bundles, stages, keys, "),
    ],
)
def test_a_command_line_that_does_not_fit_ends_with_one_line_and_code_2(line, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, line)
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {said}")
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("phantoms drives phantoms", "there is no dataset 'drives'; the datasets are drive, "),
        ("create atlantis runs", "atlantis"),
        ("create drive runs --overwrite=maybe", "--overwrite: expected true or false, got 'maybe'"),
        ("pretrain_teacher runs --steps 2.5 --batch_size 0", "steps: expected a whole number .*\nbatch_size: expected"),
        ("check bundles --dataset_dir nowhere", "bundles is not a bundle: expected a folder with configs/"),
        ("pipeline bundles --output_dir runs --stages [a", "--stages: .a begins like a list"),
    ],
)
def test_a_command_says_what_is_wrong_before_it_does_anything(line, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        run(monkeypatch, line)
    assert not any(tmp_path.iterdir())


def test_what_does_not_fit_says_where_help_is(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "pipeline")
    assert capsys.readouterr().err.endswith("; see task-distill pipeline --help\n")


def test_a_switch_takes_no_other_word_than_true_and_false(monkeypatch):
    got = {}
    monkeypatch.setattr("common.pipeline.run.run_pipeline", _noting(got))
    run(monkeypatch, "pipeline --demo bundles/drive_segmentation runs")
    assert got == {"bundle": "bundles/drive_segmentation", "output_dir": "runs", "demo": True}
    run(monkeypatch, "pipeline --demo false bundles/drive_segmentation runs")
    assert got["demo"] is False


def test_every_command_gets_its_values_as_yaml_and_its_paths_as_text(monkeypatch, tmp_path):
    got = {}
    monkeypatch.setattr("common.pipeline.run.run_pipeline", _noting(got))
    monkeypatch.setenv("HOME", str(tmp_path))
    run(monkeypatch, "pipeline 2024 --output_dir=~/2024_01 --num_labels null --whole_images false --amp --no-demo")
    assert got == {
        "bundle": "2024",
        "output_dir": f"{tmp_path}/2024_01",
        "num_labels": None,
        "whole_images": False,
        "amp": True,
        "demo": False,
    }


def _noting(got: dict):
    def run_pipeline(bundle: str, output_dir: str, demo: bool = False, **overrides) -> None:
        got.update({"bundle": bundle, "output_dir": output_dir, "demo": demo, **overrides})

    return run_pipeline


def run(monkeypatch, line: str) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/task-distill", *line.split()])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    main()


def test_earlier_names_of_arguments_are_still_known(monkeypatch, tmp_path):
    run(monkeypatch, f"create --facts drive --output_dir {tmp_path}")
    assert (tmp_path / "drive_segmentation").is_dir()


def test_create_writes_a_bundle_and_says_where(monkeypatch, tmp_path, capsys):
    run(monkeypatch, f"create drive --output_dir {tmp_path}")
    folder = tmp_path / "drive_segmentation"
    assert capsys.readouterr().out.strip() == str(folder)
    assert (folder / "configs" / "train.yaml").is_file()


def test_phantoms_are_written_in_the_layout_of_the_dataset(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(PH2Dataset, "write_phantoms", partial(PH2Dataset.write_phantoms, num_images=2))
    run(monkeypatch, f"phantoms ph2 {tmp_path / 'PH2'}")
    assert capsys.readouterr().out.strip() == str(tmp_path / "PH2")
    assert (tmp_path / "PH2" / "PH2 Dataset images").is_dir()
