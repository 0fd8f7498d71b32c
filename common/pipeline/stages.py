"""The stages of a bundle: what each leaves behind when it is done, and which of them a method needs."""

from __future__ import annotations

from collections.abc import Sequence

from common.configs.name_lists import as_list
from common.distillation.methods import Method
from common.errors import InputError

# What each stage leaves behind when it is done, in <output_dir>.
STAGES = {
    "finetune_teacher": "teacher/teacher.json",
    "train_diffusion": "diffusion/model_index.json",
    "synthesize": "transfer/datalist.json",
    "distill": "distilled.pt",
    "train": "model.pt",
    "evaluate_teacher": "evaluation/teacher/summary.json",
    "evaluate": "evaluation/student/summary.json",
}
TRAINING_STAGES = ("finetune_teacher", "train_diffusion", "distill", "train")


def stages_of(method: Method) -> list[str]:
    """Return the stages that a method needs, in order."""
    needless: set[str] = set()
    if method.teacher != "fine_tuned":
        needless |= {"finetune_teacher", "evaluate_teacher"}
    if not method.transfer_set:
        needless |= {"train_diffusion", "synthesize"}
    if method.config is None:
        needless |= {"distill"}
    return [stage for stage in STAGES if stage not in needless]


def choose_stages(stages: str | Sequence[str] | None, method: Method) -> list[str]:
    """Return some stages of a method, in order.

    Args:
        stages: the stages to run, as a list or separated by commas; by default all that the method needs.
        method: how the student is prepared.

    Raises:
        InputError: if a stage is unknown, the method has no use for it, or none is given.
    """
    needed = stages_of(method)
    if stages is None:
        return needed
    chosen = as_list(stages)
    unknown = [stage for stage in chosen if stage not in STAGES]
    if unknown or not chosen:
        raise InputError(
            f"--stages: there is no stage {', '.join(unknown) or '(none given)'}; the stages are {', '.join(STAGES)}"
        )
    needless = [stage for stage in chosen if stage not in needed]
    if needless:
        raise InputError(
            f"--stages: method {method.name} has no use for {', '.join(needless)}; leave it out, or name the method "
            "that needs it"
        )
    return [stage for stage in needed if stage in chosen]
