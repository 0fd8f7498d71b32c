"""What a training shows of itself: read from the device once per step, and the end of one that diverges."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.handlers import TensorBoardStatsHandler, from_engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from common.training import progress
from common.training.progress import ProgressReport


class LossOfTerms(nn.Module):
    """Has two terms, as a distillation loss has them after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.last_terms: dict[str, Tensor] = {}

    def forward(self, value: Tensor) -> Tensor:
        self.last_terms = {"features": value, "logits": 3 * value}
        return 4 * value


def make_trainer(loss: nn.Module | None = None) -> Engine:
    loss = loss or LossOfTerms()
    engine = Engine(lambda engine, batch: {"loss": loss(torch.tensor(batch))})
    engine.loss_function = loss
    return engine


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in EventAccumulator(str(folder)).Reload().Scalars(tag)]


def test_the_loss_and_its_terms_are_in_the_log_and_in_tensorboard(tmp_path, caplog):
    trainer = make_trainer()
    ProgressReport(tmp_path, "distill").attach(trainer)
    with caplog.at_level(logging.INFO):
        trainer.run([0.5, 0.25], max_epochs=2)
    assert "distill: epoch 2/2, loss 1.0000, features 0.2500, logits 0.7500" in caplog.text
    for tag, factor in (("loss", 4), ("features", 1), ("logits", 3)):
        expected = [(step, factor * value) for step, value in enumerate([0.5, 0.25] * 2, start=1)]
        assert scalars(tmp_path / "tensorboard/distill", tag) == expected


def test_a_loss_without_terms_is_shown_alone(tmp_path, caplog):
    trainer = make_trainer(nn.Identity())
    ProgressReport(tmp_path, "train").attach(trainer)
    with caplog.at_level(logging.INFO):
        trainer.run([0.5], max_epochs=1)
    assert re.search(r"train: epoch 1/1, loss 0\.5000, 0\.\d s\n", caplog.text)


def test_each_epoch_has_one_line_with_its_validation_and_the_time_that_is_left(tmp_path, caplog):
    trainer = make_trainer(nn.Identity())
    validator = SupervisedEvaluator(torch.device("cpu"), [{}], nn.Identity(), iteration_update=lambda *_: [{}])
    validator.add_event_handler(Events.COMPLETED, lambda engine: engine.state.metrics.update(val_dice=0.75))
    ProgressReport(tmp_path, "train").attach(validator)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda engine: validator.run())
    ProgressReport(tmp_path, "train").attach(trainer)
    with caplog.at_level(logging.INFO, logger="common"):
        trainer.run([0.5], max_epochs=3)
    lines = [record.getMessage() for record in caplog.records if record.name == "common.training.progress"]
    assert [re.sub(r"\d\.\d s", "0.0 s", line) for line in lines] == [
        "train: epoch 1/3, loss 0.5000, 0.0 s, 0.0 s left",
        "train: epoch 2/3, loss 0.5000, val dice 0.7500, 0.0 s, 0.0 s left",
        "train: epoch 3/3, loss 0.5000, 0.0 s",
    ]


def test_the_first_epoch_which_prepares_what_the_others_have_does_not_count_for_the_time_left(
    tmp_path, caplog, monkeypatch
):
    trainer, seconds = make_trainer(nn.Identity()), iter([0, 100, 102, 104, 106])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr(ProgressReport, "_show", lambda *given: None)
    ProgressReport(tmp_path, "train").attach(trainer)
    with caplog.at_level(logging.INFO, logger="common"):
        trainer.run([0.5], max_epochs=4)
    lines = [record.getMessage() for record in caplog.records if record.name == "common.training.progress"]
    assert [line.rpartition(", ")[2] for line in lines] == ["5 min left", "4 s left", "2 s left", "2 s"]


def test_all_values_are_read_from_the_device_once_per_step(tmp_path, monkeypatch):
    reads = []

    def counted(name: str):
        read = getattr(Tensor, name)
        return lambda self, *args: (reads.append(name), read(self, *args))[1]

    for name in ("item", "tolist", "__float__", "__bool__", "numpy", "cpu"):
        monkeypatch.setattr(Tensor, name, counted(name))
    trainer = make_trainer()
    ProgressReport(tmp_path, "distill").attach(trainer)
    trainer.run([0.5, 0.25, 0.125], max_epochs=2)
    assert len(reads) == 6, reads


@pytest.mark.parametrize("output", [{"loss": torch.tensor(0.5)}, [{"loss": 0.5, "pred": 1}, {"loss": 0.5, "pred": 2}]])
def test_handlers_after_it_find_the_loss_as_a_number_in_the_first_item(output, tmp_path):
    trainer = Engine(lambda engine, batch: output)
    ProgressReport(tmp_path, "train").attach(trainer)
    trainer.run([0], max_epochs=1)
    assert from_engine(["loss"], first=True)(trainer.state.output) == 0.5
    assert trainer.state.output == (output if isinstance(output, list) else [{"loss": 0.5}])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("loss", [nn.Identity(), LossOfTerms()])
def test_a_loss_that_is_not_a_number_stops_the_training(value, loss, tmp_path):
    trainer = make_trainer(loss)
    ProgressReport(tmp_path, "train").attach(trainer)
    with pytest.raises(
        RuntimeError, match=r"train: the loss is no longer a number at iteration 2 .*: lower learning_rate"
    ):
        trainer.run([1.0, value, 1.0], max_epochs=1)
    assert trainer.state.iteration == 2


def test_it_goes_without_what_is_not_installed_and_says_so_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("common.training.progress.find_spec", lambda name: None)
    monkeypatch.setattr(TensorBoardStatsHandler, "attach", lambda *arguments, **options: pytest.fail("attached"))
    progress._has.cache_clear()
    with caplog.at_level("INFO"):
        for _ in range(2):
            trainer = Engine(lambda engine, batch: [{"loss": torch.tensor(0.5)}])
            ProgressReport(tmp_path, "train").attach(trainer)
            trainer.run([0], max_epochs=1)
    progress._has.cache_clear()
    assert caplog.text.count("TensorBoard's files are off: tensorboard is not installed") == 1
    assert caplog.text.count("train: epoch 1/1, loss 0.5000, ") == 2
    assert list(tmp_path.iterdir()) == []


def test_other_ranks_show_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    trainer = make_trainer()
    ProgressReport(tmp_path, "train").attach(trainer)
    trainer.run([float("nan")], max_epochs=1)
    assert list(tmp_path.iterdir()) == []
