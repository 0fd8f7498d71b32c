"""Procedural scenes: the same for the same seed, with objects that can be seen and exact labels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_fill_holes, distance_transform_edt
from torch.utils.data import DataLoader

from common.datasets.phantoms.scenes import KINDS, MAX_OBJECTS, SceneDataset, draw_contour, draw_scene, draw_tree

SIZE = 64


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [draw_scene(np.random.default_rng(seed), SIZE) for seed in range(60)]


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_same_seed_draws_the_same_scene_and_another_seed_another():
    dataset = SceneDataset(5, SIZE, seed=3)
    assert same(dataset[2], SceneDataset(5, SIZE, seed=3)[2])
    assert same(dataset[2], dataset[2])
    assert not same(dataset[2], dataset[3])
    assert not same(dataset[2], SceneDataset(5, SIZE, seed=4)[2])


def test_scenes_are_images_with_the_number_of_the_object_at_each_pixel(scenes):
    for image, instances, kinds in scenes:
        assert (image.shape, image.dtype) == ((3, SIZE, SIZE), np.uint8)
        assert (instances.shape, instances.dtype) == ((SIZE, SIZE), np.uint8)
        assert instances.max() < len(kinds)
        assert kinds[0] == 0
        assert len(kinds) >= 2
        assert set(kinds[1:]) <= set(range(1, len(KINDS)))


def test_all_kinds_of_object_are_there_to_be_seen(scenes):
    seen = [set(kinds[np.unique(instances)]) for _, instances, kinds in scenes]
    for kind in range(len(KINDS)):
        assert sum(kind in found for found in seen) >= 8, KINDS[kind]
    assert sum(bool(instances.any()) for _, instances, _ in scenes) >= 55


def test_objects_differ_from_what_is_around_them(scenes):
    contrasts = []
    for image, instances, _ in scenes:
        for number in np.unique(instances[instances > 0]):
            inside = instances == number
            around = binary_dilation(inside, iterations=3) & ~inside & (instances == 0)
            if inside.sum() >= 30 and around.sum() >= 30:
                difference = image[:, inside].mean(1) - image[:, around].mean(1)
                contrasts.append(np.linalg.norm(difference))
    assert len(contrasts) > 60
    assert np.median(contrasts) > 15
    # Numbers that belong to another scene are borders of nothing.
    shuffled = []
    for (image, _, _), (_, instances, _) in pairwise(scenes):
        inside = instances > 0
        around = binary_dilation(inside, iterations=3) & ~inside
        if inside.any() and around.any():
            shuffled.append(np.linalg.norm(image[:, inside].mean(1) - image[:, around].mean(1)))
    assert np.median(contrasts) > 1.5 * np.median(shuffled)


def test_outline_is_the_border_of_the_filled_contour():
    reach = 0.04 * SIZE + 2  # half of the widest line
    inner = np.zeros((SIZE, SIZE), bool)
    margin = int(reach) + 1
    inner[margin:-margin, margin:-margin] = True  # a border beyond the canvas cannot be seen
    checked = 0
    for seed in range(20):
        filled = draw_contour(np.random.default_rng(seed), SIZE)
        outline = draw_contour(np.random.default_rng(seed), SIZE, outline=True)
        border = filled & distance_transform_edt(filled).__le__(1)
        if (outline & inner).any():
            assert distance_transform_edt(~border)[outline & inner].max() <= reach
            checked += 1
    assert checked >= 10


def test_contours_have_no_holes():
    for seed in range(10):
        filled = draw_contour(np.random.default_rng(seed), SIZE)
        assert np.array_equal(binary_fill_holes(filled), filled)


def test_trees_are_thinner_than_contours():
    def thickness(draw):
        drawn = [draw(np.random.default_rng(seed), SIZE) for seed in range(30)]
        return np.median([distance_transform_edt(mask).max() for mask in drawn if mask.any()])

    assert thickness(draw_tree) < 0.5 * thickness(draw_contour)


def test_scenes_of_a_batch_fit_together():
    images, instances, kinds = next(iter(DataLoader(SceneDataset(4, 32), batch_size=4)))
    assert images.shape == (4, 3, 32, 32)
    assert instances.shape == (4, 32, 32)
    assert kinds.shape == (4, MAX_OBJECTS + 1)
    assert len(SceneDataset(4, 32)) == 4
    assert np.array_equal(images[1], draw_scene(np.random.default_rng((0, 1)), 32)[0])
