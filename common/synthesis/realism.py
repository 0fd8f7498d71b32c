"""How far samples are real: whether they lie among the training images, by what is in them and by their grain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.synthesis.diversity import spread
from common.synthesis.observer import Observation, Observer
from common.synthesis.training_images import TrainingImages

_NEIGHBOURS = 3  # Kynkäänniemi et al. take 3, Naeem et al. 5; training images are few
_USUAL = 0.95  # quantile of the distances between training images that counts as usual


@dataclass(frozen=True)
class Realism:
    """How far samples are real, as Kynkäänniemi et al. (2019, arXiv 1904.06991) and Naeem et al. (2020, arXiv
    2002.09797) measure it.

    A training image's own ball reaches to its third nearest other training image, a sample's to its third nearest
    other sample.

    Attributes:
        precision: share of samples that lie within the ball of a training image; that of noise is 0.
        recall: share of training images that lie within the ball of a sample.
        density: balls of training images that a sample lies in, on average, divided by the neighbours (3); about 1
            where samples are as dense as training images.
        coverage: share of training images whose ball has a sample in it.
    """

    precision: float
    recall: float
    density: float
    coverage: float


class RealImages:
    """The training images in some space of features, such as a :class:`CommonSpace`.

    An image is usual if it is no farther from the nearest training image than 95 % of the training images are from the
    nearest one of another patient. How strange a sample is, is its distance in that unit: from 0 for a training image
    to about 1 for a new image of the same kind.

    Args:
        features: ``(N, D)``.
        groups: patient or exam of each.
    """

    def __init__(self, features: Tensor, groups: Sequence[str]) -> None:
        self.features = features.double()
        names = np.array(groups)
        others = torch.as_tensor(names[:, None] != names[None])
        if not others.any():  # of one patient: every other image has to do
            others = ~torch.eye(len(names), dtype=torch.bool)
        self._between = torch.cdist(self.features, self.features).masked_fill(~others, math.inf)

    @property
    def usual(self) -> float | None:
        """The distance to the nearest training image that counts as usual; None if there is one image, or all alike."""
        nearest = self._between.amin(1)
        nearest = nearest[nearest.isfinite()]
        usual = float(nearest.quantile(_USUAL)) if len(nearest) else 0.0
        return usual if usual > 1e-9 * float(self.features.norm(dim=1).max()) else None

    def strangeness(self, features: Tensor) -> list[float | None]:
        """Return how strange samples of these features ``(M, D)`` are; None where no distance is usual."""
        if self.usual is None:
            return [None] * len(features)
        return (torch.cdist(features.double(), self.features).amin(1) / self.usual).tolist()

    @property
    def radii(self) -> Tensor | None:
        """Radius of each training image's ball ``(N,)``; None if there are too few of them."""
        return _radii(self._between)

    def mark(self) -> dict[str, float] | None:
        """Return what the training images themselves have, each measured against those of other patients.

        Their coverage would be 1 by definition; it is what as many new images of the same kind are expected to have
        (lemma 2 of Naeem et al.). None if there are too few of them.
        """
        radii = self.radii
        if radii is None:
            return None
        within = (self._between <= radii[None]).double()  # image i in the ball of j, which i itself helps to measure
        inside = float(within.amax(1).mean())
        count, coverage = len(radii), 1.0
        for place in range(1, _NEIGHBOURS + 1):
            coverage *= (count - place) / (2 * count - place)
        density = float(within.sum(1).mean()) / _NEIGHBOURS
        return asdict(Realism(precision=inside, recall=inside, density=density, coverage=1 - coverage))

    def measure(self, features: Tensor) -> dict[str, float] | None:
        """Return how far samples of these features ``(M, D)`` are real, as a dictionary of :class:`Realism`.

        Recall is measured with no more samples than there are training images, from all over the list, since it rises
        with their number. None if there are too few training images or samples.
        """
        radii = self.radii
        samples = features.double()
        some = spread(samples, min(len(samples), len(self.features)))
        balls = _radii(torch.cdist(some, some).fill_diagonal_(math.inf))
        if radii is None or balls is None:
            return None
        within = torch.cdist(samples, self.features) <= radii[None]
        return asdict(
            Realism(
                precision=float(within.any(1).double().mean()),
                recall=float((torch.cdist(self.features, some) <= balls[None]).any(1).double().mean()),
                density=float(within.double().sum(1).mean()) / _NEIGHBOURS,
                coverage=float(within.any(0).double().mean()),
            )
        )


class CommonSpace:
    """Puts what can be seen in images into one space, in which what is in them and their grain count alike.

    The unit of each is the distance between training images that is usual in it, see :class:`RealImages`. So a sample
    of the right things in the wrong grain, noisy or blurred, is as far off as one of other things.

    Args:
        training: what is seen in the training images.
        groups: patient or exam of each.
    """

    def __init__(self, training: Observation, groups: Sequence[str]) -> None:
        views = (training.features, training.spectra)
        self._units = [RealImages(view, groups).usual or 1.0 for view in views]

    def place(self, observation: Observation) -> Tensor:
        """Return where images lie, ``(N, D + E)``."""
        views = (observation.features, observation.spectra)
        return torch.cat([view.double() / unit for view, unit in zip(views, self._units, strict=True)], dim=1)


class Reference(NamedTuple):
    """The training images, as what samples are measured by.

    Attributes:
        real: where they lie.
        space: that they and samples lie in.
        foregrounds: share of the pixels of each that the teacher takes for structures; None without a teacher.
    """

    real: RealImages
    space: CommonSpace
    foregrounds: list[float] | None


def look_at_training_images(training: TrainingImages, observer: Observer) -> Reference:
    """Return what an observer sees in the images that a diffusion model was shown."""
    observation = observer.observe(training.crops.to(observer.device))
    groups = [training.groups[source] for source in training.crop_sources.tolist()]
    space = CommonSpace(observation, groups)
    return Reference(RealImages(space.place(observation), groups), space, observation.foregrounds)


def measure_realism(real: RealImages, features: Tensor, kept: Sequence[bool]) -> dict[str, dict[str, float] | None]:
    """Return how far all samples, those that are kept, and the training images themselves are real.

    Args:
        real: the training images.
        features: ``(M, D)`` of all samples.
        kept: whether each is kept.
    """
    return {
        "all_samples": real.measure(features),
        "kept": real.measure(features[torch.as_tensor(kept)]),
        "training_images": real.mark(),
    }


def _radii(distances: Tensor) -> Tensor | None:
    """Return the distance of each to its third nearest other ``(N,)``; -1, no ball, where fewer are at a finite one."""
    if len(distances) <= _NEIGHBOURS:
        return None
    radii = distances.kthvalue(_NEIGHBOURS, dim=1).values
    return radii.masked_fill(radii.isinf(), -1) if radii.isfinite().any() else None
