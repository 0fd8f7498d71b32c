"""The nearest image of a set, against what plain numpy finds."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from textures import textures

from common.synthesis import copy_search, correlation
from common.synthesis.copy_search import find_nearest
from common.synthesis.orientations import ORIENTATIONS, orient, orient_back

SIZE = 32  # so that nothing is reduced but for the search


def correlation_by_hand(template: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the normalised cross-correlation of ``(C, h, w)`` with each part of ``(C, H, W)``, by the definition."""
    height, width = template.shape[1:]
    rows, columns = image.shape[1] - height + 1, image.shape[2] - width + 1
    result = np.zeros((rows, columns))
    centred = template - template.mean((1, 2), keepdims=True)
    for row in range(rows):
        for column in range(columns):
            part = image[:, row : row + height, column : column + width]
            part = part - part.mean((1, 2), keepdims=True)
            result[row, column] = (centred * part).sum() / np.sqrt((centred**2).sum() * (part**2).sum())
    return result


def crop(image: torch.Tensor) -> torch.Tensor:
    size = image.shape[-1]
    margin = round(0.1 * size)
    return F.interpolate(image[None, :, margin:, : size - margin], size=(size, size), mode="bilinear", antialias=True)[
        0
    ]


def jpeg(image: torch.Tensor) -> torch.Tensor:
    file = io.BytesIO()
    Image.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=60)
    return torch.tensor(np.array(Image.open(file))).permute(2, 0, 1) / 255


