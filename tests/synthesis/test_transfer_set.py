"""A transfer set is complete, readable, of one kind, and has no files from elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from integration import refused, write_transfer
from PIL import Image

from common.synthesis.transfer_set import read_transfer_set


@pytest.fixture
def folder(tmp_path) -> Path:
    write_transfer(tmp_path, count=4, size=32)
    return tmp_path / "transfer"


def save(path: Path, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> None:
    Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).convert(mode).save(path)


def test_the_images_are_listed_in_order(folder):
    expected = [{"image": str(folder / "images" / f"{index:06d}.png")} for index in range(4)]
    assert read_transfer_set(folder, in_channels=3) == expected


def test_the_first_so_many_are_taken(folder):
    assert read_transfer_set(folder, in_channels=3, num_transfer=2) == read_transfer_set(folder, in_channels=3)[:2]
    assert read_transfer_set(folder, in_channels=3, num_transfer=4) == read_transfer_set(folder, in_channels=3)
    first, second = read_transfer_set(folder, in_channels=3, num_transfer=2)
    assert read_transfer_set(folder, in_channels=3, num_transfer=2, length=5) == [first, second, first, second, first]
    with refused("transfer_length: must be at least the 4 images that are used, got 3"):
        read_transfer_set(folder, in_channels=3, length=3)


@pytest.mark.parametrize("number", [0, -1, 5])
def test_more_images_than_there_are_or_none_are_refused(number, folder):
    with refused(f"num_transfer must be between 1 and the 4 images of the transfer set in .*transfer, got {number}"):
        read_transfer_set(folder, in_channels=3, num_transfer=number)


@pytest.mark.parametrize(("mode", "channels"), [("L", "1 channel"), ("RGBA", "4 channels")])
def test_another_number_of_channels_is_named(mode, channels, folder):
    save(folder / "images/000001.png", mode=mode)
    with refused(rf"1 issue\n  - images/000001\.png: has {channels}, expected 3; run synthesize again"):
        read_transfer_set(folder, in_channels=3)


def test_the_set_of_a_diffusion_model_of_other_channels_is_refused(folder):
    with refused("4 issues", r"images/000000\.png: has 3 channels, expected 1"):
        read_transfer_set(folder, in_channels=1)


def test_images_of_another_size_than_most_are_named(folder):
    save(folder / "images/000000.png", size=(40, 32))
    with refused(r"1 issue\n  - images/000000\.png: is 40 x 32, most others are 32 x 32 pixels; run synthesize again"):
        read_transfer_set(folder, in_channels=3)


def test_all_issues_are_listed_at_once(folder):
    save(folder / "images/000001.png", size=(40, 32), mode="L")
    whole = (folder / "images/000002.png").read_bytes()
    (folder / "images/000002.png").write_bytes(whole[: len(whole) // 2])
    with refused("transfer set in .*transfer: 3 issues", "000001.png: has 1", "000001.png: is 40 x 32", "000002.png"):
        read_transfer_set(folder, in_channels=3)


def test_a_set_without_images_is_refused(folder):
    (folder / "datalist.json").write_text(json.dumps({"training": []}))
    with refused("not a complete transfer set: it lists no images; run synthesize again"):
        read_transfer_set(folder, in_channels=3)


def test_a_set_that_lacks_an_image_is_refused(folder):
    (folder / "images/000002.png").unlink()
    with refused(r"1 of its images are missing, first .*000002\.png; run synthesize again"):
        read_transfer_set(folder, in_channels=3)


def test_a_folder_that_is_no_transfer_set_is_refused(folder):
    shutil.rmtree(folder)
    with refused("there is no transfer set in .*: run synthesize first"):
        read_transfer_set(folder, in_channels=3)


@pytest.mark.parametrize("listing", ["{", "{}", '{"training": [3]}'])
def test_a_damaged_listing_is_refused(listing, folder):
    (folder / "datalist.json").write_text(listing)
    with refused(r"datalist\.json is damaged .*run synthesize again"):
        read_transfer_set(folder, in_channels=3)


@pytest.mark.parametrize("outside", ["../secret.png", "images/../../secret.png"])
def test_an_image_outside_the_folder_is_refused_by_name(outside, folder):
    save(folder.parent / "secret.png")
    (folder / "datalist.json").write_text(
        json.dumps({"training": [{"image": "images/000000.png"}, {"image": outside}]})
    )
    with refused(rf"1 issue\n  - {outside}: leads out of the folder"):
        read_transfer_set(folder, in_channels=3)


def test_an_absolute_path_is_refused_by_name(folder):
    absolute = folder / "images/000000.png"
    (folder / "datalist.json").write_text(json.dumps({"training": [{"image": str(absolute)}]}))
    with refused(rf"{absolute}: is an absolute path"):
        read_transfer_set(folder, in_channels=3)


def test_a_link_that_leads_outside_is_refused_by_name(folder):
    save(folder.parent / "secret.png")
    (folder / "images/000001.png").unlink()
    (folder / "images/000001.png").symlink_to(folder.parent / "secret.png")
    with refused(r"images/000001\.png: leads out of the folder"):
        read_transfer_set(folder, in_channels=3)


def test_a_folder_that_is_itself_a_link_is_read(folder):
    (folder.parent / "shared").symlink_to(folder)
    assert len(read_transfer_set(folder.parent / "shared", in_channels=3)) == 4
