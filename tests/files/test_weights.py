"""Weights and folders: written whole or not at all, read without running code."""

from __future__ import annotations

import os
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch
from torch import nn

from common.errors import InputError
from common.files.atomic import replace_file, replace_folder
from common.files.weights import first_of, load_weights, read_checkpoint, save_weights


def network(width: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


def names_in(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(action, *arguments, **keywords) -> str:
    with pytest.raises(InputError) as caught:
        action(*arguments, **keywords)
    return str(caught.value)


# Files


def test_file_appears_under_its_name_only_when_it_is_finished(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replace_file(path) as fresh:
        fresh.write_text("new")
        assert fresh.parent == path.parent
        assert not path.exists()
    assert names_in(path.parent) == ["file.txt"]
    assert path.read_text() == "new"


def test_failure_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half():
        with replace_file(path) as fresh:
            fresh.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert names_in(tmp_path) == ["file.txt"]
    assert path.read_text() == "old"


def test_finished_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replace_file(path) as fresh:
        fresh.write_text("new")
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["file.txt"]


# Folders


def fill(folder, content: str) -> None:
    (folder / "part").mkdir()
    (folder / "part" / "inner.txt").write_text(content)
    (folder / "outer.txt").write_text(content)


def test_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "stale.txt").write_text("old")
    with replace_folder(path) as fresh:
        fill(fresh, "new")
        assert names_in(path) == ["stale.txt"]
    assert names_in(path) == ["outer.txt", "part"]
    assert (path / "part" / "inner.txt").read_text() == "new"
    assert names_in(tmp_path) == ["model"]


def test_folder_is_made_with_its_parents(tmp_path):
    with replace_folder(tmp_path / "runs" / "model") as fresh:
        fill(fresh, "new")
    assert names_in(tmp_path / "runs") == ["model"]


def test_failure_while_filling_leaves_the_old_folder_and_no_other(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    fill(path, "old")

    def fill_half():
        with replace_folder(path) as fresh:
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
    with pytest.raises(PermissionError, match="in use"), replace_folder(path) as fresh:
        fill(fresh, "new")
    assert names_in(tmp_path) == ["model"]
    assert (path / "part" / "inner.txt").read_text() == "old"


def test_the_old_folder_comes_back_where_a_run_was_killed_in_between(tmp_path):
    (tmp_path / ".model.outdated").mkdir()
    fill(tmp_path / ".model.outdated", "old")
    with pytest.raises(RuntimeError, match="disk full"), replace_folder(tmp_path / "model"):
        raise RuntimeError("disk full")
    assert names_in(tmp_path) == ["model"]
    assert (tmp_path / "model/part/inner.txt").read_text() == "old"


def test_leftovers_of_a_run_that_was_killed_are_not_taken_over(tmp_path):
    (tmp_path / ".model.partial").mkdir()
    (tmp_path / ".model.partial" / "half.txt").write_text("half")
    with replace_folder(tmp_path / "model") as fresh:
        fill(fresh, "new")
    assert names_in(tmp_path / "model") == ["outer.txt", "part"]


def test_others_may_read_what_is_in_the_folder(tmp_path):
    with replace_folder(tmp_path / "model") as fresh:
        fill(fresh, "new")
        (fresh / "outer.txt").chmod(0o600)
    assert (tmp_path / "model" / "outer.txt").stat().st_mode & 0o044 == 0o044
    assert (tmp_path / "model" / "part").stat().st_mode & 0o500 == 0o500, "nobody can enter the folder inside"


# Weights


def test_a_number_in_the_place_of_weights_is_named(tmp_path):
    torch.save({**network().state_dict(), "0.bias": 3}, tmp_path / "model.pt")
    message = refused(load_weights, network(), tmp_path / "model.pt")
    assert "1 entries differ (0.bias is a int and should be (3,))" in message


def test_weights_come_back_as_they_were(tmp_path):
    saved = network(seed=0)
    save_weights(saved, tmp_path / "models" / "model.pt")
    loaded = load_weights(network(seed=1), tmp_path / "models" / "model.pt")
    for name, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert names_in(tmp_path / "models") == ["model.pt"]


def test_interrupted_save_leaves_the_old_weights(tmp_path, monkeypatch):
    save_weights(network(), tmp_path / "model.pt")
    before = (tmp_path / "model.pt").read_bytes()

    def full(state, path):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        save_weights(network(seed=1), tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == before
    assert names_in(tmp_path) == ["model.pt"]


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(idist, "get_rank", lambda: 1)
    save_weights(network(), tmp_path / "model.pt")
    assert names_in(tmp_path) == []


def test_no_path_leaves_the_network_as_it_is():
    untouched = network()
    assert load_weights(untouched, None) is untouched
    assert torch.equal(untouched[0].weight, network()[0].weight)


def test_missing_checkpoint_is_named_with_the_stage_that_makes_it(tmp_path):
    path = tmp_path / "distilled.pt"
    message = refused(load_weights, network(), path, made_by="distill")
    assert str(path) in message
    assert "run distill first" in message
    assert str(path) in refused(read_checkpoint, path)


def test_checkpoint_that_would_run_code_is_refused_and_runs_none(trap):
    path, sprung = trap
    message = refused(load_weights, network(), path)
    assert str(path) in message
    assert "could run code" in message
    assert "weights_only" not in message, "PyTorch's advice to load it unprotected"
    assert not sprung.exists()


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.95])
def test_truncated_checkpoint_is_named(tmp_path, share):
    path = tmp_path / "model.pt"
    save_weights(network(), path)
    os.truncate(path, int(share * path.stat().st_size))
    assert str(path) in refused(load_weights, network(), path)


def test_file_that_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("<html>404: this file has moved</html>")
    message = refused(load_weights, network(), path)
    assert str(path) in message
    assert "is no PyTorch checkpoint" in message


def test_another_width_is_named_with_both_shapes_and_loads_nothing(tmp_path):
    path = tmp_path / "model.pt"
    save_weights(network(width=4), path)
    own = network(width=3)
    message = refused(load_weights, own, path)
    assert str(path) in message
    assert "another architecture than this Sequential" in message
    assert "0.weight is (4, 2) and should be (3, 2)" in message
    assert torch.equal(own[0].weight, network(width=3)[0].weight)


def test_another_architecture_is_named_with_what_is_missing_and_what_is_unknown(tmp_path):
    path = tmp_path / "model.pt"
    save_weights(nn.ModuleDict({"head": nn.Linear(2, 3)}), path)
    message = refused(load_weights, nn.ModuleDict({"tail": nn.Linear(2, 3)}), path)
    assert "4 entries differ" in message
    assert "tail.weight is missing" in message
    assert "head.bias is unknown" in message


def test_file_that_holds_something_else_than_weights_is_named(tmp_path):
    path = tmp_path / "model.pt"
    torch.save([1, 2, 3], path)
    assert "holds no weights but a list" in refused(load_weights, network(), path)


def test_the_first_file_that_exists_is_chosen(tmp_path):
    distilled, finished = tmp_path / "distilled.pt", tmp_path / "model.pt"
    assert first_of(distilled, finished) == distilled  # for the message that says what is missing
    finished.touch()
    assert first_of(distilled, finished) == finished
    distilled.touch()
    assert first_of(distilled, finished) == distilled
