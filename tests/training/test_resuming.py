"""A training that was cut off is resumed where it stopped, if it is the same one; on a toy."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from monai.handlers import CheckpointLoader
from torch import nn
from toy_training import Toy

from common.errors import InputError


def read_state(path: Path) -> dict:
    return torch.load(path, map_location="cpu", weights_only=True)


def assert_same_weights(toy: Toy, weights: dict[str, torch.Tensor]) -> None:
    for name, value in toy.network.state_dict().items():
        assert torch.equal(value, weights[name]), name


def refused(toy: Toy) -> str:
    message = (
        r"toy\.pt was left by a run with other settings .*: give the same options as then, such as --overlay, "
        "delete it to start afresh, or choose another"
    )
    with pytest.raises(InputError, match=message) as caught:
        toy.run()
    return str(caught.value)


class Loss(nn.Module):
    def __init__(self, weight: float, *terms: nn.Module) -> None:
        super().__init__()
        self.weight = weight
        self.terms = nn.ModuleList(terms)


class TestResuming:
    def test_a_training_that_was_cut_off_ends_as_one_that_was_not(self, tmp_path):
        whole = Toy(tmp_path / "whole.pt").run()
        cut = Toy(tmp_path / "toy.pt").run(cut_off_at=3)
        assert len(cut.weights) == 1
        again = Toy(tmp_path / "toy.pt").run()
        assert len(again.weights) == 2
        assert again.engine.state.iteration == 6
        assert_same_weights(again, whole.weights[2])
        first, second = (read_state(tmp_path / name) for name in ("whole.pt", "toy.pt"))
        assert torch.equal(
            first["optimizer"]["state"][0]["momentum_buffer"], second["optimizer"]["state"][0]["momentum_buffer"]
        )

    def test_frozen_weights_are_not_saved(self, tmp_path):
        Toy(tmp_path / "toy.pt").run()
        assert read_state(tmp_path / "toy.pt")["network"].keys() == {"1.weight", "1.bias"}

    def test_a_complete_training_is_not_trained_further(self, tmp_path):
        first = Toy(tmp_path / "toy.pt").run()
        second = Toy(tmp_path / "toy.pt").run()
        assert second.weights == []
        assert_same_weights(second, first.weights[2])

    def test_the_best_weights_survive_an_interruption(self, tmp_path):
        metrics = [0.9, 0.5, 0.1]
        first = Toy(tmp_path / "toy.pt", metrics=metrics).run(cut_off_at=5)
        second = Toy(tmp_path / "toy.pt", metrics=metrics).run()
        assert len(second.weights) == 1
        assert_same_weights(second, first.weights[0])

    def test_a_damaged_file_is_refused(self, tmp_path):
        Toy(tmp_path / "toy.pt").run()
        whole = (tmp_path / "toy.pt").read_bytes()
        (tmp_path / "toy.pt").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=r"toy\.pt is damaged"):
            Toy(tmp_path / "toy.pt").run()

    def test_an_optimizer_that_fits_other_weights_is_refused(self, tmp_path):
        Toy(tmp_path / "toy.pt").run(cut_off_at=3)
        state = read_state(tmp_path / "toy.pt")
        state["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(1, 1, 7)
        torch.save(state, tmp_path / "toy.pt")
        assert "momentum_buffer of shape (1, 1, 7) for a parameter of" in refused(Toy(tmp_path / "toy.pt"))

    def test_an_optimizer_state_that_is_a_tensor_is_refused(self, tmp_path):
        Toy(tmp_path / "toy.pt").run(cut_off_at=3)
        state = read_state(tmp_path / "toy.pt")
        state["optimizer"]["state"][0] = torch.zeros(3)
        torch.save(state, tmp_path / "toy.pt")
        refused(Toy(tmp_path / "toy.pt"))

    def test_a_crash_while_saving_leaves_the_previous_file(self, tmp_path, monkeypatch):
        Toy(tmp_path / "toy.pt", epochs=1).run()
        before = (tmp_path / "toy.pt").read_bytes()

        def half(state: dict, file: BinaryIO) -> None:
            file.write(b"half")
            raise OSError("something broke")

        monkeypatch.setattr(torch, "save", half)
        toy = Toy(tmp_path / "other.pt")
        toy.checkpoint.path = tmp_path / "toy.pt"
        with pytest.raises(OSError, match="something broke"):
            toy.checkpoint.save(toy.engine)
        assert (tmp_path / "toy.pt").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["toy.pt"]

    def test_what_weights_were_made_from_is_not_in_it(self, tmp_path):
        Toy(tmp_path / "toy.pt").run()
        assert read_state(tmp_path / "toy.pt").keys() == {
            *("optimizer", "network", "best", "epoch", "iteration", "settings", "made_of")
        }


class TestAnotherTraining:
    """It is refused, and the file stays as it was."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"width": 3}, "it began with other weights"),
            ({"seed": 1}, "it began with other weights"),
            ({"epochs": 4}, "epochs was 3, now 4"),
            ({"settings": {"split_seed": 1}}, "split_seed was 0, now 1"),
            ({"settings": {}}, "split_seed was 0, now None"),
            ({"data": [{"image": "one"}, {"image": "three"}]}, "its images or labels were others"),
            ({"teacher": nn.Linear(2, 2, bias=False)}, "its teacher was another"),
            ({"teacher": None}, "its teacher was another"),
            ({"loss_function": Loss(2.0, nn.LeakyReLU(0.1))}, "loss.weight was 1.0, now 2.0"),
            ({"loss_function": Loss(1.0, nn.LeakyReLU(0.2))}, "loss.terms.0.negative_slope was 0.1, now 0.2"),
            ({"loss_function": Loss(1.0)}, "loss.terms.0.negative_slope was 0.1, now None"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_of_other_settings(self, change, message, tmp_path):
        torch.manual_seed(1)
        same = {"settings": {"split_seed": 0}, "teacher": nn.Linear(2, 2)}
        same |= {"loss_function": Loss(1.0, nn.LeakyReLU(0.1))}
        Toy(tmp_path / "toy.pt", **same).run(cut_off_at=3)
        before = (tmp_path / "toy.pt").read_bytes()
        assert message in refused(Toy(tmp_path / "toy.pt", **same | change))
        assert (tmp_path / "toy.pt").read_bytes() == before
        Toy(tmp_path / "toy.pt", **same).run()

    def test_all_that_differs_is_named_at_once(self, tmp_path):
        Toy(tmp_path / "toy.pt").run()
        message = refused(Toy(tmp_path / "toy.pt", seed=1, data=[{"image": "three"}]))
        assert "it began with other weights; its images or labels were others" in message


class TestWithCheckpointLoader:
    """MONAI Label puts a ``CheckpointLoader`` among the handlers: training begins with the weights in use."""

    @pytest.fixture
    def in_use(self, tmp_path) -> Path:
        weights = {name: value + 1 for name, value in Toy(tmp_path / "toy.pt").network.state_dict().items()}
        torch.save({"model": weights}, tmp_path / "model.pt")
        return tmp_path / "model.pt"

    @pytest.mark.parametrize("first", [True, False])
    def test_nothing_is_resumed_or_saved_and_the_best_weights_are_still_kept(self, first, in_use, tmp_path):
        Toy(tmp_path / "toy.pt", epochs=2).run()
        before = (tmp_path / "toy.pt").read_bytes()
        toy = Toy(tmp_path / "toy.pt", metrics=[0.3, 0.9, 0.5])
        loader = CheckpointLoader(load_path=str(in_use), load_dict={"model": toy.network})
        toy.run(first=[loader]) if first else toy.run(last=[loader])
        assert len(toy.weights) == 3
        assert_same_weights(toy, toy.weights[1])
        assert torch.equal(toy.network[0].weight, read_state(in_use)["model"]["0.weight"]), "it began with others"
        assert (tmp_path / "toy.pt").read_bytes() == before

    def test_no_file_is_begun(self, in_use, tmp_path):
        toy = Toy(tmp_path / "checkpoints" / "toy.pt")
        toy.run(first=[CheckpointLoader(load_path=str(in_use), load_dict={"model": toy.network})])
        assert not (tmp_path / "checkpoints").exists()
