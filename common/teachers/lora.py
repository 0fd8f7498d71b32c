"""Low-rank adaptation of a teacher (Hu et al., 2021, arXiv 2106.09685), by PEFT."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from common.configs.checks import check
from common.errors import InputError
from common.teachers.base import Teacher
from common.teachers.layer_names import adaptable_layers, chosen_layers, ends_in

logger = logging.getLogger(__name__)


def add_lora(
    teacher: Teacher,
    rank: int = 8,
    alpha: float = 16,
    dropout: float = 0.0,
    target_modules: str | Sequence[str] | None = None,
    frozen_share: float = 0,
    bfloat16_on_cpu: bool = False,
) -> PeftModel:
    """Freeze the teacher but for low-rank adapters in its encoder, and its decoder.

    Args:
        teacher: changed in place.
        rank: rank of the adapters, at least 1.
        alpha: the adapters' output is scaled by ``alpha / rank``; above 0.
        dropout: probability, on the adapters' input, in [0, 1).
        target_modules: the name, or the names, of the encoder's layers that get an adapter (linear ones, of some
            families convolutions too); None takes the teacher's own choice.
        frozen_share: of those layers, in the order in which the encoder has them, that get none, in [0, 1). No gradient
            has to pass what comes before the first adapter, which saves time.
        bfloat16_on_cpu: whether the teacher computes in bfloat16 where it is on a CPU.

    Returns:
        The teacher in PEFT's wrapping, which is called as the teacher is. Fresh adapters change nothing yet.

    Raises:
        InputError: if a number is out of range, or the encoder has no such layers.
    """
    check(lora_rank=rank, frozen_share=frozen_share, **{"teacher_def::alpha": alpha, "teacher_def::dropout": dropout})
    chosen = teacher.lora_layers if target_modules is None else target_modules
    targets = _existing(teacher, [chosen] if isinstance(chosen, str) else list(chosen))
    if frozen_share:
        targets = _last_ones(teacher, targets, frozen_share)
    teacher.bfloat16_on_cpu = bfloat16_on_cpu
    # A pattern, since a list of names would also match layers outside the encoder.
    pattern = rf"encoder\.(.*\.)?({'|'.join(map(re.escape, targets))})"
    options: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout}
    network = get_peft_model(teacher, LoraConfig(**options, target_modules=pattern, modules_to_save=["decoder"]))
    trainable, total = network.get_nb_trainable_parameters()
    logger.info(
        f"of the teacher's {total:,} parameters {trainable:,} train ({trainable / total:.2%}): its decoder, and small "
        "matrices that are added to its encoder (LoRA)"
    )
    return network


def _last_ones(teacher: Teacher, targets: Sequence[str], frozen_share: float) -> list[str]:
    """Return the whole names of the chosen layers but for a share of them, the first ones."""
    able = adaptable_layers(teacher.encoder, teacher.lora_types)
    chosen = [name for name in able if any(ends_in(name, target) for target in targets)]
    frozen = int(frozen_share * len(chosen))
    logger.info(f"of the encoder's {len(chosen)} layers that adapters are for the first {frozen} get none")
    return chosen[frozen:]


def _existing(teacher: Teacher, targets: Sequence[str]) -> Sequence[str]:
    """Return names of layers that mean the chosen ones, and none that can have no adapter.

    Raises:
        InputError: if there is no layer of such a name.
    """
    try:
        return chosen_layers(teacher.encoder, teacher.lora_types, targets)
    except KeyError as error:
        known = adaptable_layers(teacher.encoder, teacher.lora_types)
        kinds = {"Linear": "linear", "Conv2d": "convolutional"}
        raise InputError(
            f"lora_targets: the encoder of the {type(teacher).__name__} has no "
            f"{' or '.join(kinds.get(kind.__name__, kind.__name__) for kind in teacher.lora_types)} layers called "
            f"{', '.join(map(str, error.args)) or 'nothing'}; it has "
            f"{', '.join(sorted({name.rpartition('.')[2] for name in known}))}"
        ) from error
