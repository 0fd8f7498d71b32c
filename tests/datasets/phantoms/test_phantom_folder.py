"""Phantoms appear whole, are known as such, and replace nothing."""

import pytest

from common.datasets.phantoms.folder import phantom_folder
from common.errors import InputError
from common.files.phantom_mark import are_phantoms


def test_folder_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "DRIVE"
    with phantom_folder(target) as partial:
        (partial / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert list(tmp_path.iterdir()) == [target]


def test_phantoms_are_known_by_a_file_wherever_they_are_taken(tmp_path):
    with phantom_folder(tmp_path / "phantoms") as partial:
        (partial / "images").mkdir()
        (partial / "images" / "1.png").write_text("x")
    (tmp_path / "phantoms").rename(tmp_path / "DRIVE")
    (tmp_path / "link").symlink_to(tmp_path / "DRIVE" / "images")
    for path in ("DRIVE", "DRIVE/images", "DRIVE/images/1.png", "link/1.png"):
        assert are_phantoms(tmp_path / path), path
    (tmp_path / "phantoms" / "photographs").mkdir(parents=True)  # which are real
    for path in ("phantoms/photographs", "phantoms", "."):
        assert not are_phantoms(tmp_path / path), path


def test_interrupted_writer_leaves_nothing(tmp_path):
    def write():
        with phantom_folder(tmp_path / "DRIVE") as partial:
            (partial / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_existing_data_is_never_overwritten(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InputError, match="exists already"), phantom_folder(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "precious"
