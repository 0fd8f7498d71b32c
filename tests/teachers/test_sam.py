"""SAM as a teacher: exactly SAM at SAM's own size, at home at any other."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from transformers import SamModel

from common.teachers.sam import SamDecoder, SamTeacher, grid_positions, resize_positions
from common.teachers.sam_weights import load_sam

same = partial(assert_close, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def teacher(tiny_sam_folder) -> SamTeacher:
    return with_its_tokens(SamTeacher(tiny_sam_folder, num_classes=4), tiny_sam_folder)


def with_its_tokens(teacher: SamTeacher, pretrained: Path) -> SamTeacher:
    """Return a teacher whose decoder has the checkpoint's own mask tokens, whose masks can be compared."""
    sam = load_sam(pretrained)
    teacher.decoder = SamDecoder(sam.mask_decoder, sam.prompt_encoder.no_mask_embed)
    return teacher.eval()


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def huggingface_masks(sam: SamModel, embeddings: torch.Tensor) -> torch.Tensor:
    """Return the masks of all of the decoder's tokens, without any prompt."""
    _, dense = sam.prompt_encoder(None, None, None, None)
    arguments = {
        "image_embeddings": embeddings,
        "image_positional_embeddings": sam.get_image_wide_positional_embeddings().repeat(len(embeddings), 1, 1, 1),
        "sparse_prompt_embeddings": None,
        "dense_prompt_embeddings": dense,
    }
    masks = [sam.mask_decoder(**arguments, multimask_output=several)[0] for several in (False, True)]
    return torch.cat(masks, dim=2)[:, 0]


def original_masks(original: nn.Module, embeddings: torch.Tensor) -> torch.Tensor:
    sparse, dense = original.prompt_encoder(points=None, boxes=None, masks=None)
    masks, _ = original.mask_decoder.predict_masks(
        image_embeddings=embeddings,
        image_pe=original.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )
    return masks


# The same function as SAM


def test_encoder_is_huggingfaces_at_the_checkpoints_own_size(teacher, sam):
    pixels = torch.randn(2, 3, 64, 64)
    same(teacher.encode(pixels), sam.vision_encoder(pixels).last_hidden_state)


def test_decoder_gives_huggingfaces_masks_without_prompts(teacher, sam):
    embeddings = torch.randn(2, 32, 4, 4)
    same(teacher.decode(embeddings), huggingface_masks(sam, embeddings))


def test_images_are_normalised_as_sam_does_and_logits_enlarged_to_their_size(teacher, sam):
    images = torch.rand(2, 3, 64, 64)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])  # of 8-bit images
    pixels = (images.numpy() * 255 - mean[:, None, None]) / std[:, None, None]
    masks = huggingface_masks(sam, sam.vision_encoder(torch.from_numpy(pixels).float()).last_hidden_state)
    expected = F.interpolate(masks, size=(64, 64), mode="bilinear", align_corners=False)
    assert_close(teacher(images.mT).mT, expected, rtol=1e-3, atol=1e-3)


def test_original_checkpoint_gives_the_original_encoder(original, original_checkpoint):
    teacher = SamTeacher(original_checkpoint, num_classes=4).eval()
    pixels = torch.randn(1, 3, 128, 128)
    same(teacher.encode(pixels), original.image_encoder(pixels))


def test_original_checkpoint_gives_the_original_masks(original, original_checkpoint):
    teacher = with_its_tokens(SamTeacher(original_checkpoint, num_classes=4), original_checkpoint)
    embeddings = torch.randn(1, 32, 8, 8)
    masks = original_masks(original, embeddings)
    # Hugging Face's decoder has another epsilon in its layer norms (1e-6) than the original (1e-5).
    assert_close(teacher.decode(embeddings), masks, rtol=0, atol=1e-3 * masks.abs().max().item())


@pytest.mark.slow
def test_vit_b_checkpoint_gives_the_original_encoder_and_huggingfaces_at_1024(segment_anything, tmp_path):
    original = segment_anything.build_sam_vit_b().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in original.parameters():  # by what a wide network bears
        parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
    torch.save(original.state_dict(), tmp_path / "sam_vit_b.pth")
    pixels = torch.randn(1, 3, 1024, 1024)
    expected = original.image_encoder(pixels)
    del original
    teacher = SamTeacher(tmp_path / "sam_vit_b.pth", num_classes=4).eval()
    embeddings = teacher.encode(pixels)
    same(embeddings, expected)
    same(embeddings, teacher.encoder(pixels).last_hidden_state)


# Any size


