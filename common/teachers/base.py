"""What a teacher is: the type that every family of vision foundation models fills in."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.teachers.base_names import name_of_base
from common.teachers.cards import Card
from common.teachers.normalisation import find_normalisation

LayoutKind = Literal["channels_first", "channels_last", "tokens"]


@dataclass(frozen=True)
class FeatureLayout:
    """How a layer lays out its output.

    Args:
        kind: ``channels_first`` for ``(B, C, h, w)``, ``channels_last`` for ``(B, h, w, C)``, ``tokens`` for
            ``(B, prefix_tokens + h * w, C)``.
        prefix_tokens: tokens before those of the grid, such as a class token and registers.

    Raises:
        ValueError: if ``kind`` is unknown, or ``prefix_tokens`` is negative, or positive for a grid.
    """

    kind: LayoutKind
    prefix_tokens: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(LayoutKind):
            raise ValueError(f"kind must be one of {', '.join(get_args(LayoutKind))}, got '{self.kind}'")
        if self.prefix_tokens < 0 or (self.prefix_tokens and self.kind != "tokens"):
            raise ValueError(f"prefix_tokens must be 0, or positive for tokens, got {self.prefix_tokens}")


class Teacher(nn.Module, ABC):
    """A vision foundation model as a prompt-free segmentation network for images in [0, 1].

    A family of models is a subclass in a file of its own, and a line in ``common.teachers.TEACHERS``. It sets
    ``encoder``, which keeps its weights but for LoRA's adapters, and ``decoder``, which is trained as a whole (and must
    be called as a module, ``self.decoder(...)``, which PEFT wraps). Whatever else has weights stays as it is.

    Args:
        pretrained: where the weights are; what it may be is up to the family.
        num_classes: classes to tell apart, background included.
        input_scale: enlarges the images before the encoder sees them, since decoders put out less than they see.
        pixel_normalisation: ``imagenet`` or ``none`` where nothing beside the weights says how they want their pixels;
            see :func:`~common.teachers.normalisation.find_normalisation`.
        base_name: what to call the weights in a report; by default what ``pretrained`` calls them.
        dataset: name of the dataset that the teacher is fine-tuned on, such as ``ph2``, for what is said about it.
        upright: whether the encoder sees images as people do. Readers of MONAI give arrays of columns by rows, and
            foundation models were trained on rows by columns, in which skin is at the top of an ultrasound image.

    Raises:
        ValueError: if ``num_classes`` or ``input_scale`` is out of range.
    """

    family: ClassVar[str]
    """Its name in ``TEACHERS``."""

    lora_layers: ClassVar[tuple[str, ...]]
    """Names of the encoder's layers that get an adapter, unless the user says otherwise."""

    lora_types: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear,)
    """What layers can get one."""

    encoder: nn.Module
    decoder: nn.Module

    def __init__(
        self,
        pretrained: Any,
        num_classes: int,
        input_scale: float = 1,
        pixel_normalisation: str | Mapping[str, Sequence[float]] | None = None,
        base_name: str | None = None,
        dataset: str | None = None,
        upright: bool = True,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2 (background and one structure), got {num_classes}")
        if input_scale <= 0:
            raise ValueError(f"input_scale must be positive, got {input_scale}")
        self.num_classes = num_classes
        self.input_scale = input_scale
        self.upright = upright
        self.bfloat16_on_cpu = False
        """Whether it computes in bfloat16 on a CPU, which those with instructions for it do twice as fast."""
        # Private, since a fingerprint of the network must not change with the place and the name of its weights.
        self._pretrained = str(pretrained) if isinstance(pretrained, (str, os.PathLike)) else None
        self._base_name = base_name or name_of_base(pretrained)
        self._dataset = dataset
        self.pixel_normalisation = find_normalisation(pretrained, pixel_normalisation)

    @classmethod
    def recognises(cls, pretrained: str | os.PathLike) -> bool:
        """Say whether these weights are of this family, as far as a name or a file's head tells.

        It is asked of whatever the user gives: hub ids, names such as ``embedded``, folders, files of other families
        and paths where there is nothing. Nothing is downloaded or raised for these.
        """
        return False

    @classmethod
    def suitable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        """Return the ``input_scale`` that suits these weights and images of ``size`` pixels, a multiple of 16."""
        return 1

    @classmethod
    def affordable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        """Return the same for training on a CPU, which cannot afford to show every teacher what suits it."""
        return cls.suitable_scale(pretrained, size)

    @property
    def base_name(self) -> str | None:
        """What a report calls the pretrained weights; None for random ones."""
        return self._base_name

    @property
    def card(self) -> Card | None:
        """What is public about the pretrained weights; None where they are not known."""
        return None

    @property
    def card_for_data(self) -> Card | None:
        """The card, and in it whether the dataset at hand is known to be among what the weights were trained on."""
        return self.card.about(self._dataset) if self.card else None

    @property
    @abstractmethod
    def stride(self) -> int:
        """Side in pixels of what one place of the encoder's features covers; image sizes must be divisible by it."""

    @property
    @abstractmethod
    def feature_layers(self) -> dict[str, FeatureLayout]:
        """Layers that features may be taken from, by their names in ``named_modules``.

        ``encoder.neck`` must be one of them: distillation takes it unless ``feature_pairs`` says otherwise.
        """

    @abstractmethod
    def encode(self, pixels: Tensor) -> Tensor:
        """Return features ``(B, C, h, w)`` of normalised pixels ``(B, 3, H, W)``; the stride divides H and W."""

    @abstractmethod
    def decode(self, features: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, h', w')`` of features ``(B, C, h, w)``, of the same field of view."""

    def train(self, mode: bool = True) -> Teacher:
        """Train, or evaluate; the encoder's batch statistics stay those of its weights, which are not saved."""
        super().train(mode)
        for module in self.encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = False
        return self

    def normalise(self, images: Tensor) -> Tensor:
        """Return the pixels that the encoder wants of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.pixel_normalisation(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, W, H)`` of images ``(B, C, W, H)`` in [0, 1], C one or three.

        Where the teacher is not ``upright``, the encoder sees them as they are, with W for rows.

        Raises:
            ValueError: if C is neither, or the stride does not divide the enlarged height and width.
        """
        if images.shape[1] not in (1, 3):
            raise ValueError(f"images must have one or three channels, got {images.shape[1]}")
        height, width = images.shape[-2:]
        enlarged = (round(height * self.input_scale), round(width * self.input_scale))
        if enlarged[0] % self.stride or enlarged[1] % self.stride:
            raise ValueError(
                f"image size {height}x{width}, enlarged to {enlarged[0]}x{enlarged[1]} by input_scale "
                f"{self.input_scale}, must be divisible by the teacher's stride {self.stride}"
            )
        if self.upright:
            images = images.transpose(-2, -1)
            height, width, enlarged = width, height, enlarged[::-1]
        if enlarged != (height, width):
            images = F.interpolate(images, size=enlarged, mode="bilinear", align_corners=False)
        pixels = self.normalise(images.expand(-1, 3, -1, -1))
        if self.bfloat16_on_cpu and pixels.device.type == "cpu":
            with torch.autocast("cpu", torch.bfloat16):
                logits = self.decode(self.encode(pixels)).float()
        else:
            logits = self.decode(self.encode(pixels))
        logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        return logits.transpose(-2, -1) if self.upright else logits

    def describe_as_from(self, pretrained: str | os.PathLike) -> None:
        """Have :meth:`describe` say that the weights are from here: a name that means the same on other machines."""
        self._pretrained = str(pretrained)

    def describe(self) -> dict[str, Any]:
        """Return the arguments of :func:`~common.teachers.build_teacher` that make the teacher again, as JSON has them.

        ``pretrained`` and ``base_name`` are None for weights that come from no file.
        """
        return {
            "family": self.family,
            "pretrained": self._pretrained,
            "base_name": self.base_name,
            "num_classes": self.num_classes,
            "input_scale": self.input_scale,
            "pixel_normalisation": self.pixel_normalisation.describe(),
            "dataset": self._dataset,
            "upright": self.upright,
        }
