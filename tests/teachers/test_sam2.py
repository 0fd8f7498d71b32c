"""SAM 2 as a teacher: exactly SAM 2, with its high-resolution features, at any size that its stride divides."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch.testing import assert_close
from transformers import Sam2Model

from common.teachers import build_teacher
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora
from common.teachers.sam import grid_positions
from common.teachers.sam2 import Sam2Decoder, Sam2Teacher
from common.teachers.sam2_weights import load_sam2

same = partial(assert_close, rtol=1e-4, atol=1e-4)
ANY_SIZES = [(32, 32), (64, 64), (96, 160)]


@pytest.fixture(scope="module")
def sam2(tiny_sam2_folder) -> Sam2Model:
    """The tiny SAM 2 as transformers loads it; not to be changed."""
    return Sam2Model.from_pretrained(tiny_sam2_folder).eval()


@pytest.fixture(scope="module")
def teacher(tiny_sam2_folder) -> Sam2Teacher:
    teacher = Sam2Teacher(tiny_sam2_folder, num_classes=4)
    teacher.decoder = Sam2Decoder(load_sam2(tiny_sam2_folder))  # its own mask tokens, to compare masks
    return teacher.eval()


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def huggingface_levels(sam2: Sam2Model, pixels: torch.Tensor) -> list[torch.Tensor]:
    """Return what SAM 2 hands to its mask decoder, from the finest to the coarsest."""
    fine, middle, coarse = sam2.vision_encoder(pixels).fpn_hidden_states
    decoder = sam2.mask_decoder
    return [decoder.conv_s0(fine), decoder.conv_s1(middle), coarse + sam2.no_memory_embedding.view(1, -1, 1, 1)]


def huggingface_masks(sam2: Sam2Model, pixels: torch.Tensor) -> torch.Tensor:
    """Return the masks of all of the decoder's tokens, without any prompt."""
    *fine, coarse = huggingface_levels(sam2, pixels)
    rows, columns = (torch.arange(side) + 0.5 for side in coarse.shape[2:])
    y, x = torch.meshgrid(rows / len(rows), columns / len(columns), indexing="ij")
    arguments = {
        "image_embeddings": coarse,
        "image_positional_embeddings": sam2.shared_image_embedding(torch.stack([x, y], -1)).permute(2, 0, 1)[None],
        "sparse_prompt_embeddings": torch.zeros(1, 1, 0, coarse.shape[1]),
        "dense_prompt_embeddings": sam2.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1),
        "high_resolution_features": fine,
    }
    sam2.mask_decoder.dynamic_multimask_via_stability = False  # or the first mask may be another's
    masks = [sam2.mask_decoder(**arguments, multimask_output=several)[0] for several in (False, True)]
    return torch.cat(masks, dim=2)[:, 0]


# The same function as SAM 2


