"""A training that takes no time: one linear layer behind a frozen one, with a scripted validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import DataLoader, Dataset

from common.training.resuming import ResumableCheckpoint


class ToyData(Dataset):
    """Two batches of two, and a datalist that says what they are."""

    def __init__(self, data: Sequence[dict[str, Any]] = ({"image": "one"}, {"image": "two"})) -> None:
        self.data = list(data)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((2, 2), (index + 1) / 2)


class Toy:
    """A trainer whose evaluator reports one of ``metrics`` after each epoch."""

    def __init__(
        self,
        path: Path,
        epochs: int = 3,
        metrics: Sequence[float] | None = None,
        width: int = 2,
        seed: int = 0,
        data: Sequence[dict[str, Any]] = ({"image": "one"}, {"image": "two"}),
        loss_function: nn.Module | None = None,
        **options: Any,
    ) -> None:
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))
        self.network[0].requires_grad_(False)
        self.optimizer = torch.optim.SGD(self.network[1].parameters(), lr=0.1, momentum=0.9)
        self.evaluator = SimpleNamespace(state=SimpleNamespace(epoch=0, metrics={}, key_metric_name="dice"))
        self.weights: list[dict[str, torch.Tensor]] = []  # after each epoch trained here
        self.epochs = epochs
        self.metrics = metrics
        self.data = data
        self.engine = Engine(self._step)
        self.engine.loss_function = loss_function
        self.engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish_epoch)
        evaluator = self.evaluator if metrics else None
        self.checkpoint = ResumableCheckpoint(path, self.network, {"optimizer": self.optimizer}, evaluator, **options)

    def _step(self, engine: Engine, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        self.optimizer.zero_grad()
        loss = self.network(batch).square().mean()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss}

    def _finish_epoch(self, engine: Engine) -> None:
        self.weights.append({name: value.clone() for name, value in self.network.state_dict().items()})
        self.validate(engine)

    def validate(self, engine: Engine) -> None:
        if self.metrics:
            self.evaluator.state.epoch = engine.state.epoch
            self.evaluator.state.metrics = {"dice": self.metrics[engine.state.epoch - 1]}

    def run(self, cut_off_at: int | None = None, first: Sequence[Any] = (), last: Sequence[Any] = ()) -> Toy:
        """Train, up to an iteration at which the power fails if there is one; with more handlers first or last."""
        for handler in (*first, self.checkpoint, *last):
            handler.attach(self.engine)
        if cut_off_at is not None:
            self.engine.add_event_handler(Events.ITERATION_COMPLETED(once=cut_off_at), _interrupt)
        try:
            self.engine.run(DataLoader(ToyData(self.data), batch_size=None), max_epochs=self.epochs)
        except KeyboardInterrupt:
            assert cut_off_at is not None
        return self


def _interrupt(engine: Engine) -> None:
    raise KeyboardInterrupt
