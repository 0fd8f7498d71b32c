"""A folder with links in a circle, dead links, pipes and hidden files is walked once and to its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.datasets.readers.folder_walk import FolderWalk


def files_of(walk: FolderWalk, root: Path) -> set[str]:
    return {str(file.relative_to(root)) for files in walk.folders.values() for file in files}


def test_files_are_found_at_any_depth_and_hidden_ones_kept_apart(tmp_path):
    for name in ("b.png", "a/deep/c.png", ".hidden.png", ".cache/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    walk = FolderWalk(tmp_path)
    assert files_of(walk, tmp_path) == {"b.png", "a/deep/c.png"}
    assert {path.name for path in walk.hidden} == {".hidden.png", ".cache"}
    assert walk.closed == {}


def test_links_in_a_circle_come_to_an_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.png").touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    assert files_of(FolderWalk(tmp_path), tmp_path) == {"a/one.png"}


def test_a_linked_folder_is_looked_into_once(tmp_path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    elsewhere.mkdir()
    (elsewhere / "one.png").touch()
    (root / "real").mkdir(parents=True)
    (root / "real" / "two.png").touch()
    (root / "again").symlink_to(root / "real")
    (root / "first").symlink_to(elsewhere)
    assert files_of(FolderWalk(root), root) == {"first/one.png", "real/two.png"}


def test_dead_links_and_pipes_are_files_like_others(tmp_path):
    (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    assert files_of(FolderWalk(tmp_path), tmp_path) == {"dead.png", "pipe.png"}


@pytest.mark.parametrize("locked", ["", "inside"])
def test_a_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch, locked):
    """Root may open all; so the system is asked to say no."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "one.png").touch()
    list_folder = Path.iterdir

    def refuse(folder):
        if folder == tmp_path / locked:
            raise PermissionError(13, "Permission denied", str(folder))
        return list_folder(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    walk = FolderWalk(tmp_path)
    assert walk.closed == {tmp_path / locked: f"{tmp_path / locked}: the folder cannot be opened (Permission denied)"}
    assert files_of(walk, tmp_path) == ({"one.png"} if locked else set())
