"""Images are read as they are, or named."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from integration import environment, refused
from PIL import ExifTags, Image

from common.datasets.readers.image_files import ImageFiles
from common.datasets.readers.images import LoadPictured, read_image, read_stored, to_grey, to_rgb
from common.datasets.readers.labels import LoadLabeld
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
    assert list(ImageFiles(tmp_path).left_out) == [path]


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bits_in_each_of_several_channels_are_refused_as_pillow_would_keep_8(colour_type, channels, tmp_path):
    """By hand, since Pillow writes no such PNG."""
    path = tmp_path / "deep.png"
    pixels = np.full((5, 4, channels), 4095, ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 4, 5, 16, colour_type, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with Image.open(path) as image:
        assert len(image.convert("RGBA").getbands()) == 4, "Pillow reads it"
    with refused(r"deep\.png: has 16 bits in each of its channels; save it with 8"):
        LoadPictured("image", to_rgb)({"image": str(path)})
    with refused(r"deep\.png: has 16 bits"):
        LoadLabeld("label")({"label": str(path)})


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


class TestOrientation:
    """Pixels are taken as they are stored, whatever viewers make of them."""

    PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize(
        ("name", "options"),
        [("image.png", {}), ("image.tif", {}), ("image.tif", {"compression": "tiff_lzw"})],
        ids=["PNG", "TIFF", "LZW"],
    )
    def test_does_not_turn_pixels(self, tmp_path, name, options, orientation):
        path = save_turned(tmp_path / name, self.PIXELS, orientation, **options)
        stored = read_stored(path)
        assert stored.orientation == orientation
        np.testing.assert_array_equal(np.asarray(stored.image), self.PIXELS)
        loaded = LoadPictured("image", to_rgb)({"image": str(path)})["image"]
        np.testing.assert_array_equal(np.asarray(loaded).transpose(2, 1, 0), self.PIXELS)
        label = LoadLabeld()({"label": save_turned(tmp_path / name, self.PIXELS[..., 0] % 3, orientation, **options)})
        np.testing.assert_array_equal(label["label"][0].T, self.PIXELS[..., 0] % 3)

    def test_that_is_damaged_is_passed_over(self, tmp_path):
        Image.fromarray(self.PIXELS).save(tmp_path / "image.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        assert read_stored(tmp_path / "image.jpg").orientation == 1


def save_turned(path: Path, pixels: np.ndarray, orientation: int, **options) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


class TestOtherThanFiles:
    """Nobody waits for them: each is one line that says what it is."""

    def test_a_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "image.png")
        with refused(r"image\.png: is neither a file nor a folder"):
            read_image(tmp_path / "image.png")

    def test_a_link_that_leads_nowhere(self, tmp_path):
        (tmp_path / "image.png").symlink_to(tmp_path / "moved.png")
        with refused(r"image\.png: is a link to .*moved\.png, where there is no file"):
            read_image(tmp_path / "image.png")

    @pytest.mark.parametrize("name", ["zero\0byte.png", "a" * 300 + ".png"])
    def test_an_impossible_name(self, tmp_path, name):
        with refused("cannot be opened"):
            read_image(tmp_path / name)

    def test_a_file_without_permission(self, tmp_path, monkeypatch):
        save(tmp_path / "image.png")

        def deny(path, mode):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", deny)
        with refused(r"image\.png: cannot be opened \(Permission denied\)"):
            read_image(tmp_path / "image.png")


def test_the_content_decides_and_not_the_suffix(tmp_path):
    save(tmp_path / "image.png")
    (tmp_path / "image.png").rename(tmp_path / "image.jpg")
    assert read_image(tmp_path / "image.jpg").format == "PNG"


def test_a_drawing_that_needs_a_program_is_not_read(tmp_path):
    (tmp_path / "image.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with refused(r"image\.png: cannot be read as an image"):
        read_image(tmp_path / "image.png")


def test_an_image_of_too_many_pixels_is_refused_before_memory_is_taken(tmp_path, monkeypatch):
    save(tmp_path / "image.png", (40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with refused(r"image\.png: has more than 1,400 pixels"):
        read_image(tmp_path / "image.png")


def test_an_image_of_half_as_many_is_read_without_a_warning(tmp_path):
    """Of 100 million pixels, for example, for which Pillow would warn of a bomb."""
    save(tmp_path / "image.png", (30, 40))
    code = (
        "import sys; from PIL import Image; from common.datasets.readers.pictures import read_picture; "
        "Image.MAX_IMAGE_PIXELS = 700; print(read_picture(sys.argv[1]).size)"
    )
    command = [sys.executable, "-W", "always::RuntimeWarning", "-c", code, str(tmp_path / "image.png")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(30, 40)\n", "")


def test_the_preview_in_a_photograph_is_no_page_and_a_second_frame_is_one(tmp_path):
    for name, pages in (("photo.mpo", 1), ("film.gif", 2), ("pages.tif", 2)):
        first, second = (Image.new("RGB", (8, 8), shade) for shade in ("red", "blue"))
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert read_stored(tmp_path / name).num_pages == pages


def test_cmyk_photographs_are_read_as_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "image.jpg", quality=95)
    red = LoadPictured("image", to_rgb)({"image": str(tmp_path / "image.jpg")})["image"]
    np.testing.assert_allclose(red[:, 0, 0], (255, 0, 0), atol=3)
