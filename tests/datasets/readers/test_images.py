"""Transfer sets: whole, readable, and of one kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from integration import refused, write_transfer
from PIL import Image

from common.datasets.readers.images import ImageFiles, LoadPictured, to_rgb, unlabelled_images
from common.synthesis.transfer_set import transfer_set


@pytest.fixture
def folder(tmp_path) -> Path:
    write_transfer(tmp_path, count=4, size=32)
    return tmp_path / "transfer"


def save(path: Path, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> None:
    Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).convert(mode).save(path)


def test_the_images_are_listed_in_order(folder):
    expected = [{"image": str(folder / "images" / f"{index:06d}.png")} for index in range(4)]
    assert transfer_set(folder, in_channels=3) == expected


def test_the_first_so_many_are_taken(folder):
    assert transfer_set(folder, in_channels=3, num_transfer=2) == transfer_set(folder, in_channels=3)[:2]
    assert transfer_set(folder, in_channels=3, num_transfer=4) == transfer_set(folder, in_channels=3)
    first, second = transfer_set(folder, in_channels=3, num_transfer=2)
    assert transfer_set(folder, in_channels=3, num_transfer=2, length=5) == [first, second, first, second, first]
    with refused("transfer_length: must be at least the 4 images that are used, got 3"):
        transfer_set(folder, in_channels=3, length=3)


@pytest.mark.parametrize("number", [0, -1, 5])
def test_more_images_than_there_are_or_none_are_refused(number, folder):
    with refused(f"num_transfer must be between 1 and the 4 images of the transfer set in .*transfer, got {number}"):
        transfer_set(folder, in_channels=3, num_transfer=number)


@pytest.mark.parametrize(("mode", "channels"), [("L", "1 channel"), ("RGBA", "4 channels")])
def test_another_number_of_channels_is_named(mode, channels, folder):
    save(folder / "images/000001.png", mode=mode)
    with refused(rf"1 fault\n  - images/000001\.png: has {channels}, expected 3; run synthesize again"):
        transfer_set(folder, in_channels=3)


def test_the_set_of_a_diffusion_model_of_other_channels_is_refused(folder):
    with refused("4 faults", r"images/000000\.png: has 3 channels, expected 1"):
        transfer_set(folder, in_channels=1)


def test_images_of_another_size_than_most_are_named(folder):
    save(folder / "images/000000.png", size=(40, 32))
    with refused(r"1 fault\n  - images/000000\.png: is 40 x 32, most others are 32 x 32 pixels; run synthesize again"):
        transfer_set(folder, in_channels=3)


def test_all_faults_are_listed_at_once(folder):
    save(folder / "images/000001.png", size=(40, 32), mode="L")
    whole = (folder / "images/000002.png").read_bytes()
    (folder / "images/000002.png").write_bytes(whole[: len(whole) // 2])
    with refused("transfer set in .*transfer: 3 faults", "000001.png: has 1", "000001.png: is 40 x 32", "000002.png"):
        transfer_set(folder, in_channels=3)


def test_a_set_without_images_is_refused(folder):
    (folder / "datalist.json").write_text(json.dumps({"training": []}))
    with refused("no complete transfer set: it lists no images; run synthesize again"):
        transfer_set(folder, in_channels=3)


def test_a_set_that_lacks_an_image_is_refused(folder):
    (folder / "images/000002.png").unlink()
    with refused(r"1 of its images are missing, first .*000002\.png; run synthesize again"):
        transfer_set(folder, in_channels=3)


def test_a_folder_that_is_no_transfer_set_is_refused(folder):
    shutil.rmtree(folder)
    with refused("there is no transfer set in .*: run synthesize first"):
        transfer_set(folder, in_channels=3)


@pytest.mark.parametrize("listing", ["{", "{}", '{"training": [3]}'])
def test_a_damaged_listing_is_refused(listing, folder):
    (folder / "datalist.json").write_text(listing)
    with refused(r"datalist\.json is damaged .*run synthesize again"):
        transfer_set(folder, in_channels=3)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_a_channel_are_refused_as_pillow_would_make_white_of_them(dtype, tmp_path):
    path = tmp_path / "deep.tif"
    Image.fromarray(np.full((8, 8), 1000, dtype)).save(path)
    with refused(r"deep\.tif: has more than 8 bits a channel"):
        LoadPictured("image", to_rgb)({"image": str(path)})
    save(tmp_path / "plain.png")
    assert list(ImageFiles(tmp_path).unreadable) == [path]


def test_images_that_viewers_turn_are_named(tmp_path, caplog):
    exif = Image.Exif()
    for name, orientation in {"upright": 1, "turned": 6}.items():
        exif[0x0112] = orientation
        Image.new("RGB", (40, 20)).save(tmp_path / f"{name}.jpg", exif=exif)
    Image.new("RGB", (40, 20)).save(tmp_path / "damaged.png", exif=b"Exif\0\0no tags")
    files = ImageFiles(tmp_path)
    files.report()
    [record] = caplog.records
    assert record.getMessage().startswith("1 images say that they are to be shown turned (EXIF), first turned.jpg")
    assert len(files.readable) == 3


def test_images_without_labels_are_all_readable_or_named(tmp_path):
    assert unlabelled_images(None) == []
    save(tmp_path / "plain.png")
    assert unlabelled_images(tmp_path) == [{"image": str(tmp_path / "plain.png")}]
    (tmp_path / "half.png").write_bytes((tmp_path / "plain.png").read_bytes()[:40])
    (tmp_path / "empty.png").touch()
    with refused("unlabelled images in .*: 2 faults\n  - .*empty.png: the file is empty.*\n  - .*half.png: cannot be"):
        unlabelled_images(tmp_path)
    with refused("unlabelled_dir: .*missing does not exist"):
        unlabelled_images(tmp_path / "missing")
