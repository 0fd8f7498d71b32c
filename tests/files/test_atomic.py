"""Files and folders that appear under their name when they are complete, whatever ends the process that writes."""

from __future__ import annotations

from pathlib import Path

import ignite.distributed as idist
import pytest

from common.errors import InputError
from common.files.atomic import atomic_file, atomic_folder, check_replaceable, is_writer, remove_leftovers


def names_in(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_under_its_name_only_when_it_is_finished(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic_file(path) as fresh:
        fresh.write_text("new")
        assert fresh.parent == path.parent
        assert not path.exists()
    assert names_in(path.parent) == ["file.txt"]
    assert path.read_text() == "new"


def test_failure_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half():
        with atomic_file(path) as fresh:
            fresh.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert names_in(tmp_path) == ["file.txt"]
    assert path.read_text() == "old"


def test_finished_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_file(path) as fresh:
        fresh.write_text("new")
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["file.txt"]


def test_two_writers_of_one_file_do_not_share_a_temporary_name(tmp_path):
    path = tmp_path / "file.txt"
    with atomic_file(path) as one:
        one.write_text("one")
        with atomic_file(path) as other:
            assert other != one
            other.write_text("other")
        assert path.read_text() == "other"
    assert path.read_text() == "one"
    assert names_in(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "ä" * 125 + ".png", "\N{SKULL}" * 62 + ".png"])
def test_a_name_as_long_as_there_can_be_is_written(tmp_path, name):
    with atomic_file(tmp_path / name) as fresh:
        fresh.write_text("new")
        assert names_in(tmp_path) == [fresh.name]
        remove_leftovers(tmp_path)
        assert names_in(tmp_path) == [], "not known as a leftover"
        fresh.write_text("new")
    assert names_in(tmp_path) == [name]


# Folders


def fill(folder, content: str) -> None:
    (folder / "part").mkdir()
    (folder / "part" / "inner.txt").write_text(content)
    (folder / "outer.txt").write_text(content)


def test_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "stale.txt").write_text("old")
    with atomic_folder(path) as fresh:
        fill(fresh, "new")
        assert names_in(path) == ["stale.txt"]
    assert names_in(path) == ["outer.txt", "part"]
    assert (path / "part" / "inner.txt").read_text() == "new"
    assert names_in(tmp_path) == ["model"]


def test_folder_is_made_with_its_parents(tmp_path):
    with atomic_folder(tmp_path / "runs" / "model") as fresh:
        fill(fresh, "new")
    assert names_in(tmp_path / "runs") == ["model"]


def test_failure_while_filling_leaves_the_old_folder_and_no_other(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    fill(path, "old")

    def fill_half():
        with atomic_folder(path) as fresh:
            fill(fresh, "half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fill_half()
    assert names_in(tmp_path) == ["model"]
    assert (path / "part" / "inner.txt").read_text() == "old"


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    fill(path, "old")
    rename = Path.rename

    def fail_for_the_new_one(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise PermissionError("in use")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(PermissionError, match="in use"), atomic_folder(path) as fresh:
        fill(fresh, "new")
    assert names_in(tmp_path) == ["model"]
    assert (path / "part" / "inner.txt").read_text() == "old"


def test_the_old_folder_comes_back_where_a_run_was_killed_in_between(tmp_path):
    outdated = tmp_path / ".model.123-0a1b2c3d.outdated"
    outdated.mkdir()
    fill(outdated, "old")
    with pytest.raises(RuntimeError, match="disk full"), atomic_folder(tmp_path / "model"):
        raise RuntimeError("disk full")
    assert names_in(tmp_path) == ["model"]
    assert (tmp_path / "model/part/inner.txt").read_text() == "old"


def test_leftovers_of_a_run_that_was_killed_are_not_taken_over(tmp_path):
    leftover = tmp_path / ".model.123-0a1b2c3d.partial"
    leftover.mkdir()
    (leftover / "half.txt").write_text("half")
    with atomic_folder(tmp_path / "model") as fresh:
        fill(fresh, "new")
    assert names_in(tmp_path / "model") == ["outer.txt", "part"]


def test_others_may_read_what_is_in_the_folder(tmp_path):
    with atomic_folder(tmp_path / "model") as fresh:
        fill(fresh, "new")
        (fresh / "outer.txt").chmod(0o600)
    assert (tmp_path / "model" / "outer.txt").stat().st_mode & 0o044 == 0o044
    assert (tmp_path / "model" / "part").stat().st_mode & 0o500 == 0o500, "nobody can enter the folder inside"


def test_two_writers_of_one_folder_do_not_share_a_temporary_name(tmp_path):
    with atomic_folder(tmp_path / "model") as one:
        fill(one, "one")
        with atomic_folder(tmp_path / "model") as other:
            fill(other, "other")
        assert (tmp_path / "model/outer.txt").read_text() == "other"
    assert (tmp_path / "model/outer.txt").read_text() == "one"
    assert names_in(tmp_path) == ["model"]


def test_an_empty_folder_and_one_with_the_mark_are_replaceable_and_no_other(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        check_replaceable(path, "teacher.json")
    (tmp_path / "thesis.doc").touch()
    for path in (tmp_path, tmp_path / "thesis.doc"):
        with pytest.raises(InputError, match=r"holds no teacher\.json, so it is not overwritten"):
            check_replaceable(path, "teacher.json")
    (tmp_path / "teacher.json").touch()
    check_replaceable(tmp_path, "teacher.json")


def test_a_folder_with_a_long_name_is_made(tmp_path):
    with atomic_folder(tmp_path / ("a" * 255)) as fresh:
        fill(fresh, "new")
    assert names_in(tmp_path) == ["a" * 255]


# Leftovers


def test_leftovers_go_wherever_they_lie_and_nothing_else_does(tmp_path):
    kept = [".hidden", "model.pt", ".model.partial", ".notes.12-0a1b2c3d.txt"]
    gone = [".model.pt.12-0a1b2c3d.partial", "transfer/images/.a.png.7-ffffffff.partial"]
    for name in (*kept, *gone):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    nested = tmp_path / ".teacher.12-0a1b2c3d.partial"
    nested.mkdir()
    (nested / ".a.12-0a1b2c3d.partial").touch()
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == sorted([*kept, "transfer"])
    assert names_in(tmp_path / "transfer/images") == []


def test_an_outdated_folder_is_put_back_only_where_there_is_no_newer_one(tmp_path):
    for name in ("diffusion", "teacher"):
        fill_at = tmp_path / f".{name}.12-0a1b2c3d.outdated"
        fill_at.mkdir()
        fill(fill_at, "old")
    (tmp_path / "teacher").mkdir()
    fill(tmp_path / "teacher", "new")
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == ["diffusion", "teacher"]
    assert (tmp_path / "diffusion/outer.txt").read_text() == "old"
    assert (tmp_path / "teacher/outer.txt").read_text() == "new"


# Several processes


def test_the_first_rank_writes_before_and_after_the_processes_have_joined(monkeypatch):
    assert is_writer()
    monkeypatch.setenv("RANK", "1")
    assert is_writer(), "set by something else than torchrun"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_writer()
    monkeypatch.setenv("RANK", "0")
    assert is_writer()
    monkeypatch.setattr(idist, "get_rank", lambda: 1)
    assert not is_writer()