@pytest.mark.parametrize("size", [(16, 16), (64, 96), (112, 48)])
def test_any_multiple_of_16_gives_logits_of_its_own_size(teacher, size):
    assert teacher.encode(torch.rand(1, 3, *size)).shape == (1, 32, size[0] // 16, size[1] // 16)
    logits = teacher(torch.rand(2, 3, *size))
    assert logits.shape == (2, 4, *size)
    assert logits.isfinite().all()


def test_positions_at_the_own_size_are_not_touched():
    positions = torch.randn(1, 4, 4, 8)
    assert resize_positions(positions, (4, 4)) is positions


def test_positions_keep_their_axes_when_they_are_resampled():
    rows = torch.linspace(0, 1, 8).view(1, 8, 1, 1).expand(1, 8, 8, 2)
    resized = resize_positions(rows, (16, 12))
    assert resized.shape == (1, 16, 12, 2)
    assert_close(resized, resized[:, :, :1].expand_as(resized))
    inner = resized[0, 4:-4, 0, 0]
    assert_close(
        inner, torch.from_numpy(((np.arange(4, 12) + 0.5) / 2 - 0.5) / 7).float(), rtol=0, atol=0.01
    )  # a cell is 1/7


def test_encoder_at_another_size_is_huggingfaces_with_resampled_positions(teacher, sam, make_sam_config):
    larger = SamModel(make_sam_config(image_size=96)).eval()
    state = sam.state_dict()
    for name, value in larger.state_dict().items():
        if name.endswith("pos_embed"):
            state[name] = F.interpolate(state[name].permute(0, 3, 1, 2), (6, 6), mode="bicubic").permute(0, 2, 3, 1)
        elif value.shape != state[name].shape:  # relative positions, on grids of 2 n - 1
            state[name] = F.interpolate(state[name].T[None], len(value), mode="linear")[0].T
    larger.load_state_dict(state)
    pixels = torch.randn(1, 3, 96, 96)
    same(teacher.encode(pixels), larger.vision_encoder(pixels).last_hidden_state)


def test_height_and_width_are_treated_alike(tiny_sam_folder):
    """A network with its axes exchanged does to an exchanged image what the network does to the image."""
    teacher = SamTeacher(tiny_sam_folder, num_classes=3).eval()
    pixels = torch.randn(1, 3, 48, 80)
    expected = teacher.encode(pixels).transpose(2, 3)
    encoder = teacher.encoder
    for layer in encoder.layers:
        layer.attn.rel_pos_h, layer.attn.rel_pos_w = layer.attn.rel_pos_w, layer.attn.rel_pos_h
    encoder.pos_embed.data = encoder.pos_embed.data.transpose(1, 2)
    for convolution in (encoder.patch_embed.projection, encoder.neck.conv2):
        convolution.weight.data = convolution.weight.data.transpose(2, 3)
    same(teacher.encode(pixels.transpose(2, 3)), expected)


def test_decoders_positions_on_a_rectangle_follow_sams_formula(teacher):
    frequencies = teacher.position_embedding.positional_embedding.detach().double().numpy()
    x = (np.arange(5) + 0.5) / 5 * 2 - 1
    y = (np.arange(3) + 0.5) / 3 * 2 - 1
    phase = 2 * np.pi * (x[None, :, None] * frequencies[0] + y[:, None, None] * frequencies[1])
    expected = np.concatenate([np.sin(phase), np.cos(phase)], axis=-1).transpose(2, 0, 1)
    assert_close(
        grid_positions(teacher.position_embedding, 3, 5)[0], torch.from_numpy(expected).float(), rtol=0, atol=1e-3
    )


def test_images_of_a_batch_do_not_see_each_other(teacher):
    images = torch.rand(3, 3, 32, 48)
    assert_close(teacher(images)[1:2], teacher(images[1:2]), rtol=1e-3, atol=1e-3)


def test_one_channel_is_three_equal_channels(teacher):
    grey = torch.rand(2, 1, 64, 64)
    assert torch.equal(teacher(grey), teacher(grey.repeat(1, 3, 1, 1)))


def test_input_scale_enlarges_what_the_encoder_sees_and_gives_back_the_images_size(tiny_sam_folder, teacher):
    images = torch.rand(1, 3, 32, 48)
    enlarging = with_its_tokens(SamTeacher(tiny_sam_folder, num_classes=4, input_scale=2), tiny_sam_folder)
    seen = []
    enlarging.encoder.neck.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2:]))
    logits = enlarging(images.mT).mT
    assert seen == [(4, 6)]
    assert logits.shape == (1, 4, 32, 48)
    enlarged = teacher(F.interpolate(images, size=(64, 96), mode="bilinear", align_corners=False))
    # The decoder puts out a quarter of the enlarged image: that, and nothing between, is resampled.
    decoded = teacher.decode(teacher.encode(teacher.normalise(F.interpolate(images, (64, 96), mode="bilinear"))))
    assert decoded.shape[2:] == (16, 24)
    assert enlarged.shape[2:] == (64, 96)
    same(logits, F.interpolate(decoded, size=(32, 48), mode="bilinear", align_corners=False))


