"""The Vendi score, against what plain numpy finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from textures import textures

from common.synthesis.diversity import vendi_score


def test_equal_images_count_as_one():
    assert vendi_score(textures(1).repeat(5, 1, 1, 1)) == pytest.approx(1, abs=1e-4)
    assert vendi_score(torch.zeros(4, 1, 8, 8)) == pytest.approx(1, abs=1e-6)


def test_images_that_have_nothing_in_common_count_one_by_one():
    waves = torch.stack([torch.sin(torch.arange(16) * 2 * torch.pi * k / 16) for k in range(1, 6)])
    assert vendi_score(waves[:, None, None].expand(-1, -1, 16, -1)) == pytest.approx(5, abs=1e-4)


@pytest.mark.parametrize("count", [5, 40], ids=["fewer images than pixels", "more"])
def test_it_is_what_numpy_finds(count):
    images = textures(count, size=5, channels=1)
    vectors = images.flatten(1).double().numpy()
    similarity_matrix = np.corrcoef(vectors)
    eigenvalues = np.linalg.eigvals(similarity_matrix / count).real
    positive = eigenvalues[eigenvalues > 1e-12]
    expected = np.exp(-(positive * np.log(positive)).sum())
    assert vendi_score(images) == pytest.approx(expected, rel=1e-5)


def test_it_grows_with_images_of_a_new_kind():
    few = textures(3)
    assert vendi_score(few.repeat(2, 1, 1, 1)) == pytest.approx(vendi_score(few), rel=1e-4)
    assert vendi_score(textures(6)) > vendi_score(few) + 1


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="must not be empty"):
        vendi_score(torch.zeros(0, 3, 8, 8))
