"""Where a dataset is looked for."""

import pytest

from common.datasets.roots import find_root, list_images
from common.errors import InputError


def make_dataset(folder):
    (folder / "images_2022" / "left").mkdir(parents=True)
    (folder / "labels").mkdir()
    return folder


@pytest.mark.parametrize("given", [".", "..", "images_2022", "images_2022/left", "labels"])
def test_root_is_found_by_a_pattern_from_one_level_off(tmp_path, given):
    root = make_dataset(tmp_path / "data")
    assert find_root(root / given, "X", ["images_*/left", "labels"], "a layout") == root


def test_folder_that_only_lies_beside_the_data_is_not_taken_for_it(tmp_path):
    root = make_dataset(tmp_path / "data")
    (root / "my own images").mkdir()
    with pytest.raises(InputError, match=r"my own images: no images_\*/left here or one level down; expected a layout"):
        find_root(root / "my own images", "X", ["images_*/left", "labels"], "a layout")


def test_several_roots_are_not_chosen_between(tmp_path):
    make_dataset(tmp_path / "one")
    make_dataset(tmp_path / "two")
    with pytest.raises(InputError, match=r"several copies of X \(one, two\)"):
        find_root(tmp_path, "X", ["images_*/left"], "a layout")


def test_hidden_and_other_files_are_not_listed(tmp_path):
    for name in ("b.PNG", "a.png", "._a.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_images(tmp_path, [".png"])] == ["a.png", "b.PNG"]
    assert list_images(tmp_path / "nowhere", [".png"]) == []
