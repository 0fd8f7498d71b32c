"""Images are read as they are, or named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from integration import refused
from PIL import Image

from common.datasets.readers.image_files import ImageFiles
from common.datasets.readers.images import LoadPictured, read_image, to_grey, to_rgb
from common.errors import InputError


def save(path: Path, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> None:
    Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).convert(mode).save(path)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_a_channel_are_refused_as_pillow_would_make_white_of_them(dtype, tmp_path):
    path = tmp_path / "deep.tif"
    Image.fromarray(np.full((8, 8), 1000, dtype)).save(path)
    with refused(r"deep\.tif: has more than 8 bits a channel"):
        LoadPictured("image", to_rgb)({"image": str(path)})
    save(tmp_path / "plain.png")
    assert list(ImageFiles(tmp_path).unreadable) == [path]


GREY = np.array([[0, 0], [0, 200]], np.uint8)


def image_bytes(format_name):
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(stream, format_name)
    return stream.getvalue()


def test_read_image_returns_pixels_that_outlive_the_file(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(image_bytes("PNG"))
    image = read_image(path)
    path.unlink()
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(image_bytes("PNG")))))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format_name", ["GIF", "TIFF", "PNG", "BMP", "JPEG"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_image_is_named(tmp_path, format_name, share):
    data = image_bytes(format_name)
    path = tmp_path / "21_training.tif"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"21_training\.tif"):
        read_image(path)


def test_folder_in_the_place_of_an_image_is_named_as_one(tmp_path):
    (tmp_path / "image.png").mkdir()
    with pytest.raises(InputError, match=r"image\.png: is a folder, expected an image"):
        read_image(tmp_path / "image.png")


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"", "empty"), (b"<html>", "cannot be read")])
def test_file_that_is_no_image_is_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "21_training.tif"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"21_training\.tif: .*{reason}"):
        read_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_grey_is_one_channel_with_the_same_foreground(mode):
    grey = to_grey(Image.fromarray(GREY).convert(mode))
    assert grey.mode == "L"
    assert np.array_equal(np.asarray(grey) > 0, GREY > 0)
