"""Hashes of what a transfer set is made from: a run that was killed goes on only if none has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable

import torch
from diffusers import ConfigMixin, DDPMPipeline
from torch import Tensor, nn

from common.files.fingerprints import network_fingerprint, tensor_digest
from common.synthesis.training_images import TrainingImages


def fingerprint_inputs(
    pipeline: DDPMPipeline,
    training: TrainingImages,
    teacher: nn.Module | None,
    teacher_transform: Callable[[Tensor], Tensor] | None,
) -> dict[str, str | None]:
    """Return a hash of the diffusion model, the training images, the teacher and its transform, None for what is None.

    A transform is known by what it makes of a training image.
    """
    model = [network_fingerprint(pipeline.unet), _config_text(pipeline.unet), _config_text(pipeline.scheduler)]
    transformed = None if teacher_transform is None else torch.as_tensor(teacher_transform(training.crops[0]))
    return {
        "model": _hash(model),
        "training_images": _hash([*training.names, *training.groups], [*training.images, training.crops]),
        "teacher": None if teacher is None else network_fingerprint(teacher),
        "teacher_transform": None if transformed is None else _hash([], [transformed]),
    }


def _config_text(part: ConfigMixin) -> str:
    """Return the config of a network or scheduler, without what diffusers notes for itself, in any order."""
    return json.dumps({key: value for key, value in part.config.items() if not key.startswith("_")}, sort_keys=True)


def _hash(texts: Iterable[str], tensors: Iterable[Tensor] = ()) -> str:
    digest = hashlib.sha256("\n".join(texts).encode())
    for tensor in tensors:
        digest.update(tensor_digest(tensor))
    return digest.hexdigest()
