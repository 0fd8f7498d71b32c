"""Any network of MONAI with weights as a teacher; a student of an earlier run too, which is self-training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from common.teachers.base import FeatureLayout, Teacher
from common.teachers.base_names import name_of_base
from common.teachers.cards import Card
from common.teachers.layer_names import adaptable_layers, endings
from common.teachers.network_card import network_card
from common.teachers.network_layers import first_of, look_into
from common.teachers.network_weights import is_network, load_network, record_of


class NetworkTeacher(Teacher):
    """A whole segmentation network as the encoder, and a convolution of 1x1 over its logits as the decoder.

    A network of skip connections has no place at which it falls into an encoder and a decoder, and one that segments
    already needs no new decoder. So the adapters sit on all of its layers that can have one, and the convolution, which
    is trained as a whole, turns its classes into those at hand. Where they are as many, it changes nothing at first:
    the teacher begins as what the network is. Batch normalisation and dropout are those of evaluation, always.

    Args:
        pretrained: a file with the network's state dict, such as the ``model.pt`` of a training; None for the weights
            that it has.
        num_classes: classes to tell apart, background included.
        network: a network of images ``(B, C, H, W)``, C one or three, or its description; None takes the one that the
            provenance beside the weights has.
        pixel_normalisation: see :class:`~common.teachers.base.Teacher`; None leaves images in [0, 1].
        options: see :class:`~common.teachers.base.Teacher`; ``upright`` is false by default, since networks that were
            trained here, or elsewhere with readers of MONAI, saw arrays of columns by rows.

    Raises:
        InputError: if it is not known what network it is, it takes no images or puts out no logits, or the weights
            cannot be found, read, or are of another one.
        ValueError: if ``num_classes`` or ``input_scale`` is out of range.
    """

    family = "network"
    encoder: WholeNetwork
    lora_types: ClassVar = (nn.Linear, nn.Conv2d)

    def __init__(
        self,
        pretrained: str | os.PathLike | None,
        num_classes: int,
        network: nn.Module | Mapping[str, Any] | None = None,
        pixel_normalisation: str | Mapping[str, Sequence[float]] | None = None,
        **options: Any,
    ) -> None:
        network, self._definition = load_network(pretrained, network)
        pixel_normalisation = "none" if pixel_normalisation is None else pixel_normalisation
        if options.get("base_name") == name_of_base(pretrained) is not None:  # such as model.pt, which says little
            options["base_name"] = f"{type(network).__name__} of {options['base_name']}"
        options = {"upright": False, **options}
        super().__init__(pretrained, num_classes, pixel_normalisation=pixel_normalisation, **options)
        self._card = network_card(network, record_of(pretrained))
        self.encoder = WholeNetwork(network)
        self.decoder = make_head(self.encoder.layers.out_channels, num_classes)

    @classmethod
    def recognises(cls, pretrained: str | os.PathLike) -> bool:
        return is_network(pretrained)

    @classmethod
    def suitable_scale(cls, pretrained: str | os.PathLike, size: int) -> float:
        """Return what shows a network the size that it was trained at, where that is known, and else 1."""
        return record_of(pretrained).get("image_size", size) / size

    @property
    def card(self) -> Card | None:
        return self._card

    @property
    def lora_layers(self) -> tuple[str, ...]:  # type: ignore[override]  # the network's own
        """All linear layers and convolutions that the network uses, but those in groups and those into patches."""
        used = {f"network.{name}".rstrip(".") for name in self.encoder.layers.used}
        names = [name for name in adaptable_layers(self.encoder, self.lora_types) if name in used]
        return endings(names, {name for name, _ in self.encoder.named_modules()} - set(names))

    @property
    def stride(self) -> int:
        return self.encoder.layers.stride

    @property
    def feature_layers(self) -> dict[str, FeatureLayout]:
        layers = self.encoder.layers
        named = {f"encoder.network.{name}": layout for name, layout in layers.layouts.items()}
        return {**named, "encoder.neck": layers.layouts.get(layers.deepest or "", FeatureLayout("channels_first"))}

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the network's logits ``(B, C, h, w)`` of normalised pixels ``(B, 3, H, W)``."""
        return self.encoder(pixels)

    def decode(self, features: Tensor) -> Tensor:
        """Return logits ``(B, num_classes, h, w)`` of the network's own ``(B, C, h, w)``."""
        return self.decoder(features)

    def describe(self) -> dict[str, Any]:
        """Return the above with ``network``, the description; None for a network that cannot be built of one."""
        return {**super().describe(), "network": self._definition}


class WholeNetwork(nn.Module):
    """Turns pixels ``(B, 3, H, W)`` into what a network puts out; one of grey images sees the mean of the channels.

    ``neck`` does nothing: it is where hooks see what the network's deepest layer puts out.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        call_no_part_decoder(network)
        self.layers = look_into(network)
        self.network = network
        self.neck = nn.Identity()

    def train(self, mode: bool = True) -> WholeNetwork:
        """Have adapters train alone: statistics of the images at hand would make another network of it."""
        super().train(mode)
        for name, module in self.named_modules():
            if "lora_" not in name:
                module.training = False
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        if self.layers.in_channels == 1:
            pixels = pixels.mean(1, keepdim=True)
        kept: list[Tensor] = []
        deepest = self.network if self.layers.deepest is None else self.network.get_submodule(self.layers.deepest)
        handle = deepest.register_forward_hook(lambda module, inputs, output: kept.append(first_of(output)))
        try:
            logits = first_of(self.network(pixels))
        finally:
            handle.remove()
        self.neck(kept[-1])
        return logits


def call_no_part_decoder(network: nn.Module) -> None:
    """Have a network's own decoder go by another name among its modules: PEFT would train all that are called so.

    The network itself goes on calling it by the name that it has in its code, and gets what has an adapter by then.
    """
    for parent in list(network.modules()):
        if any(name.endswith("decoder") for name in parent._modules):
            renamed = _Renamed()
            for name, module in parent._modules.items():
                renamed[name] = module
            parent._modules = renamed


class _Renamed(dict[str, nn.Module | None]):
    """Modules by name, in their order; one called decoder is listed as ``decoder_`` and found by both names."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(_listed(name))

    def __getitem__(self, name: str) -> nn.Module | None:
        return super().__getitem__(_listed(name))

    def __setitem__(self, name: str, module: nn.Module | None) -> None:
        super().__setitem__(_listed(name), module)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(_listed(name))


def _listed(name: Any) -> Any:
    return f"{name}_" if str(name).endswith("decoder") else name


def make_head(channels: int, num_classes: int) -> nn.Conv2d:
    """Return a convolution of 1x1 that changes nothing where there are as many channels as classes."""
    head = nn.Conv2d(channels, num_classes, 1)
    if channels == num_classes:
        assert head.bias is not None
        nn.init.zeros_(head.bias)
        with torch.no_grad():
            head.weight.copy_(torch.eye(channels)[:, :, None, None])
    return head
