"""What does not fit into batches is refused before training."""

from __future__ import annotations

import pytest
from PIL import Image

from common.errors import InputError
from common.training.batches import check_any, check_crops


def entries(folder, *sizes: tuple[int, int]) -> list[dict[str, str]]:
    paths = [folder / f"{index}.png" for index in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        Image.new("L", size).save(path)
    return [{"image": str(path)} for path in paths]


def test_a_training_without_labelled_images_is_refused(tmp_path):
    check_any(entries(tmp_path, (4, 4)))
    with pytest.raises(InputError, match="there is no image with a label to train on; submit a label first"):
        check_any([])


def test_images_that_are_smaller_than_the_crops_are_named(tmp_path):
    found = entries(tmp_path, (40, 32), (32, 31), (20, 64), (32, 32))
    check_crops(found, 20)
    with pytest.raises(InputError) as caught:
        check_crops(found + found, 32)
    message = str(caught.value)
    assert message.startswith("crop_size: 2 of 4 images are smaller than 32")
    assert f"{tmp_path / '1.png'} is 32 x 31; {tmp_path / '2.png'} is 20 x 64 pixels" in message
    assert message.endswith("set crop_size to 20 or less")
