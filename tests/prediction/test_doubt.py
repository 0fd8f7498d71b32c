"""Doubt: more of it where the student is unsure, and where the image is unlike those of the training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.prediction.doubt import confidence, distance, doubt
from common.students.references import Reference


def probabilities(*structures: np.ndarray) -> np.ndarray:
    """Return ``(K, W, H)`` of the probabilities of each structure; the background has the rest."""
    return np.stack([1 - sum(structures), *structures])


def structure(certain: int, possible: int, side: int = 40) -> np.ndarray:
    """Return probabilities ``(side, side)`` with so many pixels that are certain, and others that are but possible."""
    flat = np.full(side * side, 0.01)
    flat[:certain], flat[certain : certain + possible] = 0.95, 0.5
    return flat.reshape(side, side)


class TestConfidence:
    def test_a_mask_without_any_doubt_has_1(self):
        assert confidence(probabilities(np.eye(8))) == 1
        assert confidence(probabilities(structure(300, 0))) == 1

    def test_it_is_the_dice_of_what_is_certain_with_what_is_possible(self):
        expected = 2 * 600 / (600 + 600 + 300)
        assert confidence(probabilities(structure(600, 300))) == pytest.approx(expected, abs=0.001)

    def test_structures_count_alike_whatever_their_size(self):
        large, small = structure(800, 0), np.roll(structure(40, 40), 800)
        of_small = confidence(probabilities(small))
        assert of_small == pytest.approx(2 / 3, abs=0.01)
        assert confidence(probabilities(large, small)) == pytest.approx((1 + of_small) / 2)

    def test_structures_of_which_nothing_is_possible_do_not_count(self):
        one = structure(400, 200)
        assert confidence(probabilities(one, np.zeros((40, 40)))) == pytest.approx(confidence(probabilities(one)))

    def test_a_mask_without_a_structure_is_sure_where_none_is_possible(self):
        assert confidence(probabilities(structure(0, 0))) == 1
        assert confidence(probabilities(structure(0, 400))) < 0.01

    def test_a_few_pixels_do_not_matter(self):
        assert confidence(probabilities(structure(0, 1, side=200))) > 0.95

    def test_softer_edges_of_the_same_mask_are_less_sure(self):
        distances = np.abs(np.arange(64) - 31.5)[:, None] + np.abs(np.arange(64) - 31.5)
        found = [confidence(probabilities(1 / (1 + np.exp((distances - 20) / soft)))) for soft in (0.1, 2, 5, 10)]
        assert found == sorted(found, reverse=True)
        assert len(set(found)) == 4

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(2, 5))
    def test_it_is_from_0_to_1(self, seed, classes):
        logits = np.random.default_rng(seed).normal(0, 5, (classes, 6, 5))
        powers = np.exp(logits)
        assert 0 <= confidence(powers / powers.sum(0)) <= 1


class TestDistance:
    FEATURES = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)

    def test_an_image_of_the_training_is_at_0(self):
        assert distance(self.FEATURES[3], Reference.of(self.FEATURES)) == 0

    def test_most_images_like_those_of_the_training_are_within_1(self):
        known, others = np.random.default_rng(1).normal(size=(2, 200, 8))
        found = np.array([distance(each, Reference.of(known)) for each in others])
        assert (found < 1).mean() == pytest.approx(0.9, abs=0.05)

    def test_images_unlike_them_are_further(self):
        foreign = np.random.default_rng(1).normal(size=(50, 8)) + 4
        assert min(distance(each, Reference.of(self.FEATURES)) for each in foreign) > 1

    def test_the_scale_of_the_features_does_not_matter(self):
        image = np.ones(8, np.float32)
        assert distance(image * 100, Reference.of(self.FEATURES * 100)) == pytest.approx(
            distance(image, Reference.of(self.FEATURES)), rel=1e-4
        )

    def test_it_is_unknown_without_reference_or_features(self):
        assert distance(self.FEATURES[0], None) is None
        assert distance(None, Reference.of(self.FEATURES)) is None


class TestDoubt:
    def test_it_is_0_of_a_sure_mask_of_an_image_like_those_of_the_training(self):
        assert doubt(1.0, 0.0) == 0
        assert doubt(1.0, 1.0) == 0

    def test_among_images_like_those_of_the_training_the_mask_alone_decides(self):
        assert doubt(0.7, 0.1) == doubt(0.7, 0.9) == doubt(0.7, None)

    def test_a_sure_mask_of_an_image_far_away_is_doubted_more_than_an_unsure_one(self):
        assert doubt(0.95, 2.0) > doubt(0.3, 0.8)

    @pytest.mark.parametrize("distance", [None, 0.0, 0.5, 1.0, 1.5, 10.0])
    def test_it_grows_as_confidence_sinks(self, distance):
        found = [doubt(sure, distance) for sure in (1.0, 0.9, 0.5, 0.0)]
        assert found == sorted(found)
        assert found[0] < found[-1] or distance == 10.0

    @pytest.mark.parametrize("sure", [0.1, 0.9, 1.0])
    def test_it_grows_as_images_are_further_away(self, sure):
        found = [doubt(sure, far) for far in (1.0, 1.5, 2.0, 5.0)]
        assert found == sorted(found)
        assert len(set(found)) == 4

    def test_without_a_distance_it_is_that_of_the_mask(self):
        assert doubt(0.7, None) == pytest.approx(0.3)

    @given(st.floats(0, 1), st.none() | st.floats(0, 1e6))
    def test_it_is_from_0_to_1(self, sure, far):
        assert 0 <= doubt(sure, far) <= 1
