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
        ("study bundles/drive_segmentation --demo", "missing a required argument: 'output_dir'"),
        ("pipeline --output_dir runs", "missing a required argument: 'bundle'"),
        ("release bundles/drive_segmentation --output_dir dist", "missing a required argument: 'weights'"),
        ("pretrain_teacher runs --stepz 3", "got an unexpected keyword argument 'stepz'"),
        ("phantoms drives phantoms", "there is no dataset 'drives'; the datasets are drive, "),
        ("create atlantis runs", "atlantis"),
        ("check bundles --dataset_dir nowhere", "bundles is not a bundle: expected a folder with configs/"),
    ],
)
def test_a_command_says_what_it_lacks_before_it_does_anything(line, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["common", *line.split()])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(InputError, match=said):
        main()
    assert not any(tmp_path.iterdir())


def run(monkeypatch, line: str) -> None:
    monkeypatch.setattr(sys, "argv", ["common", *line.split()])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    main()


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