def test_input_scale_makes_room_for_sizes_that_do_not_divide(tiny_sam_folder):
    assert SamTeacher(tiny_sam_folder, 2, input_scale=2)(torch.rand(1, 3, 24, 40)).shape == (1, 2, 24, 40)


# Classes


def test_classes_start_with_the_mask_of_the_first_token_and_the_background_with_its_opposite(tiny_sam_folder):
    teacher = SamTeacher(tiny_sam_folder, num_classes=3).eval()
    decoder, published = teacher.decoder, load_sam(tiny_sam_folder).mask_decoder
    # Other tokens change what each attends to, so that masks can only be compared with each other.
    logits = teacher.decode(torch.randn(1, 32, 4, 4))
    same(logits[:, 0], -logits[:, 1])
    same(logits[:, 2], logits[:, 1])
    same(decoder.mask_tokens.weight, published.mask_tokens.weight[:1].expand(3, -1))
    queries = torch.randn(1, 32)
    drawn = published.output_hypernetworks_mlps[0](queries)
    assert drawn.any()
    same(decoder.output_hypernetworks_mlps[1](queries), drawn)


def test_classes_learn_apart(tiny_sam_folder):
    teacher = SamTeacher(tiny_sam_folder, num_classes=4).eval()
    embeddings = torch.randn(1, 32, 4, 4)
    before = teacher.decode(embeddings)
    teacher.decoder.output_hypernetworks_mlps[1].proj_out.bias.data += 1
    after = teacher.decode(embeddings)
    assert not torch.allclose(after[:, 1], before[:, 1], atol=1e-3)
    same(after[:, [0, 2, 3]], before[:, [0, 2, 3]])
    teacher.decoder.mask_tokens.weight.data[2] += 1
    after = teacher.decode(embeddings)
    assert not torch.allclose(after[:, 2], after[:, 3], atol=1e-3)


def test_tokens_of_the_stand_in_stand_for_classes_already(tiny_sam_folder):
    sam = load_sam(tiny_sam_folder)
    decoder = SamDecoder(sam.mask_decoder, sam.prompt_encoder.no_mask_embed)
    embeddings, positions = torch.randn(1, 32, 4, 4), grid_positions(sam.shared_image_embedding, 4, 4)
    masks = decoder(embeddings, positions)
    decoder.set_classes(4, tokens_are_classes=True)
    same(decoder(embeddings, positions), masks)
    decoder.set_classes(6, tokens_are_classes=True)
    same(decoder(embeddings, positions)[:, 4:], decoder(embeddings, positions)[:, :2])
    tokens = SamTeacher("embedded", num_classes=3).decoder.mask_tokens.weight
    same(tokens, load_sam("embedded").mask_decoder.mask_tokens.weight[:3])


@torch.enable_grad()
def test_decoder_shares_the_layers_that_it_is_made_of(make_sam):
    sam = make_sam()
    decoder = SamDecoder(sam.mask_decoder, sam.prompt_encoder.no_mask_embed)
    assert {id(parameter) for parameter in decoder.parameters()} <= {id(parameter) for parameter in sam.parameters()}
    embeddings = torch.randn(1, 32, 4, 4)
    logits = decoder(embeddings, grid_positions(sam.shared_image_embedding, 4, 4))
    same(logits, huggingface_masks(sam, embeddings))
    F.cross_entropy(logits, torch.zeros(1, 16, 16, dtype=torch.long)).backward()
    assert sam.mask_decoder.mask_tokens.weight.grad.any()


@torch.enable_grad()
def test_gradient_reaches_all_of_encoder_and_decoder(tiny_sam_config, randomise):
    teacher = randomise(SamTeacher(tiny_sam_config, num_classes=3))
    teacher(torch.rand(1, 3, 64, 64)).square().sum().backward()
    untouched = [name for name, p in teacher.named_parameters() if p.grad is None or not p.grad.any()]
    # Nothing depends on the bias of keys in a softmax.
    assert [name for name in untouched if not name.endswith("k_proj.bias")] == []


# Features


def test_declared_layers_put_out_what_they_declare(teacher, output_shapes):
    shapes = output_shapes(teacher, teacher.feature_layers, torch.rand(1, 3, 32, 48))
    assert shapes == {
        "encoder.layers.0": (1, 2, 3, 32),
        "encoder.layers.1": (1, 2, 3, 32),
        "encoder.neck": (1, 32, 2, 3),
    }
    kinds = {name: layout.kind for name, layout in teacher.feature_layers.items()}
    assert kinds == {
        "encoder.layers.0": "channels_last",
        "encoder.layers.1": "channels_last",
        "encoder.neck": "channels_first",
    }
