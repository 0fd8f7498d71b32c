"""The command line: what it is given has to fit the command."""

from __future__ import annotations

import sys

import pytest

from common.__main__ import main
from common.errors import InputError


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("study bundles/drive_segmentation --demo", "missing a required argument: 'output_dir'"),
        ("pipeline --output_dir runs", "missing a required argument: 'bundle'"),
        ("release bundles/drive_segmentation --output_dir dist", "missing a required argument: 'weights'"),
        ("pretrain_teacher runs --stepz 3", "got an unexpected keyword argument 'stepz'"),
    ],
)
def test_a_command_says_what_it_lacks_before_it_does_anything(line, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["common", *line.split()])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(InputError, match=said):
        main()
    assert not any(tmp_path.iterdir())
