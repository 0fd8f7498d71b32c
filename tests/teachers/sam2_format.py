"""The format of SAM 2's checkpoints: names and shapes of the weights in them."""

from __future__ import annotations

import torch
from tiny_sam_format import affine, attention, head, prompt_encoder
from torch import Tensor

from common.teachers.sam2_original import Hiera

SMALL = Hiera(width=16, blocks=(1, 1, 2, 1), heads=1, global_blocks=(2,), windows=(8, 4, 6, 3), background=3)
"""What no published one is, small enough to run: its third stage attends in windows and to the whole image."""

Shapes = dict[str, tuple[int, ...]]


def make_sam2_checkpoint(hiera: Hiera = SMALL, version: str = "2.1", seed: int = 0) -> dict[str, Tensor]:
    """Return weights by their published names."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in sam2_shapes(hiera, version).items():
        fan_in = torch.tensor(shape[1:]).prod().item() if len(shape) > 1 else 25
        state[name] = torch.randn(shape, generator=generator) * fan_in**-0.5
    return state


def sam2_shapes(hiera: Hiera, version: str) -> Shapes:
    return _image_encoder(hiera) | _prompts_and_masks() | video_parts(version)


def _image_encoder(hiera: Hiera) -> Shapes:
    trunk, width = "image_encoder.trunk", hiera.width
    shapes = {f"{trunk}.pos_embed": (1, width, hiera.background, hiera.background)}
    shapes |= {f"{trunk}.pos_embed_window": (1, width, hiera.windows[0], hiera.windows[0])}
    shapes |= affine(f"{trunk}.patch_embed.proj", width, 3, 7, 7)
    widths = [width * 2**stage for stage, blocks in enumerate(hiera.blocks) for _ in range(blocks)]
    for index, (before, out) in enumerate(zip([width, *widths], widths, strict=False)):
        block = f"{trunk}.blocks.{index}"
        shapes |= affine(f"{block}.norm1", before) | affine(f"{block}.norm2", out)
        shapes |= affine(f"{block}.attn.qkv", 3 * out, before) | affine(f"{block}.attn.proj", out, out)
        shapes |= affine(f"{block}.mlp.layers.0", 4 * out, out) | affine(f"{block}.mlp.layers.1", out, 4 * out)
        if before != out:
            shapes |= affine(f"{block}.proj", out, before)
    for index in range(4):
        shapes |= affine(f"image_encoder.neck.convs.{index}.conv", 256, width * 2 ** (3 - index), 1, 1)
    return shapes


def _prompts_and_masks() -> Shapes:
    shapes = {f"sam_{name}": shape for name, shape in prompt_encoder().items()}
    name, transformer = "sam_mask_decoder", "sam_mask_decoder.transformer"
    for index in range(2):
        layer = f"{transformer}.layers.{index}"
        shapes |= attention(f"{layer}.self_attn", 256) | attention(f"{layer}.cross_attn_token_to_image", 128)
        shapes |= attention(f"{layer}.cross_attn_image_to_token", 128)
        shapes |= affine(f"{layer}.mlp.layers.0", 2048, 256) | affine(f"{layer}.mlp.layers.1", 256, 2048)
        for norm in range(1, 5):
            shapes |= affine(f"{layer}.norm{norm}", 256)
    shapes |= attention(f"{transformer}.final_attn_token_to_image", 128)
    shapes |= affine(f"{transformer}.norm_final_attn", 256)
    tokens = {"iou_token": 1, "mask_tokens": 4, "obj_score_token": 1}
    shapes |= {f"{name}.{token}.weight": (count, 256) for token, count in tokens.items()}
    shapes |= {f"{name}.output_upscaling.0.weight": (256, 64, 2, 2), f"{name}.output_upscaling.0.bias": (64,)}
    shapes |= affine(f"{name}.output_upscaling.1", 64)
    shapes |= {f"{name}.output_upscaling.3.weight": (64, 32, 2, 2), f"{name}.output_upscaling.3.bias": (32,)}
    shapes |= affine(f"{name}.conv_s0", 32, 256, 1, 1) | affine(f"{name}.conv_s1", 64, 256, 1, 1)
    for index in range(4):
        shapes |= head(f"{name}.output_hypernetworks_mlps.{index}", 32)
    shapes |= head(f"{name}.iou_prediction_head", 4) | head(f"{name}.pred_obj_score_head", 1)
    return shapes | {"no_mem_embed": (1, 1, 256)}


def video_parts(version: str) -> Shapes:
    """Return what tracks structures through videos, of which 2.1 has more than 2.0."""
    shapes = {"maskmem_tpos_enc": (7, 1, 1, 64), "no_mem_pos_enc": (1, 1, 256), "no_obj_ptr": (1, 256)}
    shapes |= affine("mask_downsample", 1, 1, 4, 4) | head("obj_ptr_proj", 256)
    if version == "2.1":
        shapes |= {"no_obj_embed_spatial": (1, 64)} | affine("obj_ptr_tpos_proj", 64, 256)
    for index in range(4):
        layer = f"memory_attention.layers.{index}"
        shapes |= attention(f"{layer}.self_attn", 256) | attention(f"{layer}.cross_attn_image", 256)
        shapes |= {f"{layer}.cross_attn_image.{part}_proj.weight": (256, 64) for part in "kv"}
        shapes |= affine(f"{layer}.linear1", 2048, 256) | affine(f"{layer}.linear2", 256, 2048)
        for norm in range(1, 4):
            shapes |= affine(f"{layer}.norm{norm}", 256)
    shapes |= affine("memory_attention.norm", 256)
    encoder = "memory_encoder.mask_downsampler.encoder"
    for index, (inner, out) in enumerate(((1, 4), (4, 16), (16, 64), (64, 256))):
        shapes |= affine(f"{encoder}.{3 * index}", out, inner, 3, 3) | affine(f"{encoder}.{3 * index + 1}", out)
    shapes |= affine(f"{encoder}.12", 256, 256, 1, 1) | affine("memory_encoder.pix_feat_proj", 256, 256, 1, 1)
    for index in range(2):
        layer = f"memory_encoder.fuser.layers.{index}"
        shapes |= {f"{layer}.gamma": (256,)} | affine(f"{layer}.dwconv", 256, 1, 7, 7) | affine(f"{layer}.norm", 256)
        shapes |= affine(f"{layer}.pwconv1", 1024, 256) | affine(f"{layer}.pwconv2", 256, 1024)
    return shapes | affine("memory_encoder.out_proj", 64, 256, 1, 1)
