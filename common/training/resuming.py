"""Checkpoints that a training resumes from."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import CheckpointLoader
from torch import Tensor, nn
from torch.optim import Optimizer

from common.errors import InputError
from common.files.atomic import is_writer
from common.files.checkpoints import read_checkpoint
from common.files.weights import load_trainable_state, save_tensors, trainable_state
from common.training.best_weights import BestWeights
from common.training.identity import check_same, describe_training

logger = logging.getLogger(__name__)


class ResumableCheckpoint:
    """Saves the state of training after each epoch, and resumes from it when the same stage is started again.

    List it last among a trainer's handlers: it saves what the others did in an epoch. MONAI's ``CheckpointSaver`` and
    ``CheckpointLoader`` would not notice that a file is of another training, and write in place.

    What it resumes must be the same training: besides the ``settings``, the weights it began with, its images and
    labels, its teacher, and the settings of its loss. Where a ``CheckpointLoader`` is attached to the trainer too, as
    MONAI Label attaches one, training begins with the weights that this one loads, and nothing is resumed or saved.

    Args:
        path: the file, written anew after each epoch: the trainable weights, the optimizer and the rest of ``objects``.
        network: what is trained; frozen parameters are not saved.
        objects: everything else with a ``state_dict`` that training changes, by name.
        evaluator: when training is complete the network gets the weights that had its best key metric; None keeps the
            latest.
        teacher: whom the network learns from, if from anybody.
        settings: what else must be the same for a run to be resumed, numbers and strings by name.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        network: nn.Module,
        objects: Mapping[str, Any],
        evaluator: Evaluator | None = None,
        teacher: nn.Module | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.network = network
        self.objects = dict(objects)
        self.best = BestWeights(network, evaluator)
        self.teacher = teacher
        self.settings = dict(settings or {})
        self._made_of: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer.
        """
        self.best.attach(engine)
        engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def resume(self, engine: Engine) -> None:
        """Load the saved state, if there is one.

        Raises:
            InputError: if it was left by another training.
        """
        if _loads_checkpoint(engine):
            return
        self._made_of = describe_training(engine, self.network, self.teacher)
        if not self.path.is_file():
            return
        state = read_checkpoint(self.path)
        try:
            check_same(state["settings"], self._all_settings(engine))
            check_same(state["made_of"], self._made_of)
            load_trainable_state(self.network, state["network"])
            for name, item in self.objects.items():
                item.load_state_dict(state[name])
                if isinstance(item, Optimizer):
                    _check_moments(item)
            self.best.load_state_dict(state["best"])
        except (LookupError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.path} was left by a run with other settings ({error}): give the same options as then, such as "
                "--overlay, delete it to start afresh, or choose another output_dir"
            ) from error
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["iteration"]
        if state["epoch"] >= engine.state.max_epochs:
            logger.warning(f"nothing is left to train: delete {self.path} to start afresh")
        else:
            logger.info(f"resuming after epoch {state['epoch']} from {self.path}")

    def save(self, engine: Engine) -> None:
        """Write the state of training."""
        if not is_writer() or _loads_checkpoint(engine):
            return
        state = {name: item.state_dict() for name, item in self.objects.items()}
        state |= {"network": trainable_state(self.network), "best": self.best.state_dict()}
        state |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        state |= {"settings": self._all_settings(engine), "made_of": self._made_of}
        save_tensors(state, self.path)

    def _all_settings(self, engine: Engine) -> dict[str, Any]:
        # The schedule of the learning rate was made for this length.
        length = {"epochs": engine.state.max_epochs, "iterations in an epoch": engine.state.epoch_length}
        return length | self.settings


def _check_moments(optimizer: Optimizer) -> None:
    """Refuse what an optimizer keeps of parameters of other shapes, which it takes without a look.

    Raises:
        ValueError: if a tensor has neither the shape of its parameter nor a single value, such as a number of steps.
    """
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(f"{name} of shape {tuple(value.shape)} for a parameter of {tuple(parameter.shape)}")


def _loads_checkpoint(engine: Engine) -> bool:
    """Say whether a ``CheckpointLoader`` is attached; ignite has no public list of an engine's handlers."""
    return any(isinstance(handler, CheckpointLoader) for handler, *_ in engine._event_handlers[Events.STARTED])
