"""Augmentation that the diffusion model is told of, so that it learns from changed images and draws none.

With few images a model learns them by heart; changed ones put that off, but a model that does not know of the changes
draws them, too. Karras et al. (2022, arXiv 2206.00364, section 5) tell the network what was done to each image. Here it
is told whether anything was, as a class: 0 for images as they are, 1 for changed ones.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform, RandomizableTransform
from monai.utils import MAX_SEED

CHANGED_KEY = "changed"
NUM_CLASSES = 2  # as they are, changed
CLASSES_WEIGHT = "class_embedding.weight"  # in a state dict of diffusers


class RandChangeAndTelld(RandomizableTransform, MapTransform):
    """Changes some images, and says by ``changed`` which: 1 for those, 0 for the others.

    Args:
        keys: of the images.
        transforms: random dictionary transforms that change an image.
        prob: share of the images that are changed.
    """

    def __init__(self, keys: KeysCollection, transforms: Compose, prob: float) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.transforms = transforms

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandChangeAndTelld:
        """Seed the choice of images, and by it what is done to them."""
        super().set_random_state(seed, state)
        self.transforms.set_random_state(seed=int(self.R.randint(MAX_SEED, dtype="uint32")))
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data, changed or not, and told."""
        self.randomize(None)
        changed = dict(self.transforms(data) if self._do_transform else data)
        return changed | {CHANGED_KEY: int(self._do_transform)}


@torch.no_grad()
def drawing_unchanged(network: UNet2DModel) -> UNet2DModel:
    """Return a network that needs not be told: this one, always with the class of unchanged images.

    The class is one more vector that is added to that of the timestep, so that it goes into a bias. All other weights
    are those of this network, not copies.

    Args:
        network: returned as it is if it takes no classes.
    """
    if network.class_embedding is None:
        return network
    config = {name: value for name, value in network.config.items() if not name.startswith("_")}
    state = {name: weight for name, weight in network.state_dict().items() if name != CLASSES_WEIGHT}
    state["time_embedding.linear_2.bias"] = network.time_embedding.linear_2.bias + network.class_embedding.weight[0]
    with torch.device("meta"):
        plain = UNet2DModel(**config | {"num_class_embeds": None})
    plain.load_state_dict(state, assign=True)
    return plain.train(network.training)
