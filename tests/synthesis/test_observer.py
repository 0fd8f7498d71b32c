"""What a teacher sees in images."""

from __future__ import annotations

import pytest
from monai.transforms import Resize
from textures import small_textures
from transfer_sets import Brightness

from common.synthesis.observer import Observer


def test_the_teacher_gets_the_transformed_images_in_small_batches_and_keeps_its_mode():
    teacher = Brightness().train()
    images = small_textures(20)
    _, _, confidences, shares = Observer(teacher, Resize((32, 32), mode="nearest")).observe(images)
    assert teacher.training
    assert {shape[1:] for shape in teacher.shapes} == {(1, 32, 32)}
    assert max(shape[0] for shape in teacher.shapes) <= 8
    assert shares == pytest.approx((images > 0.5).float().mean((1, 2, 3)).tolist(), abs=1e-6)
    assert len(confidences) == 20
