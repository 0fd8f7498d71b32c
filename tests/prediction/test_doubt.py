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


class TestConfidence:
    def test_a_mask_without_any_doubt_has_1(self):
        assert confidence(probabilities(np.eye(8))) == 1

    def test_it_is_the_dice_to_be_expected(self):
        """Were the truth drawn by these probabilities, 2 |mask and truth| / (|mask| + |truth|) of the mean sizes."""
        structure = np.array([[0.9, 0.8], [0.3, 0.0]])
        assert confidence(probabilities(structure)) == pytest.approx(2 * (0.9 + 0.8) / (2 + 0.9 + 0.8 + 0.3))

    def test_structures_count_alike_whatever_their_size(self):
        large, small = np.zeros((8, 8)), np.zeros((8, 8))
        large[:4], small[7, 7] = 1, 0.6
        sure_of_small = confidence(probabilities(small))
        assert confidence(probabilities(large, small)) == pytest.approx((1 + sure_of_small) / 2)

    def test_structures_that_the_mask_does_not_have_do_not_count(self):
        one = np.zeros((8, 8))
        one[:4] = 0.9
        assert confidence(probabilities(one, np.zeros((8, 8)))) == pytest.approx(confidence(probabilities(one)))

    def test_an_empty_mask_is_the_surer_the_less_a_structure_is_likely_anywhere(self):
        nothing, perhaps = np.full((8, 8), 0.01), np.full((8, 8), 0.01)
        perhaps[2, 2] = 0.45
        assert confidence(probabilities(perhaps)) == pytest.approx(0.55)
        assert confidence(probabilities(nothing)) == pytest.approx(0.99)

    def test_softer_probabilities_of_the_same_mask_are_less_sure(self):
        structure = np.zeros((8, 8))
        structure[2:6, 2:6] = 1
        found = [confidence(probabilities(0.5 + (structure - 0.5) * sharp)) for sharp in (1, 0.9, 0.5, 0.1)]
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

    def test_images_like_those_of_the_training_are_near_1(self):
        known, others = self.FEATURES, np.random.default_rng(1).normal(size=(50, 8))
        found = [distance(each, Reference.of(known)) for each in others]
        assert np.median(found) == pytest.approx(1, abs=0.25)

    def test_images_unlike_them_are_further(self):
        foreign = np.random.default_rng(1).normal(size=(50, 8)) + 4
        assert min(distance(each, Reference.of(self.FEATURES)) for each in foreign) > 1.5

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
