from __future__ import annotations

import torch

from common.synthesis.orientations import ORIENTATIONS, orient, orient_back


def test_orientations_are_the_eight_of_a_square_and_can_be_undone():
    image = torch.arange(9.0).view(1, 3, 3)
    turned = [orient(image, index) for index in range(ORIENTATIONS)]
    assert len({tuple(each.flatten().tolist()) for each in turned}) == 8
    assert all(torch.equal(orient_back(each, index), image) for index, each in enumerate(turned))
