"""What a bundle says of its teacher: what really teaches, whatever the project is about."""

from __future__ import annotations

import re
from typing import Any

from common.teachers.base_names import is_stand_in, name_of_base

_SAM = re.compile(r"facebook/sam-vit-\w+|sam_vit_[a-z]_\w+\.pth")
_STAND_IN = "a stand-in teacher (a small Segment Anything Model of this project, pre-trained on drawn shapes alone)"
_HINT = (
    "**The teacher is a stand-in**: no published foundation model is involved, so that a student of it does not show "
    "what one would be worth. For a published one, give `create` its weights, such as "
    "`--pretrained facebook/sam-vit-base`, a folder or a file (`task-distill list teachers`), and `--overwrite`."
)


def describe_teacher(pretrained: Any) -> dict[str, str | None]:
    """Return the facts about a teacher that follow from its weights.

    Args:
        pretrained: as configs have it: a hub id, a folder, a file, ``lite_medsam`` or ``embedded``.

    Returns:
        ``teacher_title``, for headings; ``teacher_is``, for sentences; ``teacher_hint``, a paragraph on what to give
        for a real teacher, None where it is one. Of a path the last part alone is named.
    """
    if is_stand_in(pretrained):
        return {"teacher_title": "a stand-in teacher", "teacher_is": _STAND_IN, "teacher_hint": _HINT}
    name = name_of_base(pretrained)
    if _SAM.fullmatch(str(name)):
        return {"teacher_title": "SAM", "teacher_is": "a Segment Anything Model", "teacher_hint": None}
    return {"teacher_title": str(name), "teacher_is": str(name), "teacher_hint": None}
