"""Labels in pictures: class ids as they were drawn, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from integration import refused
from PIL import Image

from common.datasets.readers.label_pictures import label_values, read_label_picture
from common.datasets.readers.labels import LoadLabeld

INSIDE = np.zeros((12, 16), bool)
INSIDE[3:8, 5:11] = True
IDS = INSIDE.astype(np.uint8)
IDS[8:11, 2:9] = 2


def save(path: Path, *channels: np.ndarray, **options) -> Path:
    Image.fromarray(np.dstack(channels) if len(channels) > 1 else channels[0]).save(path, **options)
    return path


def load(path: Path, num_classes: int = 3) -> np.ndarray:
    return np.asarray(LoadLabeld(num_classes=num_classes)({"label": str(path)})["label"][0].T)


def palette_of(ids: np.ndarray, colours: list[int]) -> Image.Image:
    picture = Image.fromarray(ids).convert("P")
    picture.putpalette(colours)
    return picture


class TestHiddenPixels:
    WHITE = np.full(INSIDE.shape, 255, np.uint8)

    def refuse(self, path):
        with refused(rf"{path.name}: has pixels that are not opaque; expected a label without transparency"):
            load(path)

    @pytest.mark.parametrize("channels", [1, 3], ids=["LA", "RGBA"])
    @pytest.mark.parametrize("hidden", [0, 254])
    def test_of_an_alpha_channel_are_refused(self, tmp_path, channels, hidden):
        alpha = np.where(INSIDE, 255, hidden).astype(np.uint8)
        self.refuse(save(tmp_path / "mask.png", *[self.WHITE] * channels, alpha))

    def test_of_a_palette_are_refused(self, tmp_path):
        for transparency in (0, b"\x00\xff"):
            picture = palette_of(INSIDE.astype(np.uint8), [255] * 6)
            picture.save(tmp_path / "mask.png", transparency=transparency)
            self.refuse(tmp_path / "mask.png")
        palette_of(INSIDE.astype(np.uint8), [0, 0, 0, 255, 0, 0]).save(tmp_path / "mask.gif", transparency=0)
        self.refuse(tmp_path / "mask.gif")

    def test_of_one_transparent_shade_are_refused(self, tmp_path):
        self.refuse(save(tmp_path / "mask.png", IDS, transparency=0))
        self.refuse(save(tmp_path / "mask.png", IDS.astype(np.uint16), transparency=0))
        self.refuse(save(tmp_path / "mask.png", *[IDS] * 3, transparency=(0, 0, 0)))

    def test_that_could_be_there_and_are_not_do_no_harm(self, tmp_path):
        white = np.where(INSIDE, self.WHITE, 0)
        for channels in (1, 3):
            path = save(tmp_path / "mask.png", *[white] * channels, self.WHITE)
            np.testing.assert_array_equal(load(path, 2), INSIDE)
        for options in ({"transparency": 9}, {"transparency": b"\xff\xff\xff"}):
            palette_of(IDS, [0, 0, 0, 9, 9, 9, 8, 8, 8]).save(tmp_path / "mask.png", **options)
            np.testing.assert_array_equal(load(tmp_path / "mask.png"), IDS)
        np.testing.assert_array_equal(load(save(tmp_path / "mask.png", IDS.astype(np.uint16), transparency=9)), IDS)


class TestIds:
    @pytest.mark.parametrize("name", ["ids.png", "ids.gif", "ids.tif", "ids.bmp"])
    def test_of_a_palette_are_its_indices(self, tmp_path, name):
        palette_of(IDS, [0, 0, 0, 128, 0, 0, 0, 128, 0]).save(tmp_path / name)
        np.testing.assert_array_equal(load(tmp_path / name), IDS)

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32])
    def test_of_16_bits_and_more(self, tmp_path, dtype):
        np.testing.assert_array_equal(load(save(tmp_path / "ids.tif", IDS.astype(dtype))), IDS)

    def test_of_one_bit(self, tmp_path):
        Image.fromarray(INSIDE).save(tmp_path / "mask.png")
        assert read_label_picture(tmp_path / "mask.png").image.mode == "1"
        np.testing.assert_array_equal(load(tmp_path / "mask.png", 2), INSIDE)

    def test_are_not_made_of_smooth_borders(self, tmp_path):
        smooth = INSIDE * np.uint8(255)
        smooth[2, 5:11] = 128
        with refused(r"mask\.png: has pixels of class 128, 255, which the model does not have"):
            load(save(tmp_path / "mask.png", smooth), 2)

    @pytest.mark.parametrize("colour", [(255, 0, 0), (1, 0, 0), (0, 0, 9)])
    def test_are_not_made_of_dark_colours(self, tmp_path, colour):
        path = save(tmp_path / "mask.png", *[INSIDE * np.uint8(value) for value in colour])
        with refused(rf"mask\.png: has the colour \({', '.join(map(str, colour))}\), which is no class"):
            load(path)

    def test_of_white_may_be_a_bright_colour(self, tmp_path):
        white = INSIDE * np.uint8(255)
        path = save(tmp_path / "mask.png", white, white, 0 * white)
        assert label_values(Image.open(path), path).max() > 128
        np.testing.assert_array_equal(load(path, 2), INSIDE)


class TestFormats:
    @pytest.mark.parametrize("name", ["ids.jpg", "ids.webp", "ids.jp2"])
    def test_that_alter_values_are_refused_for_ids(self, tmp_path, name):
        path = save(tmp_path / name, 40 * IDS)
        with refused(rf"{name}: is a label stored as .*, which alters class ids; save the original as PNG"):
            load(path, 81)

    def test_that_alter_values_are_taken_for_black_and_white_without_a_shade_between(self, tmp_path):
        blocks = np.kron(INSIDE[::4, ::4], np.ones((16, 16), bool))
        path = save(tmp_path / "mask.jpg", blocks * np.uint8(255), quality=100)
        np.testing.assert_array_equal(load(path, 2), blocks)

    @pytest.mark.parametrize("name", ["pages.tif", "pages.gif"])
    def test_of_several_pages_are_refused(self, tmp_path, name):
        first, second = Image.fromarray(IDS), Image.fromarray(IDS[::-1])
        first.save(tmp_path / name, save_all=True, append_images=[second])
        with refused(rf"{name}: holds 2 images; expected a label of one"):
            load(tmp_path / name)