@pytest.mark.parametrize("size", ANY_SIZES)
def test_masks_are_huggingfaces_without_prompts(teacher, sam2, size):
    pixels = torch.randn(1, 3, *size)
    logits = teacher.decode(teacher.encode(pixels))
    assert logits.shape == (1, 4, size[0] // 4, size[1] // 4)
    same(logits, huggingface_masks(sam2, pixels))


@pytest.mark.parametrize("size", ANY_SIZES)
def test_encoder_hands_out_huggingfaces_levels_in_one_tensor(teacher, sam2, size):
    pixels = torch.randn(2, 3, *size)
    fine, middle, coarse = sam2.vision_encoder(pixels).fpn_hidden_states
    features = teacher.encode(pixels)
    same(features[:, :32], coarse)
    same(F.pixel_shuffle(features[:, 32:160], 2), middle)
    same(F.pixel_shuffle(features[:, 160:], 4), fine)


def test_positions_are_huggingfaces_own(teacher, sam2):
    positions = sam2.get_image_wide_positional_embeddings()  # for the checkpoint's own size
    same(grid_positions(teacher.position_embedding, 4, 4), positions)


@pytest.mark.parametrize("part", ["conv_s0", "conv_s1", "no_memory_embedding", "obj_score_token"])
def test_logits_depend_on_what_sam_does_not_have(tiny_sam2_folder, part):
    teacher = Sam2Teacher(tiny_sam2_folder, num_classes=2).eval()
    images = torch.rand(1, 3, 64, 64)
    before = teacher(images)
    found = getattr(teacher.decoder, part)
    (found if isinstance(found, torch.nn.Parameter) else found.weight).mul_(-2)
    assert (teacher(images) - before).abs().max() > 1e-3


def test_images_are_normalised_as_imagenets_and_logits_enlarged_to_their_size(teacher, sam2):
    images = torch.rand(1, 3, 64, 96)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    masks = huggingface_masks(sam2, (images - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    same(teacher(images.mT).mT, F.interpolate(masks, size=(64, 96), mode="bilinear", align_corners=False))


def test_encoder_is_the_same_in_training(teacher):
    images = torch.rand(1, 3, 64, 64)
    assert_close(teacher.train().encode(images), teacher.eval().encode(images))


# Sizes and classes


def test_size_that_the_stride_does_not_divide_is_refused(teacher):
    assert teacher.stride == 32
    with pytest.raises(ValueError, match=r"48x64.* must be divisible by the teacher's stride 32"):
        teacher(torch.rand(1, 3, 48, 64))


def test_input_scale_makes_room_for_sizes_that_do_not_divide(tiny_sam2_folder):
    assert Sam2Teacher(tiny_sam2_folder, 2, input_scale=2)(torch.rand(1, 1, 16, 48)).shape == (1, 2, 16, 48)


def test_classes_start_with_one_mask_and_the_background_with_its_opposite_and_learn_apart(tiny_sam2_folder):
    teacher = Sam2Teacher(tiny_sam2_folder, num_classes=3).eval()
    features = teacher.encode(torch.rand(1, 3, 64, 64))
    logits = teacher.decode(features)
    assert logits.any()
    same(logits[:, 0], -logits[:, 1])
    same(logits[:, 2], logits[:, 1])
    teacher.decoder.mask_tokens.weight.data[1] += 1
    assert not torch.allclose(teacher.decode(features)[:, 1], teacher.decode(features)[:, 2], atol=1e-3)


@torch.enable_grad()
def test_gradient_reaches_all_of_encoder_and_decoder(tiny_sam2_config, randomise):
    teacher = randomise(Sam2Teacher(tiny_sam2_config, num_classes=3))
    teacher(torch.rand(1, 3, 64, 64)).square().sum().backward()
    untouched = [name for name, p in teacher.named_parameters() if p.grad is None or not p.grad.any()]
    # Nothing depends on the bias of keys in a softmax.
    assert [name for name in untouched if not name.endswith("k_proj.bias")] == []


# Features and adaptation


def test_declared_layers_put_out_what_they_declare(teacher, output_shapes):
    shapes = output_shapes(teacher, teacher.feature_layers, torch.rand(1, 3, 64, 96))
    assert shapes == {
        "encoder.backbone.blocks.0": (1, 16, 24, 16),
        "encoder.backbone.blocks.1": (1, 8, 12, 32),
        "encoder.backbone.blocks.2": (1, 4, 6, 64),
        "encoder.backbone.blocks.3": (1, 4, 6, 64),
        "encoder.backbone.blocks.4": (1, 2, 3, 128),
        "encoder.levels.0": (1, 32, 16, 24),
        "encoder.levels.1": (1, 32, 8, 12),
        "encoder.neck": (1, 32, 4, 6),
    }
    last = {name: layout.kind == "channels_last" for name, layout in teacher.feature_layers.items()}
    assert last == {name: ".blocks." in name for name in shapes}


def test_adapters_sit_on_all_of_the_attention_and_on_nothing_else(tiny_sam2_config):
    network = add_lora(Sam2Teacher(tiny_sam2_config, 2), rank=2)
    names = {name.split("backbone.")[1] for name, module in network.named_modules() if isinstance(module, LoraLayer)}
    assert names == {f"blocks.{index}.attn.{layer}" for index in range(5) for layer in ("qkv", "proj")}


@torch.enable_grad()
def test_adapters_and_decoder_receive_gradient(tiny_sam2_config, randomise, train_a_little):
    network = train_a_little(add_lora(randomise(Sam2Teacher(tiny_sam2_config, 2)), rank=2)).train()
    network(torch.rand(1, 3, 64, 64)).square().mean().backward()
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    assert {name.split("modules_to_save")[0] for name in trained if "lora_" not in name} == {
        "base_model.model.decoder."
    }


def test_saved_teacher_gives_the_same_logits(tiny_sam2_folder, tmp_path, train_a_little):
    images = torch.rand(2, 3, 64, 96)
    network = train_a_little(add_lora(build_teacher(tiny_sam2_folder, 3), rank=2)).eval()
    expected = network(images)
    save_teacher(network, tmp_path / "teacher")
    loaded = load_teacher(tmp_path / "teacher")
    assert loaded.describe()["family"] == "sam2"
    assert_close(loaded(images), expected, rtol=1e-3, atol=1e-3)
