"""What is known of a student: how good it is, and how it was made, as far as the provenance of its weights says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.distillation.methods import METHODS, Method
from common.errors import InputError
from common.files.provenance import read_provenance
from common.teachers.base_names import STAND_IN

UNKNOWN = "unknown"
NO_TEACHER = "none"


@dataclass(frozen=True)
class Evidence:
    """What is known of a student.

    Attributes:
        summary: of its evaluation.
        teacher: name of its teacher's base, or ``NO_TEACHER`` or ``UNKNOWN``.
        teacher_card: what is public about that base, as its card says it; None where it is not known.
        method: what prepared it before it was fine-tuned; None where that is unknown, or nothing did.
        training: settings of its fine-tuning, empty where they are unknown.
        phantoms: whether it was evaluated on phantoms, None where that is unknown.
        trained_on_phantoms: whether it was fine-tuned on phantoms, None where that is unknown.
    """

    summary: dict[str, Any]
    teacher: str = UNKNOWN
    teacher_card: dict[str, Any] | None = None
    method: Method | None = None
    training: dict[str, Any] | None = None
    phantoms: bool | None = None
    trained_on_phantoms: bool | None = None

    @property
    def has_stand_in(self) -> bool:
        """Whether its teacher was the stand-in teacher."""
        return self.teacher == STAND_IN

    @property
    def names_teacher(self) -> bool:
        """Whether it had a teacher that is known by name."""
        return self.teacher not in (UNKNOWN, NO_TEACHER)


def gather(weights: Path, summary: dict[str, Any], stated_teacher: str | None) -> Evidence:
    """Return what the provenance of a student's weights and its evaluation say about it.

    Args:
        weights: the student's weights, as ``train.yaml`` wrote them.
        summary: of its evaluation.
        stated_teacher: what the user says that its teacher was.

    Raises:
        InputError: if that contradicts the provenance; or if the student was distilled and neither says from what.
    """
    known = read_provenance(weights)
    teacher = (known["teacher"] or NO_TEACHER) if "teacher" in known else UNKNOWN
    method = METHODS.get(known.get("method") or "")
    if stated_teacher and teacher not in (UNKNOWN, stated_teacher):
        raise InputError(
            f"--teacher {stated_teacher}: the provenance of {weights} says that it was '{teacher}'; leave it out"
        )
    teacher = stated_teacher or teacher
    if method and method.teacher and teacher in (UNKNOWN, NO_TEACHER):
        raise InputError(
            f"--teacher: {weights} was distilled ({method.title}), but what its teacher was is not recorded; say it, "
            f"such as --teacher {STAND_IN}"
        )
    return Evidence(
        summary=summary,
        teacher=teacher,
        teacher_card=known.get("teacher_card"),
        method=method,
        training=known.get("settings"),
        phantoms=summary.get("phantoms"),
        trained_on_phantoms=known.get("phantoms"),
    )
