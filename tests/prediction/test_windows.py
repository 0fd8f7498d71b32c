"""Windows lie where MONAI's lie, and their logits are joined as there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer

from common.prediction.windows import slide, window_starts


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """Convolutions that see where a window ends."""
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 4, 5, padding=2).eval()


def slid(image: np.ndarray, network: torch.nn.Module, size: int, overlap: float) -> tuple[np.ndarray, list[int]]:
    """Return the logits of an image, and the widths of the strips that they came in."""

    def read(left, top, right, bottom):
        return image[:, left:right, top:bottom]

    @torch.no_grad()
    def run(windows):
        assert windows.shape[1:] == (3, size, size)
        assert len(windows) <= 4
        return network(torch.from_numpy(windows)).numpy()

    logits = np.full((4, *image.shape[1:]), np.nan, np.float32)
    widths = []
    for first, strip in slide(read, run, *image.shape[1:], size, overlap):
        assert first == sum(widths)
        logits[:, first : first + strip.shape[1]] = strip
        widths.append(strip.shape[1])
    return logits, widths


@pytest.mark.parametrize(
    ("width", "height", "overlap"),
    [
        (113, 117, 0.5),
        (32, 32, 0.5),
        (20, 50, 0.5),
        (50, 21, 0.5),
        (17, 15, 0.5),
        (33, 100, 0.25),
        (64, 64, 0),
        (70, 40, 0.9),
    ],
)
@torch.no_grad()
def test_logits_are_those_of_the_sliding_window_inferer(network, width, height, overlap):
    image = np.random.default_rng(0).random((3, width, height), np.float32)
    inferer = SlidingWindowInferer(roi_size=(32, 32), sw_batch_size=4, overlap=overlap, mode="gaussian")
    expected = inferer(torch.from_numpy(image)[None], network)[0].numpy()
    np.testing.assert_allclose(slid(image, network, 32, overlap)[0], expected, atol=1e-6)


def test_no_more_than_a_window_is_held_at_a_time(network):
    image = np.zeros((3, 200, 40), np.float32)
    widths = slid(image, network, 32, 0.5)[1]
    assert max(widths) == 32
    assert sum(widths) == 200


@pytest.mark.parametrize(
    ("length", "size", "overlap", "starts"),
    [
        (32, 32, 0.5, [0]),
        (33, 32, 0.5, [0, 1]),
        (64, 32, 0.5, [0, 16, 32]),
        (70, 32, 0, [0, 32, 38]),
        (3, 2, 0.9, [0, 1]),
    ],
)
def test_windows_begin_where_the_last_one_ends_with_the_image(length, size, overlap, starts):
    assert window_starts(length, size, overlap) == starts
