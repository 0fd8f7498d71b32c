"""How much a teacher enlarges its images is known from its weights, without loading or downloading them."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Dinov2Config, DINOv3ViTConfig

from common.teachers import affordable_scale, suitable_scale

SIZES = range(32, 544, 16)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Files and folders by name, as far as they are looked at."""
    monkeypatch.chdir(tmp_path)
    for name, kernel in (("mobile_sam.pt", 3), ("small.pth", 1)):
        torch.save({"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(1, 1, kernel, kernel)}, tmp_path / name)
    torch.save({"mask_decoder.hf_token.weight": torch.zeros(1)}, tmp_path / "sam_hq_vit_b.pth")
    torch.save({"model": {"image_encoder.trunk.pos_embed": torch.zeros(1)}}, tmp_path / "sam2.1_hiera_tiny.pt")
    for name, config in (("ours", Dinov2Config()), ("patches_of_16", Dinov2Config(patch_size=16))):
        config.save_pretrained(tmp_path / name)
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "config.json").write_text(json.dumps({"model_type": "dinov3_vit"}), encoding="utf-8")
    assert DINOv3ViTConfig().patch_size == 16


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize(
    ("pretrained", "at_256", "at_128"),
    [
        ("facebook/sam-vit-base", 4, 8),
        ("medsam_vit_b.pth", 4, 8),
        ("mobile_sam.pt", 4, 8),
        ("small.pth", 1, 2),  # LiteMedSAM's patch embedding, whatever its name
        ("lite_medsam", 1, 2),
        ("facebook/sam2.1-hiera-tiny", 4, 8),
        ("sam2.1_hiera_tiny.pt", 4, 8),
        ("sam_hq_vit_b.pth", 4, 8),
        ("facebook/dinov2-small", 1.75, 1.75),
        ("ours", 1.75, 1.75),
        ("patches_of_16", 2, 2),
        ("third", 2, 2),
        ("facebook/dinov3-vits16-pretrain-lvd1689m", 2, 2),
        ("microsoft/swin-tiny-patch4-window7-224", 2, 2),
    ],
)
def test_it_suits_the_family(pretrained, at_256, at_128):
    assert (suitable_scale(pretrained, 256), suitable_scale(pretrained, 128)) == (at_256, at_128)


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize(
    ("pretrained", "stride"),
    [
        ("facebook/sam-vit-base", 16),
        ("small.pth", 4),
        ("sam2.1_hiera_tiny.pt", 32),
        ("ours", 14),
        ("patches_of_16", 16),
        ("facebook/convnext-tiny", 32),
    ],
)
def test_the_stride_divides_every_size_on_a_gpu_and_on_a_cpu(pretrained, stride):
    for size in SIZES:
        scales = suitable_scale(pretrained, size), affordable_scale(pretrained, size)
        assert [scale * size % stride for scale in scales] == [0, 0], size


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize(
    ("pretrained", "at_128", "at_64"),
    [
        ("facebook/sam-vit-base", 4, 8),
        ("mobile_sam.pt", 4, 8),
        ("facebook/sam2.1-hiera-tiny", 4, 8),
        ("syscv-community/sam-hq-vit-base", 4, 8),
        ("lite_medsam", 1, 2),
        ("small.pth", 1, 2),
        ("facebook/dinov2-small", 1.75, 1.75),
        ("embedded", 2, 4),
    ],
)
def test_a_cpu_shows_it_no_more_than_it_can_afford(pretrained, at_128, at_64):
    assert (affordable_scale(pretrained, 128), affordable_scale(pretrained, 64)) == (at_128, at_64)
