"""Paths in a folder are shown from it, and no others are shortened."""

from __future__ import annotations

import pytest

from common.files.shown import seen_from


@pytest.mark.parametrize(
    ("folder", "text", "shown"),
    [
        ("/data", "/data/masks/a.png: unlike '/data/b.png'", "masks/a.png: unlike 'b.png'"),
        ("/data", "/backup/data/a.png and /data-old/a.png", "/backup/data/a.png and /data-old/a.png"),
        ("/", "/data/a.png", "/data/a.png"),
        ("/my (data)", "see /my (data)/a.png", "see a.png"),
    ],
)
def test_paths_in_a_folder_are_relative_to_it(folder, text, shown):
    assert seen_from(folder, text) == shown
