"""A student as PyTorch's weights: the network is built from what they say of it, or from their bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.blocks import PatchEmbeddingBlock
from torch import nn

from common.errors import InputError
from common.files.provenance import provenance_path, read_provenance
from common.files.weights import load_weights
from common.prediction.base import Student
from common.prediction.bundle_facts import BundleFacts
from common.prediction.recipe import Recipe, missing_facts
from common.students.describing import build
from common.students.features import WithFeatures, find_layer
from common.students.references import Reference

logger = logging.getLogger(__name__)

_OF_TRAINING = {"initial", "dataset", "phantoms"}  # what only weights that were trained on labels have


class TorchStudent(Student):
    """A student that PyTorch runs.

    Args:
        network: with its weights.
        recipe: how images are prepared for it.
        reference: features of images that it was trained on.
        device: to run on; by default a GPU where there is one.

    Raises:
        InputError: if the network does not take images of the recipe's size and channels, or tells other classes apart.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, reference: Reference | None = None, device: str | None = None
    ) -> None:
        self.recipe, self.reference = recipe, reference
        self.device = _device(device)
        network = network.eval().to(self.device)
        try:
            layer = find_layer(network, recipe.in_channels, recipe.size)
        except (RuntimeError, ValueError) as error:
            own = _size_of_positions(network, recipe.in_channels)
            why = f"its positions are those of {own} x {own} pixels" if own not in (None, recipe.size) else error
            raise InputError(
                f"the {type(network).__name__} does not take images of {recipe.in_channels} channels and {recipe.size} "
                f"x {recipe.size} pixels ({why}); these are not the weights that the bundle or the size belong to"
            ) from error
        self.network = WithFeatures(network, layer).eval() if layer is not None else network
        logits, _ = self.run(np.zeros((1, recipe.in_channels, recipe.size, recipe.size), np.float32))
        if logits.shape[1] != len(recipe.classes):
            raise InputError(
                f"the {type(network).__name__} tells {logits.shape[1]} classes apart, but there are "
                f"{len(recipe.classes)}: {', '.join(recipe.classes)}"
            )

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return logits and features, see :meth:`Student.run`."""
        try:
            outputs = self.network(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
        except ValueError as error:
            raise InputError(f"the student does not take images of {images.shape[2:]} pixels ({error})") from error
        if isinstance(outputs, torch.Tensor):
            return outputs.float().cpu().numpy(), None
        logits, features = outputs
        return logits.float().cpu().numpy(), features.float().cpu().numpy()


def open_torch_student(
    weights: Path,
    bundle: Path | None = None,
    size: int | None = None,
    device: str | None = None,
    release: Path | None = None,
) -> TorchStudent:
    """Open a student from its weights and what is known of them.

    Args:
        weights: a state dict, with its provenance beside it.
        bundle: the bundle it was trained with, which says what the provenance does not.
        size: width and height that it was trained with, where the provenance does not say it.
        device: to run on.
        release: that the weights are in, which says all that they do not where no bundle is given.

    Raises:
        InputError: see :func:`common.prediction.student.open_student`.
    """
    facts = read_provenance(weights)
    _check_stage(facts, weights)
    missing = missing_facts(facts)
    is_whole = not missing and bool(facts.get("network"))
    if bundle is not None:
        BundleFacts(bundle, weights).check_agrees(facts)
        if is_whole:
            logger.warning("--bundle %s has no effect: %s says all of it itself", bundle, weights)
    source = bundle or release
    if is_whole:
        network = build(facts["network"])
    elif source is not None:
        known = BundleFacts(source, weights)
        facts = known.complete(facts, size)
        network = build(facts["network"]) if facts.get("network") else known.network()
    elif facts.get("network"):
        network = build(facts["network"])
    else:
        raise InputError(_unknown(weights, ["network", *missing]))
    facts = _with_size(facts, size, weights)
    recipe = Recipe.from_provenance(facts, str(weights))
    reference = Reference.from_json(facts.get("reference"), str(weights))
    return TorchStudent(load_weights(network, weights, "train"), recipe, reference, device)


def _check_stage(facts: Mapping[str, Any], weights: Path) -> None:
    """Tell weights that a method has prepared from those of a training on labels.

    Raises:
        InputError: if nothing has taught them to segment yet.
    """
    if not facts.get("method") or facts.keys() & _OF_TRAINING:
        return
    if not facts.get("fine_tuned"):
        raise InputError(
            f"{weights} has not learned to segment: it is prepared by the method {facts['method']}, for a training to "
            "go on from; take the model.pt of that training"
        )
    logger.warning("%s is distilled, and not trained on labels yet: the model.pt of that training is better", weights)


def _size_of_positions(network: nn.Module, in_channels: int) -> int | None:
    """Return the width and height of the images that a network of MONAI has positions for; None where it has none."""
    patches = [each for each in network.modules() if isinstance(each, PatchEmbeddingBlock)]
    return round((patches[0].n_patches * patches[0].patch_dim / in_channels) ** 0.5) if patches else None


def _with_size(facts: dict[str, Any], size: int | None, weights: Path) -> dict[str, Any]:
    """Return the facts with a size that a user gives, which may not contradict what the weights say."""
    if size is None:
        return facts
    key = "crop_size" if facts.get("sees") == "crops" else "image_size"
    if facts.get(key) not in (None, size):
        raise InputError(f"--size {size}: {weights} was trained with {facts[key]}; leave it out")
    return {**facts, key: size}


def _unknown(weights: Path, missing: list[str]) -> str:
    path = provenance_path(weights)
    why = "as weights of earlier versions and of other stages do not: take the model.pt of a training"
    if not path.is_file():
        why = f"since {path.name} is not beside it, which a training writes: copy it along too"
    return (
        f"{weights} does not say {', '.join(missing)}, {why}; or give --bundle, the folder of the bundle that they "
        "were trained with"
    )


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: there is no such device here; leave it out") from error
    return device
