from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import LoadImage
from PIL import Image

from common.synthesis.pictures import read_png, to_pictures, write_png


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_picture_has_the_axes_of_monais_readers_and_comes_back_the_same(tmp_path, channels, mode):
    images = torch.randint(256, (1, channels, 7, 5)) / 255
    (picture,) = to_pictures(images)
    write_png(picture, tmp_path / "sample.png")
    with Image.open(tmp_path / "sample.png") as written:
        assert (written.mode, written.size) == (mode, (7, 5))
    read = LoadImage(reader="PILReader", ensure_channel_first=True)(tmp_path / "sample.png")
    np.testing.assert_allclose(read / 255, images[0])
    assert torch.equal(read_png(tmp_path / "sample.png"), images[0])
