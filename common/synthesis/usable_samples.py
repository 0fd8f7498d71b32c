"""The weights of a diffusion model whose samples are of most use: neither copies nor no images of their kind.

With few images a model first draws no images, then new ones, and in the end the training images again. No loss says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from common.errors import InputError
from common.files.atomic import is_writer
from common.synthesis.observer import Observer
from common.synthesis.realism import Reference, look_at_training_images
from common.synthesis.sample_grid import SampleGridHandler
from common.synthesis.sample_selection import count_dropped, count_kept, judge_samples
from common.synthesis.settings import TransferSetSettings
from common.synthesis.training_images import TrainingImages

logger = logging.getLogger(__name__)

_PATIENCE = 2  # looks in a row with less than half of the best share, after which training stops


class KeepUsable:
    """Judges the samples of each grid, and keeps the weights that drew most that are of use.

    The latest weights among those whose share of usable samples is within a standard error of the highest are kept,
    and given to the network when training is complete. Training stops where the share was below half of the highest
    two grids in a row. Copies are told as in a transfer set; realism by the features of the stand-in, since a diffusion
    model needs no teacher.

    Args:
        grids: draws the samples, from the network whose weights are kept; attached before this one.
        training_images: gives what the model is trained on, called once.
        copy_threshold: see :class:`~common.synthesis.settings.TransferSetSettings`.
        max_strangeness: see there.
        device: where samples are judged.
        enabled: False leaves the training alone.
    """

    def __init__(
        self,
        grids: SampleGridHandler,
        training_images: Callable[[], TrainingImages],
        copy_threshold: float = 0.5,
        max_strangeness: float = 1.5,
        device: str | torch.device = "cpu",
        enabled: bool = True,
    ) -> None:
        self.grids = grids
        self.network: nn.Module = grids.network
        self.training_images = training_images
        self.limits: dict[str, Any] = {"copy_threshold": copy_threshold, "max_strangeness": max_strangeness}
        self.device = device
        self.enabled = enabled
        self.highest, self.epoch, self.poor, self.copied = 0.0, 0, 0, 0.0
        self.weights: dict[str, Tensor] = {}
        self._known: tuple[TrainingImages, Observer, Reference] | None = None

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer, to which the grids are attached already.
        """
        if not self.enabled:
            return
        engine.add_event_handler(Events.STARTED, self.check)
        engine.add_event_handler(Events.EPOCH_STARTED, self.stop_again)
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.grids.interval), self.look)
        engine.add_event_handler(Events.COMPLETED, self.restore)

    def check(self, engine: Engine) -> None:
        """Refuse a training in which no grid would be drawn.

        Raises:
            InputError: if it is shorter than the interval of the grids.
        """
        if engine.state.max_epochs < self.grids.interval:
            raise InputError(
                f"keep_usable needs samples: sample_interval is {self.grids.interval}, and there are "
                f"{engine.state.max_epochs} epochs"
            )

    def stop_again(self, engine: Engine) -> None:
        """Stop a training that had stopped before and was started again, as after a crash while it was saved."""
        if self.poor >= _PATIENCE:
            engine.terminate()

    def look(self, engine: Engine) -> None:
        """Judge the samples that were drawn after this epoch, keep the weights, and stop if there is no more to win."""
        share = idist.broadcast(self._usable_share(engine.state.epoch) if is_writer() else 0.0, src=0)
        count = self.grids.num_samples
        error = (max(self.highest * (1 - self.highest), 1 / count) / count) ** 0.5
        if share >= self.highest - error and share > 0:
            self.weights = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
            self.epoch = engine.state.epoch
        self.highest = max(self.highest, share)
        self.poor = self.poor + 1 if share < self.highest / 2 else 0
        if self.poor >= _PATIENCE:
            logger.info(f"training stops after epoch {engine.state.epoch}: samples were of more use before")
            engine.terminate()

    def restore(self, engine: Engine) -> None:
        """Give the network the weights that are kept, if samples were ever of use."""
        if self.weights:
            self.network.load_state_dict(self.weights)
            logger.info(f"the weights after epoch {self.epoch} are kept, for their samples")
        else:
            advice = "train for a shorter time, or on more images" if self.copied > 0.5 else "train for longer"
            logger.warning(f"no samples were of use, so that the latest weights are kept: {advice}")

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        kept = {"highest": self.highest, "epoch": self.epoch, "poor": self.poor, "copied": self.copied}
        return kept | {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        self.highest, self.epoch, self.poor, self.copied = (
            state[name] for name in ("highest", "epoch", "poor", "copied")
        )
        self.weights = dict(state["weights"])

    def _usable_share(self, epoch: int) -> float:
        assert self.grids.images is not None  # they have just been drawn
        images = self.grids.images.to(self.device)
        training, observer, reference = self._look_at_training_images()
        observation = observer.observe(images)
        settings = TransferSetSettings(num_images=len(images), **self.limits)
        strangeness = reference.real.strangeness(reference.space.place(observation))
        judgements = judge_samples(images, training, settings, observation, strangeness)
        usable, (copies, strange, _) = count_kept(judgements), count_dropped(judgements).values()
        logger.info(
            f"after epoch {epoch} {usable} of {len(images)} samples are of use; {copies} are copies of training "
            f"images, {strange} are no images of this kind"
        )
        self.copied = copies / len(images)
        return usable / len(images)

    def _look_at_training_images(self) -> tuple[TrainingImages, Observer, Reference]:
        if self._known is None:
            training, observer = self.training_images(), Observer(device=self.device)
            self._known = training, observer, look_at_training_images(training, observer)
        return self._known
