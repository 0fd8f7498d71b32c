"""Weights: saved with their provenance, loaded without running code, and only where they fit."""

from __future__ import annotations

import os

import ignite.distributed as idist
import pytest
import torch
from torch import nn

from common.errors import InputError
from common.files.provenance import provenance_path, read_provenance
from common.files.weights import (
    first_existing,
    load_trainable_state,
    load_weights,
    read_checkpoint,
    save_weights,
    trainable_state,
    unwrap,
)


def network(width: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


def names_in(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(action, *arguments, **keywords) -> str:
    with pytest.raises(InputError) as caught:
        action(*arguments, **keywords)
    return str(caught.value)


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

    def cut_off(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
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


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_an_altered_byte_is_noticed(tmp_path, share):
    path = tmp_path / "model.pt"
    save_weights(nn.Linear(200, 200), path)
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 0x10
    path.write_bytes(content)
    assert "the checksum of" in refused(load_weights, nn.Linear(200, 200), path)


@pytest.mark.parametrize(
    ("value", "problem"),
    [(torch.full((3, 2), torch.nan), "1 of its weights are NaN or infinite, first 0.weight"),
     (torch.full((3, 2), -torch.inf), "1 of its weights are NaN or infinite, first 0.weight"),
     (torch.ones(3, 2, dtype=torch.int64), "0.weight is torch.int64 and should be torch.float32")],
)  # fmt: skip
def test_weights_that_are_no_numbers_are_named_and_load_nothing(tmp_path, value, problem):
    path = tmp_path / "model.pt"
    torch.save({**network().state_dict(), "0.weight": value}, path)
    own = network(seed=1)
    message = refused(load_weights, own, path)
    assert message.startswith(str(path))
    assert problem in message
    assert torch.equal(own[0].weight, network(seed=1)[0].weight)


def test_half_precision_is_read_as_the_network_has_it(tmp_path):
    torch.save({name: value.half() for name, value in nn.Linear(2, 3).state_dict().items()}, tmp_path / "model.pt")
    assert load_weights(nn.Linear(2, 3), tmp_path / "model.pt").weight.dtype == torch.float32


def test_file_that_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("<html>404: this file has moved</html>")
    message = refused(load_weights, network(), path)
    assert str(path) in message
    assert "is not a PyTorch checkpoint" in message


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
    assert first_existing(distilled, finished) == distilled  # for the message that says what is missing
    finished.touch()
    assert first_existing(distilled, finished) == finished
    distilled.touch()
    assert first_existing(distilled, finished) == distilled


def test_provenance_is_saved_beside_the_weights_and_not_in_them(tmp_path):
    path = tmp_path / "model.pt"
    save_weights(network(), path, {"teacher": "facebook/sam-vit-base"})
    assert read_provenance(path) == {"teacher": "facebook/sam-vit-base"}
    assert names_in(tmp_path) == ["model.provenance.json", "model.pt"]
    assert type(read_checkpoint(path)) is type(network().state_dict())
    loaded = load_weights(network(seed=1), path)
    assert not any("origin" in name or "provenance" in name for module in loaded.modules() for name in vars(module))


def test_weights_that_nothing_is_known_of_take_the_place_of_an_earlier_provenance(tmp_path):
    save_weights(network(), tmp_path / "model.pt", {"teacher": None})
    save_weights(network(), tmp_path / "model.pt")
    assert not provenance_path(tmp_path / "model.pt").exists()


def test_only_what_trains_is_in_the_trainable_state(tmp_path):
    own, other = network(seed=0), network(seed=1)
    for each in (own, other):
        each[0].requires_grad_(False)
    state = trainable_state(other)
    assert state.keys() == {name for name in own.state_dict() if name.startswith("1.")}
    own[1].weight.data.zero_()
    load_trainable_state(own, state)
    assert torch.equal(own[1].weight, other[1].weight)
    assert not torch.equal(own[0].weight, other[0].weight)
    with pytest.raises(ValueError, match=r"1 weights do not match, first 1\.bias"):
        load_trainable_state(own, {name: value for name, value in state.items() if name != "1.bias"})


def test_a_network_that_is_not_wrapped_is_unwrapped_to_itself():
    own = network()
    assert unwrap(own) is own