def noise(image: torch.Tensor) -> torch.Tensor:
    return (image + 0.03 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


ALTERATIONS = {
    "flip": lambda image: image.flip(-1),
    "turn": lambda image: image.rot90(1, (-2, -1)),
    "mirrored turn": lambda image: image.transpose(-2, -1).flip(-1).rot90(1, (-2, -1)),
    "darker, less contrast": lambda image: 0.6 * image + 0.1,
    "noise": noise,
    "JPEG": jpeg,
    "blur": lambda image: torch.tensor(gaussian_filter(image.numpy(), (0, 1, 1))),
    "crop": crop,
    "all at once": lambda image: jpeg(noise(0.7 * crop(image.flip(-2).rot90(1, (-2, -1))) + 0.1)),
}


class TestNearest:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("size", [(SIZE, SIZE), (40, 35), (64, 96)], ids=["same size", "larger", "much larger"])
    def test_the_distance_is_that_of_the_best_correlation_by_hand(self, channels, size, monkeypatch):
        """At one scale and one orientation, with the search at full size."""
        monkeypatch.setattr(copy_search, "SCALES", (1.0,))
        monkeypatch.setattr(copy_search, "ORIENTATIONS", 1)
        monkeypatch.setattr(copy_search, "COARSE_SIDE", SIZE)
        image = textures(1, channels=channels)
        references = [textures(1, 96, channels, seed)[0, :, : size[0], : size[1]] for seed in (1, 2)]
        start, length = 3, 26  # the central 0.8 of 32 pixels
        template = image[0, :, start : start + length, start : start + length].numpy()
        by_hand = [correlation_by_hand(template, reference.numpy()) for reference in references]
        found = find_nearest(image, references)
        expected = int(by_hand[1].max() > by_hand[0].max())
        assert found.indices.tolist() == [expected]
        assert float(found.distances) == pytest.approx(1 - by_hand[expected].max(), abs=1e-4)
        place = np.unravel_index(by_hand[expected].argmax(), by_hand[expected].shape)
        assert found.boxes[0].tolist() == pytest.approx([place[0] - 3, place[1] - 3, SIZE, SIZE])

    def test_few_positions_and_many_give_the_same(self, monkeypatch):
        images, references = textures(3), list(textures(4, 48, seed=1))
        by_fourier_transform = find_nearest(images, references)
        monkeypatch.setattr(correlation, "_FEW_POSITIONS", 10**6)
        by_convolution = find_nearest(images, references)
        torch.testing.assert_close(by_fourier_transform.distances, by_convolution.distances, atol=1e-5, rtol=0)
        assert torch.equal(by_fourier_transform.boxes, by_convolution.boxes)

    def test_memory_at_a_time_changes_nothing(self, monkeypatch):
        images, references = textures(5), list(textures(4, seed=1))
        whole = find_nearest(images, references)
        monkeypatch.setattr(correlation, "_CHUNK", 200)
        for together, apart in zip(whole, find_nearest(images, references), strict=True):
            torch.testing.assert_close(together, apart)

    @pytest.mark.parametrize("name", ALTERATIONS)
    def test_an_altered_copy_is_nearer_to_its_original_than_any_new_image(self, name):
        originals, new = textures(8, 64), textures(8, 64, seed=1)
        altered = torch.stack([ALTERATIONS[name](image) for image in originals])
        found = find_nearest(altered, list(originals))
        assert found.indices.tolist() == list(range(8))
        assert found.distances.max() < 0.45 * find_nearest(new, list(originals)).distances.min()

    def test_a_patch_is_found_where_it_was_cut_out(self):
        references = list(textures(3, 160))
        patches = torch.stack([references[1][:, 30:94, 70:134], references[2][:, 96:, :64].flip(-2)])
        found = find_nearest(patches, references)
        assert found.indices.tolist() == [1, 2]
        assert found.distances.max() < 0.02
        np.testing.assert_allclose(found.boxes, [[30, 70, 64, 64], [96, 0, 64, 64]], atol=2)

    def test_the_box_and_the_orientation_lead_to_what_the_image_looks_like(self):
        (reference,) = textures(1, 96)
        patch = reference[:, 10:74, 20:84]
        for orientation in range(ORIENTATIONS):
            image = orient(patch, orientation)
            found = find_nearest(image[None], [reference])
            top, left, height, width = found.boxes[0].round().int().tolist()
            part = orient_back(reference[:, top : top + height, left : left + width], int(found.orientations))
            assert np.corrcoef(part.flatten(), image.flatten())[0, 1] > 0.95

    def test_references_that_do_not_count_are_passed_over(self):
        images = textures(3)
        allowed = ~torch.eye(3, dtype=torch.bool)
        allowed[2] = False
        found = find_nearest(images, list(images), allowed=allowed)
        assert all(found.indices[index] not in (index, -1) for index in (0, 1))
        assert found.distances[:2].min() > 0.1
        assert found.indices[2] == -1

    def test_the_rival_is_the_nearest_of_another_group(self):
        first, second, third = textures(3)
        references = [first, 0.9 * first + 0.1 * second, second, third]
        found = find_nearest(first[None], references, ["A", "A", "B", "C"])
        apart = find_nearest(first[None], references[2:])
        assert found.distances.tolist() == pytest.approx([0], abs=1e-5)
        assert found.rivals.tolist() == pytest.approx(apart.distances.tolist(), abs=1e-5)
        assert float(find_nearest(first[None], references).rivals) < float(found.rivals)
        assert find_nearest(first[None], references[:2], ["A", "A"]).rivals.tolist() == [1]

    def test_an_image_without_contrast_resembles_nothing(self):
        images = torch.cat([torch.full((1, 3, SIZE, SIZE), 0.3), textures(1)])
        assert find_nearest(images, list(images)).distances.tolist() == pytest.approx([1, 0], abs=1e-5)

    @pytest.mark.parametrize(
        ("images", "references", "message"),
        [
            (torch.zeros(1, 3, 8, 8), [], "references must not be empty"),
            (torch.zeros(1, 3, 8, 9), [torch.zeros(3, 9, 9)], "images must be square, got 8 x 9"),
            (torch.zeros(1, 3, 8, 8), [torch.zeros(1, 8, 8)], "references must have 3 channels"),
            (torch.zeros(1, 3, 8, 8), [torch.zeros(3, 8, 7)], "8 pixels a side or more"),
        ],
    )
    def test_what_cannot_be_compared_is_refused(self, images, references, message):
        with pytest.raises(ValueError, match=message):
            find_nearest(images, references)
