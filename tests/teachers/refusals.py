"""Weights that are refused in one line, which names them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from common.teachers import build_teacher


def refusal(load: Callable[[str | Path], object], pretrained: str | Path) -> str:
    """Return what is said of weights that a loader does not take."""
    with pytest.raises(InputError) as caught:
        load(pretrained)
    assert str(pretrained) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refusal_of_family(family: str, **options: Any) -> Callable[[str | Path], str]:
    """Return the above for teachers of a family."""
    return partial(refusal, partial(build_teacher, num_classes=2, family=family, **options))
