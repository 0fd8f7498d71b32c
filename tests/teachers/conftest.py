"""A tiny SAM, and the original package's SAM to compare with."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import SamModel


@pytest.fixture(scope="session")
def sam(tiny_sam_folder) -> SamModel:
    """The tiny SAM as transformers loads it; not to be changed."""
    return SamModel.from_pretrained(tiny_sam_folder).eval()


@pytest.fixture(scope="session")
def segment_anything():
    """The original package; it imports torchvision, none of which it needs here."""
    names = ["", ".ops", ".ops.boxes", ".transforms", ".transforms.functional"]
    stand_ins = [f"torchvision{name}" for name in names] if importlib.util.find_spec("torchvision") is None else []
    for name in stand_ins:
        module = sys.modules[name] = ModuleType(name)
        module.batched_nms = module.box_area = module.resize = module.to_pil_image = None
    try:
        importlib.import_module("segment_anything")
        modeling = importlib.import_module("segment_anything.modeling")
        build_sam = importlib.import_module("segment_anything.build_sam")
    finally:
        for name in stand_ins:
            del sys.modules[name]
    yield SimpleNamespace(modeling=modeling, build_sam_vit_b=build_sam.build_sam_vit_b)
    for name in [name for name in sys.modules if name.split(".")[0] == "segment_anything"]:
        del sys.modules[name]


def build_original(modeling, image_size: int = 128, window_size: int = 3) -> nn.Module:
    """Build the original SAM in a small variant whose sizes are all different."""
    grid = image_size // 16
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            depth=3,
            embed_dim=48,
            img_size=image_size,
            mlp_ratio=2,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=3,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=[0, 2],
            window_size=window_size,
            out_chans=32,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=32, image_embedding_size=(grid, grid), input_image_size=(image_size, image_size), mask_in_chans=16
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=80, num_heads=8),
            transformer_dim=32,
            iou_head_depth=3,
            iou_head_hidden_dim=40,
        ),
    )


@pytest.fixture(scope="session")
def original(segment_anything, randomise) -> nn.Module:
    return randomise(build_original(segment_anything.modeling))


@pytest.fixture
def original_checkpoint(original, tmp_path):
    torch.save(original.state_dict(), tmp_path / "sam.pth")
    return tmp_path / "sam.pth"


@pytest.fixture(scope="session")
def output_shapes() -> Callable[..., dict[str, tuple[int, ...]]]:
    """Return what says the shapes that layers of a network put out for images ``(B, C, H, W)`` that it sees so."""

    def shapes_of(network: nn.Module, layers: Iterable[str], images: torch.Tensor) -> dict[str, tuple[int, ...]]:
        shapes, modules = {}, dict(network.named_modules())

        def keep(name: str):
            return lambda module, inputs, output: shapes.update({name: tuple(output.shape)})

        hooks = [modules[name].register_forward_hook(keep(name)) for name in layers]
        network(images.mT if getattr(network, "upright", False) else images)
        for hook in hooks:
            hook.remove()
        return shapes

    return shapes_of


@pytest.fixture(scope="session")
def train_a_little() -> Callable[[nn.Module], nn.Module]:
    """Return what moves everything that trains."""

    def move(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(3)
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        return network

    return move
