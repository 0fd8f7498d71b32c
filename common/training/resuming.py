"""Checkpoints that a training resumes from."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch import nn

from common.errors import InputError
from common.files.atomic import is_writer, replace_file
from common.files.fingerprints import data_digest, network_fingerprint, plain_settings, state_digest, unwrap
from common.files.provenance import note_data, note_origin, origin_of
from common.files.weights import read_checkpoint

logger = logging.getLogger(__name__)


class ResumableCheckpoint:
    """Saves the state of training after each epoch, and goes on from there when the same stage is started again.

    List it last among a trainer's handlers: it saves what the others did in an epoch.
    When training is complete the network has the weights that did best in validation, if there was any.

    What it goes on with must be the same training: besides the ``settings``, the weights it began with, its images and
    labels, its teacher, and the settings of its loss.

    Args:
        path: the file, written anew after each epoch: the trainable weights, the optimizer and the rest of ``objects``.
        network: what is trained; frozen parameters are not saved.
        objects: everything else with a ``state_dict`` that training changes, by name.
        evaluator: its key metric chooses the best weights; None keeps the latest.
        settings: what else must be the same for a run to be gone on with, numbers and strings by name.
        resume: False neither reads nor writes the file: each training starts with the weights that it is given, as an
            annotation server's must, whose labels have changed since the last one.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        network: nn.Module,
        objects: dict[str, Any],
        evaluator: Evaluator | None = None,
        settings: dict[str, Any] | None = None,
        resume: bool = True,
    ) -> None:
        self.path = Path(path)
        self.network = network
        self.objects = objects
        self.evaluator = evaluator
        self.settings = dict(settings or {})
        self.resumes = resume
        self.best: dict | None = None
        self._made_of: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer.
        """
        engine.add_event_handler(Events.STARTED, self._note_data)
        if self.resumes:
            engine.add_event_handler(Events.STARTED, self._note_training)
            engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save if self.resumes else self._keep_best)
        engine.add_event_handler(Events.COMPLETED, self.restore_best)

    def _note_data(self, engine: Engine) -> None:
        dataset = getattr(engine.state.dataloader, "dataset", None)
        note_data(self.network, getattr(dataset, "data", None))

    def _note_training(self, engine: Engine) -> None:
        self._made_of = _describe_training(engine, self.network)

    def resume(self, engine: Engine) -> None:
        """Load the saved state, if there is one.

        Raises:
            InputError: if it was left by a run with other settings.
        """
        if not self.path.is_file():
            return
        state = read_checkpoint(self.path)
        try:
            _check_settings(state["settings"], self._all_settings(engine))
            _check_known(state.get("origin", {}), origin_of(self.network), ("teacher", "fine_tuned", "phantoms"))
            _check_known(state.get("made_of", {}), self._made_of, self._made_of)
            load_trainable_state(self.network, state["network"])
            for name, item in self.objects.items():
                item.load_state_dict(state[name])
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise InputError(
                f"{self.path} was left by a run with other settings ({error}): delete it to start afresh, or choose "
                "another output_dir"
            ) from error
        note_origin(self.network, state.get("origin", {}))  # older ones have none
        self.best = state["best"]
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["iteration"]
        if state["epoch"] >= engine.state.max_epochs:
            logger.warning(f"nothing is left to train: delete {self.path} to start afresh")
        else:
            logger.info(f"resuming after epoch {state['epoch']} from {self.path}")

    def save(self, engine: Engine) -> None:
        """Write the state of training."""
        self._keep_best(engine)
        if is_writer():
            state = {name: item.state_dict() for name, item in self.objects.items()}
            state |= {"network": trainable_state(self.network), "best": self.best}
            state |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
            state |= {"settings": self._all_settings(engine), "origin": origin_of(self.network)}
            state |= {"made_of": self._made_of}
            with replace_file(self.path) as fresh:
                torch.save(state, fresh)

    def _all_settings(self, engine: Engine) -> dict[str, Any]:
        # The schedule of the learning rate was made for this length.
        length = {"epochs": engine.state.max_epochs, "iterations in an epoch": engine.state.epoch_length}
        return length | self.settings

    def _keep_best(self, engine: Engine) -> None:
        if self.evaluator is None or self.evaluator.state.epoch != engine.state.epoch:
            return  # there was no validation after this epoch
        metric = float(self.evaluator.state.metrics[self.evaluator.state.key_metric_name])
        if math.isnan(metric):
            return  # nothing would ever count as better
        if self.best is None or metric > self.best["metric"]:
            weights = {name: value.detach().cpu().clone() for name, value in trainable_state(self.network).items()}
            self.best = {"metric": metric, "epoch": engine.state.epoch, "network": weights}

    def restore_best(self, engine: Engine) -> None:
        """Give the network its best weights."""
        if self.best is not None:
            load_trainable_state(self.network, self.best["network"])
            logger.info(f"best in validation: epoch {self.best['epoch']}, {self.best['metric']:.4f}")


_HASHED = {
    "first weights": "it began with other weights",
    "data": "its images or labels were others",
    "teacher weights": "its teacher was another",
}


def _describe_training(engine: Engine, network: nn.Module) -> dict[str, Any]:
    """Return what a training is made of before it begins: hashes by the keys of ``_HASHED``, and the loss' settings."""
    made_of: dict[str, Any] = {"first weights": state_digest(unwrap(network).state_dict())}
    data = getattr(getattr(engine.state.dataloader, "dataset", None), "data", None)
    if data is not None:
        made_of["data"] = getattr(data, "fingerprint", None) or data_digest(data)
    teacher = getattr(engine, "teacher", None)
    if isinstance(teacher, nn.Module):
        made_of["teacher weights"] = network_fingerprint(teacher)
    loss = getattr(engine, "loss_function", None)
    if isinstance(loss, nn.Module):
        for path, module in loss.named_modules():
            name = ".".join(["loss", *filter(None, [path])])
            made_of |= {f"{name}.{key}": value for key, value in plain_settings(module).items()}
    return made_of


def _check_settings(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    differing = [
        _HASHED.get(name) or f"{name} was {saved.get(name)}, now {value}"
        for name, value in current.items()
        if saved.get(name) != value
    ]
    if differing:
        raise ValueError("; ".join(differing))


def _check_known(saved: Mapping[str, Any], current: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Check what both have: older checkpoints have less."""
    _check_settings(saved, {key: current[key] for key in keys if key in saved and key in current})


def trainable_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return a network's state dict without its frozen parameters."""
    network = unwrap(network)
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in frozen}


def load_trainable_state(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load what :func:`trainable_state` returned.

    Raises:
        ValueError: if it is not of a network with the same trainable parameters.
    """
    differing = trainable_state(network).keys() ^ state.keys()
    if differing:
        raise ValueError(f"{len(differing)} weights do not match, first {min(differing)}")
    unwrap(network).load_state_dict(state, strict=False)
