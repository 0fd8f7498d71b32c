"""Ignite handlers that the stages share: progress, seeds and checkpoints one can resume from."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import ignite.handlers
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from monai.data.utils import set_rnd
from monai.engines import Evaluator
from monai.handlers import StatsHandler, TensorBoardStatsHandler
from monai.utils import set_determinism
from torch import nn

from common.checkpoints import is_writer, read_checkpoint, replace_file
from common.errors import InputError
from common.fingerprints import data_digest, network_fingerprint, plain_settings, state_digest
from common.networks.features import unwrap
from common.origins import note_data, note_origin, origin_of

logger = logging.getLogger(__name__)


@cache
def _has(package: str, what: str) -> bool:
    """Say whether a package that is pleasant to have is installed; where it is not, the log says once what is off."""
    found = find_spec(package) is not None
    if not found:
        logger.info(f"{what} off: {package} is not installed")
    return found


class ProgressBar:
    """Ignite's progress bar where tqdm is installed, and nothing elsewhere: a released student does without.

    Args:
        desc: what is in progress.
    """

    def __init__(self, desc: str) -> None:
        self.desc = desc

    def attach(self, engine: Engine, output_transform: Callable | None = None) -> None:
        """
        Args:
            engine: any engine.
            output_transform: what to show of its output, numbers by name.
        """
        if _has("tqdm", "progress bars are"):
            bar = ignite.handlers.ProgressBar(desc=self.desc, mininterval=1)
            bar.attach(engine, output_transform=output_transform)


class ProgressReport:
    """A progress bar, TensorBoard scalars, and a line in the log at the end of each epoch; on the first rank only.

    Where tqdm or TensorBoard is not installed it goes without.

    Args:
        output_dir: TensorBoard's files go to ``<output_dir>/tensorboard/<stage>``.
        stage: name of the stage.
        terms: what to show of a trainer's output; an evaluator, which has none, shows its metrics.
    """

    def __init__(self, output_dir: str | os.PathLike, stage: str, terms: Sequence[str] = ("loss",)) -> None:
        self.folder = Path(output_dir) / "tensorboard" / stage
        self.stage = stage
        self.terms = list(terms)

    def _scalars(self, output: Any) -> dict[str, float]:
        first = output[0] if isinstance(output, list) else output
        return {term: float(torch.as_tensor(first[term]).detach()) for term in self.terms}

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer or an evaluator.
        """
        if not is_writer():
            return
        if isinstance(engine, Evaluator):
            ProgressBar(f"{self.stage}, validation").attach(engine)
            StatsHandler(iteration_log=False, output_transform=lambda output: None).attach(engine)
            self._attach_tensorboard(engine, iteration_log=False)
            return
        ProgressBar(self.stage).attach(engine, output_transform=self._scalars)
        self._attach_tensorboard(engine, tag_name="training", epoch_log=False, output_transform=self._scalars)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop_where_training_diverged)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log_epoch)

    def _attach_tensorboard(self, engine: Engine, **settings: Any) -> None:
        if _has("tensorboard", "TensorBoard's files are"):
            TensorBoardStatsHandler(log_dir=str(self.folder), **settings).attach(engine)

    def _stop_where_training_diverged(self, engine: Engine) -> None:
        if not all(math.isfinite(value) for value in self._scalars(engine.state.output).values()):
            raise RuntimeError(
                f"{self.stage}: the loss is no longer a number at iteration {engine.state.iteration} "
                f"({self._scalars(engine.state.output)}): lower learning_rate, or turn amp off"
            )

    def _log_epoch(self, engine: Engine) -> None:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in self._scalars(engine.state.output).items())
        logger.info(f"{self.stage}: epoch {engine.state.epoch}/{engine.state.max_epochs}, {shown}")


class EpochSeed:
    """Seeds every source of randomness at the start of each epoch, so that a resumed run repeats an uninterrupted one.

    Args:
        seed: of the run; epoch and rank are mixed into it.
        dataset: its random transforms are seeded too. The worker processes of a loader seed their own from torch's.
    """

    def __init__(self, seed: int, dataset: Any) -> None:
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self)  # ignite asks for the loader's iterator after this

    def __call__(self, engine: Engine) -> None:
        """Seed for the epoch that has just started."""
        seed = self.seed + 1000 * engine.state.epoch + idist.get_rank()
        set_determinism(seed=seed)
        set_rnd(self.dataset, seed=seed)
        sampler = getattr(engine.state.dataloader, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(engine.state.epoch)


class MomentumEncoder(EMAHandler):
    """Keeps the momentum encoder of MoCo v3, a moving average of an encoder (Chen et al., 2021, arXiv 2104.02057).

    Its momentum grows from its first value to 1 along half a cosine. Its batch norms go by the batch, in training mode.

    Args:
        encoder: what is averaged; ``ema_model`` is the average.
        momentum: the first value, what the average keeps of itself in a step.
    """

    def __init__(self, encoder: nn.Module, momentum: float = 0.99) -> None:
        super().__init__(encoder, momentum=1 - momentum, handle_buffers="ema_train")  # ignite counts what is new

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a trainer.
        """
        super().attach(engine)
        engine.add_event_handler(Events.ITERATION_STARTED, self._schedule)

    def _schedule(self, engine: Engine) -> None:
        state = engine.state
        progress = (state.iteration - 1) / (state.max_epochs * state.epoch_length)
        state.ema_momentum = self.momentum * (1 + math.cos(math.pi * progress)) / 2


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
