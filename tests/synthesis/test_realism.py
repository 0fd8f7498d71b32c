"""Whether samples lie among the training images."""

from __future__ import annotations

import pytest
import torch

from common.synthesis.observer import Observation
from common.synthesis.realism import CommonSpace, RealImages, measure_realism


def points(count: int, seed: int = 0, size: int = 4) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def real_images(count: int = 60) -> RealImages:
    return RealImages(points(count), [str(index) for index in range(count)])


class TestStrangeness:
    def test_it_is_the_distance_in_units_of_that_between_training_images(self):
        real = RealImages(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), ["a", "b", "c", "d"])
        assert real.usual == pytest.approx(1)
        assert real.strangeness(torch.tensor([[1.0], [3.5], [7.0]])) == pytest.approx([0, 0.5, 4])

    def test_images_of_one_patient_do_not_measure_each_other(self):
        features = torch.tensor([[0.0], [0.1], [4.0], [4.1]])
        assert RealImages(features, ["a", "a", "b", "b"]).usual == pytest.approx(4.0, abs=0.1)
        assert RealImages(features, ["a"] * 4).usual == pytest.approx(0.1)

    def test_new_images_of_the_kind_are_usual_and_others_are_not(self):
        real = real_images()
        usual = torch.tensor(real.strangeness(points(1000, seed=1)))
        assert 0.9 < float((usual <= 1).float().mean()) < 1
        assert float((usual > 1.5).float().mean()) < 0.03
        assert min(real.strangeness(points(100, seed=2) + 10)) > 1.5

    @pytest.mark.parametrize("features", [torch.zeros(1, 4), torch.full((5, 4), 0.3)], ids=["one", "all alike"])
    def test_nothing_is_known_of_it_without_training_images_that_differ(self, features):
        real = RealImages(features, [str(index) for index in range(len(features))])
        assert real.strangeness(points(2)) == [None, None]


class TestMeasures:
    def test_those_of_known_points(self):
        """Balls of training images at 0, 1, 2, 3 and 10 reach to their third nearest: 3, 2, 2, 3 and 9."""
        real = RealImages(torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0]]), list("abcde"))
        assert real.radii.tolist() == pytest.approx([3, 2, 2, 3, 9])
        samples = torch.tensor([[2.5], [2.6], [2.7], [2.8], [40.0]])
        found = real.measure(samples)
        assert found["precision"] == pytest.approx(4 / 5)
        assert found["density"] == pytest.approx((5 + 5 + 5 + 5) / 5 / 3)
        assert found["coverage"] == 1
        # Balls of the first four samples reach 0.3 at most, which is as far as 3; that of the last from 2.6 on.
        assert found["recall"] == pytest.approx(2 / 5)

    def test_noise_has_a_precision_of_zero_and_new_images_that_of_the_training_images(self):
        real = real_images(200)
        far = real.measure(points(200, seed=1) * 8 + 30)
        assert (far["precision"], far["density"], far["coverage"]) == (0, 0, 0)
        found, mark = real.measure(points(200, seed=2)), real.mark()
        assert found["precision"] == pytest.approx(mark["precision"], abs=0.08)
        assert found["recall"] == pytest.approx(mark["recall"], abs=0.08)
        assert found["density"] == pytest.approx(mark["density"], abs=0.2)
        assert found["coverage"] == pytest.approx(mark["coverage"], abs=0.08)

    def test_samples_that_are_all_alike_have_no_recall(self):
        found = real_images().measure(points(1, seed=1) * 0.1 + torch.zeros(30, 1) + 1e-4 * points(30, seed=3))
        assert found["precision"] == 1
        assert found["recall"] < 0.05
        assert found["coverage"] < 0.5

    def test_more_samples_do_not_raise_the_recall(self):
        real = real_images(40)
        few, many = (real.measure(points(count, seed=1))["recall"] for count in (40, 2000))
        assert many == pytest.approx(few, abs=0.2)

    @pytest.mark.parametrize(("known", "drawn"), [(3, 10), (10, 3), (10, 0)])
    def test_there_are_none_of_too_few_images(self, known, drawn):
        assert real_images(known).measure(points(drawn, seed=1)) is None

    def test_all_those_kept_and_the_training_images_are_measured(self):
        real = real_images()
        features = torch.cat([points(30, seed=1), points(30, seed=2) + 20])
        measured = measure_realism(real, features, [True] * 30 + [False] * 30)
        assert measured["kept"]["precision"] > 0.85
        assert measured["all_samples"]["precision"] == pytest.approx(measured["kept"]["precision"] / 2)
        assert measured["training_images"] == real.mark()


class TestCommonSpace:
    """Images of the right things in the wrong grain."""

    KNOWN = Observation(points(40), 0.01 * points(40, seed=1), None, None)

    def strangeness(self, features: torch.Tensor, spectra: torch.Tensor) -> list[float]:
        groups = [str(index) for index in range(40)]
        space = CommonSpace(self.KNOWN, groups)
        real = RealImages(space.place(self.KNOWN), groups)
        return real.strangeness(space.place(Observation(features, spectra, None, None)))

    def test_what_is_unusual_in_either_is_strange_whatever_its_scale(self):
        like, other = points(4, seed=2), 8 + points(4, seed=3)
        assert max(self.strangeness(like, 0.01 * like)) < 1.5
        assert min(self.strangeness(other, 0.01 * like)) > 1.5
        assert min(self.strangeness(like, 0.01 * other)) > 1.5

    def test_where_all_are_alike_in_one_the_other_decides(self):
        alike = Observation(points(40), torch.zeros(40, 3), None, None)
        groups = [str(index) for index in range(40)]
        space = CommonSpace(alike, groups)
        real = RealImages(space.place(alike), groups)
        assert max(real.strangeness(space.place(Observation(points(4, seed=2), torch.zeros(4, 3), None, None)))) < 1.5
