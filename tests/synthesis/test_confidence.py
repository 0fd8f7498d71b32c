"""How sure a teacher is of an image."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.synthesis.confidence import measure_confidence


def test_it_is_the_dice_of_probabilities_and_prediction_over_the_classes_found():
    probabilities = torch.tensor([[0.1, 0.7, 0.2], [0.3, 0.6, 0.1], [0.9, 0.1, 0.0], [0.2, 0.2, 0.6]])
    logits = probabilities.clamp(min=1e-12).log().T.view(1, 3, 2, 2)
    first = 2 * (0.7 + 0.6) / (0.7 + 0.6 + 0.1 + 0.2 + 2)
    second = 2 * 0.6 / (0.2 + 0.1 + 0.6 + 1)
    confidence, share = measure_confidence(logits)
    assert confidence.tolist() == pytest.approx([(first + second) / 2], abs=1e-6)
    assert share.tolist() == pytest.approx([0.75])


def test_more_background_changes_nothing_and_doubt_much():
    structure = torch.full((1, 1, 8, 8), -9.0)
    structure[..., 2:5, 2:5] = 9.0
    doubtful = structure / 9
    wide = nn.functional.pad(structure, [24] * 4, value=-20.0)
    values = [
        float(measure_confidence(torch.cat([torch.zeros_like(each), each], dim=1))[0])
        for each in (structure, wide, doubtful)
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-3)
    assert values[0] > 0.99
    assert values[2] < 0.6


def test_an_empty_segmentation_has_none():
    logits = torch.zeros(2, 3, 4, 4)
    logits[:, 0] = 5
    assert [each.tolist() for each in measure_confidence(logits)] == [[0, 0], [0, 0]]
