"""TinyViT and SAM's decoder against the published code, and LiteMedSAM's weights on real images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from published_tiny_sam import PH2, WEIGHTS, PublishedSam, needs_ph2, needs_published, needs_weights, published
from tiny_sam_format import make_checkpoint, tiny_sam_shapes
from torch import Tensor
from torch.testing import assert_close

from common.datasets.ph2 import PH2Dataset
from common.teachers.box_prompts import masks_in_boxes
from common.teachers.tiny_sam_weights import load_tiny_sam

__all__ = ["published"]  # a fixture
EXACT = {"rtol": 0, "atol": 1e-4}


def boxes_within(size: tuple[int, int]) -> Tensor:
    height, width = size
    return torch.tensor([[3, 5, width - 9, height - 12], [width // 2, 0, width - 1, height // 2]], dtype=torch.float)


@needs_published
@pytest.mark.parametrize("patch_kernel", [1, 3], ids=["LiteMedSAM", "MobileSAM"])
@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
@torch.no_grad()
def test_embeddings_and_box_prompted_masks_are_those_of_the_published_code(published, tmp_path, patch_kernel, size):
    state = make_checkpoint(patch_kernel)
    torch.save(state, tmp_path / "weights.pth")
    original = PublishedSam(published, patch_kernel, size)
    original.load_state_dict(state)
    original.eval()
    sam = load_tiny_sam(tmp_path / "weights.pth")
    images, boxes = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)), boxes_within(size)
    embeddings = sam.vision_encoder(images)
    assert embeddings.std() > 0.1
    assert_close(embeddings, original.encode(images), **EXACT)
    assert_close(masks_in_boxes(sam, embeddings, boxes, size), original.masks(embeddings, boxes), **EXACT)


@needs_published
def test_names_and_shapes_are_those_of_the_published_code(published):
    original = PublishedSam(published, 1, (256, 256)).state_dict()
    assert {name: tuple(value.shape) for name, value in original.items()} == tiny_sam_shapes(1)


@pytest.fixture(scope="module")
def lesions() -> tuple[Tensor, Tensor]:
    """Images of PH2 ``(4, 3, 256, 256)`` in [0, 1] from all over the dataset, and their labels ``(4, 256, 256)``."""
    entries = PH2Dataset(root=PH2).entries("training")[5::12][:4]
    images, labels = [], []
    for entry in entries:
        with Image.open(entry["image"]) as image, Image.open(entry["label"]) as label:
            images.append(np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)) / 255)
            labels.append(np.asarray(label.convert("L").resize((256, 256), Image.Resampling.NEAREST)) > 0)
    return torch.tensor(np.stack(images)).permute(0, 3, 1, 2).float(), torch.tensor(np.stack(labels))


@needs_ph2
@needs_weights
@torch.no_grad()
def test_lite_medsam_finds_lesions_in_boxes_around_them(lesions):
    images, labels = lesions
    rows, columns = labels.any(dim=2), labels.any(dim=1)
    ends = [[x.int().argmax(1), x.shape[1] - 1 - x.flip(1).int().argmax(1)] for x in (columns, rows)]
    boxes = torch.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], dim=1).float()
    sam = load_tiny_sam(WEIGHTS)
    masks = masks_in_boxes(sam, sam.vision_encoder(images), boxes, (256, 256)) > 0
    dice = 2 * (masks & labels).sum((1, 2)) / (masks.sum((1, 2)) + labels.sum((1, 2)))
    assert dice.mean() >= 0.94


@needs_published
@needs_weights
@torch.no_grad()
def test_lite_medsam_is_the_published_one_at_its_own_size(published):
    size = (256, 256)
    original = PublishedSam(published, 1, size)
    original.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    original.eval()
    sam = load_tiny_sam(WEIGHTS)
    image, boxes = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)), boxes_within(size)[:1]
    embeddings = sam.vision_encoder(image)
    assert_close(embeddings, original.image_encoder(image), **EXACT)
    assert_close(masks_in_boxes(sam, embeddings, boxes, size), original.masks(embeddings, boxes), **EXACT)
