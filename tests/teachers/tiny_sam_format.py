"""The format of MobileSAM's and LiteMedSAM's checkpoints: names and shapes of the weights in them."""

from __future__ import annotations

import torch
from torch import Tensor

STAGES = ((64, 2, 0, 0), (128, 2, 4, 7), (160, 6, 5, 14), (320, 2, 10, 7))  # width, blocks, heads, window


def make_checkpoint(patch_kernel: int, seed: int = 0) -> dict[str, Tensor]:
    """Return weights by their published names; kernels of 1x1 are LiteMedSAM's, of 3x3 MobileSAM's."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in tiny_sam_shapes(patch_kernel).items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1000)
        elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            fan_in = torch.tensor(shape[1:]).prod().item() if len(shape) > 1 else 25
            state[name] = torch.randn(shape, generator=generator) * fan_in**-0.5
    return state


def tiny_sam_shapes(patch_kernel: int) -> dict[str, tuple[int, ...]]:
    shapes = {}
    shapes |= _convolution("image_encoder.patch_embed.seq.0", 32, 3, patch_kernel)
    shapes |= _convolution("image_encoder.patch_embed.seq.2", 64, 32, patch_kernel)
    for index, (width, blocks, heads, window) in enumerate(STAGES):
        stage = f"image_encoder.layers.{index}"
        for block in range(blocks):
            shapes |= _block(f"{stage}.blocks.{block}", width, heads, window)
        if index < 3:
            following = STAGES[index + 1][0]
            shapes |= _convolution(f"{stage}.downsample.conv1", following, width, 1)
            shapes |= _convolution(f"{stage}.downsample.conv2", following, 1, 3)
            shapes |= _convolution(f"{stage}.downsample.conv3", following, following, 1)
    shapes |= {"image_encoder.neck.0.weight": (256, 320, 1, 1), "image_encoder.neck.2.weight": (256, 256, 3, 3)}
    shapes |= affine("image_encoder.neck.1", 256) | affine("image_encoder.neck.3", 256)
    return shapes | prompt_encoder() | _mask_decoder()


def affine(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _convolution(name: str, out: int, inner: int, kernel: int) -> dict[str, tuple[int, ...]]:
    statistics = {f"{name}.bn.{part}": (out,) for part in ("running_mean", "running_var")}
    counter = {f"{name}.bn.num_batches_tracked": ()}
    return {f"{name}.c.weight": (out, inner, kernel, kernel)} | affine(f"{name}.bn", out) | statistics | counter


def _block(name: str, width: int, heads: int, window: int) -> dict[str, tuple[int, ...]]:
    if not heads:
        inner = _convolution(f"{name}.conv1", 4 * width, width, 1) | _convolution(f"{name}.conv2", 4 * width, 1, 3)
        return inner | _convolution(f"{name}.conv3", width, 4 * width, 1)
    attention = {f"{name}.attn.attention_biases": (heads, window * window)} | affine(f"{name}.attn.norm", width)
    attention |= affine(f"{name}.attn.qkv", 3 * width, width) | affine(f"{name}.attn.proj", width, width)
    perceptron = affine(f"{name}.mlp.fc1", 4 * width, width) | affine(f"{name}.mlp.fc2", width, 4 * width)
    return attention | affine(f"{name}.mlp.norm", width) | perceptron | _convolution(f"{name}.local_conv", width, 1, 3)


def prompt_encoder() -> dict[str, tuple[int, ...]]:
    name = "prompt_encoder"
    shapes = {f"{name}.pe_layer.positional_encoding_gaussian_matrix": (2, 128)}
    embeddings = [*(f"point_embeddings.{index}" for index in range(4)), "not_a_point_embed", "no_mask_embed"]
    shapes |= {f"{name}.{embedding}.weight": (1, 256) for embedding in embeddings}
    shapes |= affine(f"{name}.mask_downscaling.0", 4, 1, 2, 2) | affine(f"{name}.mask_downscaling.1", 4)
    shapes |= affine(f"{name}.mask_downscaling.3", 16, 4, 2, 2) | affine(f"{name}.mask_downscaling.4", 16)
    return shapes | affine(f"{name}.mask_downscaling.6", 256, 16, 1, 1)


def _mask_decoder() -> dict[str, tuple[int, ...]]:
    name, transformer = "mask_decoder", "mask_decoder.transformer"
    shapes = {f"{name}.iou_token.weight": (1, 256), f"{name}.mask_tokens.weight": (4, 256)}
    for index in range(2):
        layer = f"{transformer}.layers.{index}"
        shapes |= attention(f"{layer}.self_attn", 256) | attention(f"{layer}.cross_attn_token_to_image", 128)
        shapes |= attention(f"{layer}.cross_attn_image_to_token", 128)
        shapes |= affine(f"{layer}.mlp.lin1", 2048, 256) | affine(f"{layer}.mlp.lin2", 256, 2048)
        for norm in range(1, 5):
            shapes |= affine(f"{layer}.norm{norm}", 256)
    shapes |= attention(f"{transformer}.final_attn_token_to_image", 128) | affine(f"{transformer}.norm_final_attn", 256)
    shapes |= {f"{name}.output_upscaling.0.weight": (256, 64, 2, 2), f"{name}.output_upscaling.0.bias": (64,)}
    shapes |= affine(f"{name}.output_upscaling.1", 64)
    shapes |= {f"{name}.output_upscaling.3.weight": (64, 32, 2, 2), f"{name}.output_upscaling.3.bias": (32,)}
    heads = {f"{name}.output_hypernetworks_mlps.{index}": 32 for index in range(4)} | {f"{name}.iou_prediction_head": 4}
    for part, out in heads.items():
        shapes |= head(part, out)
    return shapes


def head(name: str, out: int) -> dict[str, tuple[int, ...]]:
    return (
        affine(f"{name}.layers.0", 256, 256)
        | affine(f"{name}.layers.1", 256, 256)
        | affine(f"{name}.layers.2", out, 256)
    )


def attention(name: str, inner: int) -> dict[str, tuple[int, ...]]:
    inwards = [affine(f"{name}.{part}_proj", inner, 256) for part in "qkv"]
    return inwards[0] | inwards[1] | inwards[2] | affine(f"{name}.out_proj", 256, inner)
