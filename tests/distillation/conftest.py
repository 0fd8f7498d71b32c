"""What tests of distillation share: a tiny teacher, and students that fit it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import nn

from common.students.vit import ViTSegmenter
from common.teachers import build_teacher
from common.teachers.base import Teacher


@pytest.fixture(scope="session")
def make_teacher(tiny_sam_folder) -> Callable[..., Teacher]:
    """Return what makes a tiny SAM of two classes, in training mode."""
    build = cache(lambda **options: build_teacher(tiny_sam_folder, num_classes=2, **options).train())
    return lambda **options: copy.deepcopy(build(**options))


@pytest.fixture
def student() -> nn.Module:
    torch.manual_seed(0)
    return ViTSegmenter(hidden_size=24, depth=1, num_heads=2, conv_channels=(4, 4))
