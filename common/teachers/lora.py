"""TODO"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from common.teachers.sam import SamSegmenter

logger = logging.getLogger(__name__)


def add_lora(
    teacher: SamSegmenter,
    rank: int = 8,
    alpha: float = 16,
    dropout: float = 0.0,
    target_modules: Sequence[str] = ("qkv", "proj"),
) -> SamSegmenter:
    """Freeze the teacher's encoder but for low-rank adapters on its attention; its decoder stays trainable.

    Args:
        teacher: changed in place.
        rank: rank of the adapters.
        alpha: the adapters' output is scaled by ``alpha / rank``.
        dropout: probability, on the adapters' input.
        target_modules: names of the encoder's linear layers that get an adapter.

    Returns:
        The same teacher. Its fresh adapters change nothing yet.
    """
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(target_modules))
    inject_adapter_in_model(config, teacher.encoder)
    teacher.position_embedding.requires_grad_(False)
    teacher.encoder.lora_config = config
    trainable, total = count_parameters(teacher)
    logger.info(f"LoRA: {trainable:,} of {total:,} parameters train ({trainable / total:.2%}), decoder included")
    return teacher


def count_parameters(network: nn.Module) -> tuple[int, int]:
    """Return the numbers of trainable and of all parameters."""
    parameters = list(network.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)


def merge_lora(teacher: SamSegmenter) -> SamSegmenter:
    """Fold the adapters into the layers they sit on: the same function, at no extra cost."""
    for parent in list(teacher.encoder.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, LoraLayer):
                module.merge()
                setattr(parent, name, module.get_base_layer())
    return teacher
