"""Whether a network takes images of a size: known before training starts, not after an hour."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from common.configs.checks import check
from common.errors import InputError
from common.files.provenance import recorded


@torch.no_grad()
def check_image_size(
    network: nn.Module,
    size: int,
    in_channels: int = 3,
    *,
    inputs: Sequence[Any] = (),
    key: str = "image_size",
    weights: str | os.PathLike | None = None,
) -> None:
    """Pass one empty image through a network, and hold to the size that its weights were trained at.

    Args:
        network: any network of images ``(B, in_channels, H, W)``; its mode and weights do not change.
        size: height and width of the image in pixels.
        in_channels: channels of the image.
        inputs: what else the network is called with, such as a timestep.
        key: the config's name for the size, for the message.
        weights: of the network, where their training is over; None of those that are to be trained.

    Raises:
        InputError: if a number is not whole and positive, the weights record another size, which costs several points
            of Dice and is seen nowhere, or the network refuses the image.
    """
    check(**{key: size, "in_channels": in_channels})
    trained = recorded(weights, key, size)
    if trained != size:
        raise InputError(
            f"{key}: {weights} was trained at {trained} pixels, but {size} are given; leave out --{key}, and overlays "
            "that set it"
        )
    was_training = network.training
    device = next(network.parameters()).device
    try:
        network.eval()(torch.zeros(1, in_channels, size, size, device=device), *inputs)
    except (ValueError, RuntimeError) as error:
        says_which = "divisible" in str(error)  # as teachers do, and DINOv2 wants another number than most
        hint = "" if says_which else "; a size that is divisible by 32 suits most networks"
        raise InputError(
            f"{key}: the {type(network).__name__} does not take images of {size} x {size} pixels ({error}){hint}"
        ) from error
    finally:
        network.train(was_training)
