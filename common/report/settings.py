"""The settings of a study (method, label budget, transfer set, LoRA rank), in print and in the order of tables."""

from __future__ import annotations

from typing import NamedTuple

from common.distillation.methods import METHODS, PROPOSED

REFERENCE = PROPOSED  # the method that the others are compared with
TEACHER = "teacher"  # no method of the study, but what its student is compared with


class Setting(NamedTuple):
    """What was tried: all that tells runs apart but the seed."""

    method: str
    num_labels: int | None  # None is every labelled image
    transfer_size: int | None  # None where there is no transfer set
    lora_rank: int | None  # None where there is no fine-tuned teacher

    @property
    def title(self) -> str:
        """The method's name in print."""
        return title_of(self.method)

    @property
    def labels_in_print(self) -> str:
        """The number of labels in print."""
        return "all" if self.num_labels is None else str(self.num_labels)

    @property
    def transfer_size_in_print(self) -> str:
        """The size of the transfer set in print."""
        if not has_transfer_set(self.method):
            return "-"
        return "all" if self.transfer_size is None else str(self.transfer_size)


def title_of(method: str) -> str:
    """Return the title of a method or of the teacher; an unknown method keeps its name."""
    if method == TEACHER:
        return "fine-tuned teacher"
    return METHODS[method].title if method in METHODS else method


def has_transfer_set(method: str) -> bool:
    """Say whether a method learns from the transfer set."""
    return method != TEACHER and (method not in METHODS or METHODS[method].transfer_set)


def has_fine_tuned_teacher(method: str) -> bool:
    """Say whether a method learns from the fine-tuned teacher, or is this teacher."""
    return method == TEACHER or (method in METHODS and METHODS[method].teacher == "fine_tuned")


def is_aside(method: str) -> bool:
    """Say whether it is a line to compare students with: the teacher, or another network."""
    return method == TEACHER or (method in METHODS and METHODS[method].is_reference)


def place_of(method: str) -> int:
    """Return the place of a method in tables and figures; the teacher and unknown methods come last."""
    names = [*METHODS, TEACHER]
    return names.index(method) if method in names else len(names)


def order(setting: Setting) -> tuple:
    """Return a key to sort settings by: number of labels, transfer-set size, method, LoRA rank; what is None last."""
    numbers = [float("inf") if number is None else number for number in setting[1:]]
    return numbers[0], numbers[1], place_of(setting.method), setting.method, numbers[2]
