"""Load what is to be evaluated: the student or the teacher."""

from __future__ import annotations

import os

from torch import nn

from common.errors import InputError
from common.files.weights import load_weights


def load_subject(
    subject: str,
    student: nn.Module,
    ckpt_path: str | os.PathLike,
    teacher_dir: str | os.PathLike | None = None,
    pretrained: str | None = None,
    teacher_network: nn.Module | None = None,
) -> nn.Module:
    """Load what is to be evaluated.

    Args:
        subject: ``student`` or ``teacher``.
        student: the student's architecture.
        ckpt_path: the student's weights.
        teacher_dir: the fine-tuned teacher, if there is one.
        pretrained: the base that the teacher was fine-tuned from.
        teacher_network: what network that base is, where neither it nor the teacher's folder says it.

    Raises:
        InputError: if ``subject`` is neither, or what it names cannot be loaded.
    """
    if subject == "student":
        return load_weights(student, ckpt_path, made_by="train")
    if subject != "teacher":
        raise InputError(f"subject: expected student or teacher, got '{subject}'")
    if teacher_dir is None:
        raise InputError("subject: there is no teacher here; take the student")
    try:
        from common.teachers.folder import load_teacher  # a student is evaluated without transformers and PEFT
    except ModuleNotFoundError as error:
        raise InputError(f"subject: a teacher cannot be evaluated here ({error}); take the student") from error
    return load_teacher(teacher_dir, pretrained, teacher_network)
