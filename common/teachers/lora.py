"""Low-rank adaptation of a teacher (Hu et al., 2021, arXiv 2106.09685), by PEFT."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from peft import LoraConfig, PeftModel, get_peft_model

from common.configs.checks import check
from common.errors import InputError
from common.teachers.base import Teacher
from common.teachers.encoder_parts import is_within
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
        frozen_share: of the parts of the encoder, from its input on, that get no adapter, in [0, 1). What they make of
            an image that comes again is not computed again.
        bfloat16_on_cpu: whether the teacher computes in bfloat16 where it is on a CPU.

    Returns:
        The teacher in PEFT's wrapping, which is called as the teacher is. Fresh adapters change nothing yet.

    Raises:
        InputError: if a number is out of range, or the encoder has no such layers.
    """
    check(lora_rank=rank, frozen_share=frozen_share, **{"teacher_def::alpha": alpha, "teacher_def::dropout": dropout})
    chosen = teacher.lora_layers if target_modules is None else target_modules
    targets = [chosen] if isinstance(chosen, str) else list(chosen)
    targets = _existing(teacher, targets)
    if teacher.freeze_share(frozen_share):
        targets = _in_what_trains(teacher, targets)
        frozen, parts = len(teacher.frozen_parts), len(teacher.encoder_parts())
        logger.info(f"the first {frozen} of the encoder's {parts} parts stay; images are the same in each epoch")
    elif frozen_share:
        logger.info("frozen_share: the encoder of this teacher is not divided into so many parts; all of it trains")
    teacher.bfloat16_on_cpu = bfloat16_on_cpu
    # A pattern, since a list of names would also match layers outside the encoder.
    pattern = rf"encoder\.(.*\.)?({'|'.join(map(re.escape, targets))})"
    options = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout}
    network = get_peft_model(teacher, LoraConfig(**options, target_modules=pattern, modules_to_save=["decoder"]))
    trainable, total = network.get_nb_trainable_parameters()
    logger.info(
        f"of the teacher's {total:,} parameters {trainable:,} train ({trainable / total:.2%}): its decoder, and small "
        "matrices that are added to its encoder (LoRA)"
    )
    return network


def _in_what_trains(teacher: Teacher, targets: Sequence[str]) -> list[str]:
    """Return the whole names of the chosen layers that are in no frozen part.

    Raises:
        InputError: if there are none.
    """
    able = adaptable_layers(teacher.encoder, teacher.lora_types)
    chosen = [name for name in able if any(ends_in(name, target) for target in targets)]
    trained = [name for name in chosen if not is_within(name, teacher.frozen_parts)]
    if not trained:
        raise InputError(
            f"frozen_share: {len(teacher.frozen_parts)} of the encoder's {len(teacher.encoder_parts())} parts stay as "
            "they are, and the others have none of the layers that are to get an adapter: lower it"
        )
    return trained


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
