"""How wide structures are, and what follows for what the networks see."""

from __future__ import annotations

import numpy as np
import pytest
from integration import refused

from common.creation.choices import batch_sizes, choose, usual_validation
from common.creation.options import Options
from common.creation.structures import Structures, measure, typical_width


def disc(side: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - side // 2
    return (rows**2 + columns**2 <= radius**2).astype(np.uint8)


def options(**given) -> Options:
    return Options(name="x", images="x", classes=("background", "a", "b"), **given)


def structures(**changes) -> Structures:
    usual = {"num_images": 10, "sizes": ((600, 500),) * 10, "grey": (), "num_cornered": {}, "num_lacking": 0}
    return Structures(
        **{
            **usual,
            "widths": {"a": 0.2, "b": 0.1},
            "shares": {"a": 0.1, "b": 0.1},
            "num_with": {"a": 10, "b": 10},
            **changes,
        }
    )


@pytest.mark.parametrize("width", [1, 2, 3, 5, 9, 20])
def test_a_strip_is_as_wide_as_it_is(width):
    mask = np.zeros((100, 400), bool)
    mask[40 : 40 + width] = True
    assert typical_width(mask) == pytest.approx(width, abs=1)


def test_a_disc_is_wider_than_its_radius():
    assert typical_width(disc(200, 60)) == pytest.approx(4 / 3 * 60, rel=0.05)


def test_an_empty_mask_has_no_width():
    with pytest.raises(ValueError, match="expected a mask with a structure"):
        typical_width(np.zeros((4, 4)))


def test_what_is_measured():
    colour, grey = np.zeros((200, 100, 3), np.uint8), np.zeros((200, 100, 1), np.uint8)
    colour[..., 0] = 9
    ids = np.zeros((200, 100), np.uint8)
    ids[50:70] = 1
    found = measure([(colour, ids), (grey, 0 * ids)], ["background", "a", "b"])
    assert found.size == (100, 200)
    assert (found.num_images, found.grey, found.num_lacking) == (2, (1,), 2)
    assert found.shares == {"a": 0.05, "b": 0}
    assert found.num_with == {"a": 1, "b": 0}
    assert found.widths == {"a": pytest.approx(20 / 20000**0.5, rel=0.1)}
    assert found.thinnest()[0] == "a"
    assert found.num_cornered == {"a": 0, "b": 0}


def test_a_structure_that_has_all_corners_may_be_background():
    image, ids = np.zeros((20, 10, 1), np.uint8), np.ones((20, 10), np.uint8)
    three_corners = ids.copy()
    three_corners[0, -1] = 0
    ids[5:8, 2:4] = 0
    assert measure([(image, ids), (image, three_corners)], ["background", "a"]).num_cornered == {"a": 1}


def test_compact_structures_are_seen_in_whole_images():
    choices = choose(options(), structures())
    assert (choices.sees, choices.size, choices.cpu_size) == ("images", 256, 128)


def test_one_thin_structure_makes_crops():
    choices = choose(options(), structures(widths={"a": 0.2, "b": 2 / 256}))
    assert (choices.sees, choices.size, choices.cpu_size) == ("crops", 256, 96)
    assert any("b is about 2.0 pixels wide in an image of 256: too thin" in row.why for row in choices.rows)


def test_a_person_may_know_better():
    assert choose(options(see="images"), structures(widths={"a": 2 / 256})).sees == "images"
    assert choose(options(see="crops"), structures()).sees == "crops"
    assert choose(options(size=320), structures()).size == 320


def test_small_images_are_not_cropped():
    assert choose(options(), structures(sizes=((200, 200),), widths={"a": 3 / 256})).sees == "images"
    with refused("--size 256: the smallest image has 200 pixels a side, and crops must fit into every image"):
        choose(options(see="crops", size=256), structures(sizes=((200, 200),)))


def test_small_images_are_not_blown_up():
    assert choose(options(), structures(sizes=((180, 150),))).size == 192
    assert choose(options(), structures(sizes=((20, 20),))).size == 128


@pytest.mark.parametrize(
    ("given", "orientations"),
    [
        ({}, 1),
        ({"left_right": "different", "upside_down": "different"}, 1),
        ({"left_right": "same"}, 2),
        ({"left_right": "same", "upside_down": "same"}, 8),
        ({"upside_down": "same"}, 1),
    ],
)
def test_images_are_moved_as_far_as_somebody_has_said(given, orientations):
    choices = choose(options(**given), structures())
    assert choices.mirrors == (given.get("left_right") == "same")
    assert choices.turns == (given.get("upside_down") == "same")
    assert choices.orientations == orientations
    silent = [row.option for row in choices.rows if row.option in ("--left_right same", "--upside_down same")]
    assert len(silent) == 2 - choices.mirrors - choices.turns


def test_batches_of_large_images_are_small():
    assert batch_sizes(256)["train"] == 8
    assert batch_sizes(128)["train"] == 8
    assert batch_sizes(512)["train"] == 2
    assert batch_sizes(2048)["finetune_teacher"] == 1


@pytest.mark.parametrize(("count", "validation"), [(3, 1), (12, 1), (60, 3), (200, 10), (9000, 20)])
def test_a_few_images_are_held_back(count, validation):
    assert usual_validation(count) == validation
