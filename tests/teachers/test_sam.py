"""The teacher: exactly SAM at SAM's own size, at home at any other, and picky about its weights."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
from functools import partial
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close
from transformers import SamConfig, SamModel

from common.errors import InputError
from common.teachers.sam import SamSegmenter, resize_positions
from common.teachers.sam_weights import EMBEDDED_FOLDER, load_sam

same = partial(assert_close, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def sam(tiny_sam_folder) -> SamModel:
    return SamModel.from_pretrained(tiny_sam_folder).eval()


@pytest.fixture(scope="module")
def teacher(tiny_sam_folder) -> SamSegmenter:
    return SamSegmenter(tiny_sam_folder, num_classes=4).eval()


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def original(segment_anything, randomise) -> nn.Module:
    return randomise(build_original(segment_anything.modeling))


@pytest.fixture
def original_checkpoint(original, tmp_path):
    torch.save(original.state_dict(), tmp_path / "sam.pth")
    return tmp_path / "sam.pth"


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
    assert_close(teacher(images), expected, rtol=1e-3, atol=1e-3)


def test_original_checkpoint_gives_the_original_encoder(original, original_checkpoint):
    teacher = SamSegmenter(original_checkpoint, num_classes=4).eval()
    pixels = torch.randn(1, 3, 128, 128)
    same(teacher.encode(pixels), original.image_encoder(pixels))


def test_original_checkpoint_gives_the_original_masks(original, original_checkpoint):
    teacher = SamSegmenter(original_checkpoint, num_classes=4).eval()
    embeddings = torch.randn(1, 32, 8, 8)
    masks = original_masks(original, embeddings)
    # Hugging Face's decoder has another epsilon in its layer norms (1e-6) than the original (1e-5).
    assert_close(teacher.decode(embeddings), masks, rtol=0, atol=1e-3 * masks.abs().max().item())


@pytest.mark.slow
def test_vit_b_is_huggingfaces_at_1024():
    sam = randomise_lightly(SamModel(SamConfig()))
    pixels = torch.randn(1, 3, 1024, 1024)
    expected = sam.vision_encoder(pixels).last_hidden_state
    teacher = SamSegmenter(SamConfig(), num_classes=4).eval()
    teacher.encoder.load_state_dict(sam.vision_encoder.state_dict())
    same(teacher.encode(pixels), expected)


@pytest.mark.slow
def test_vit_b_checkpoint_gives_the_original_encoder_at_1024(segment_anything, tmp_path):
    original = randomise_lightly(segment_anything.build_sam_vit_b())
    torch.save(original.state_dict(), tmp_path / "sam_vit_b.pth")
    pixels = torch.randn(1, 3, 1024, 1024)
    expected = original.image_encoder(pixels)
    teacher = SamSegmenter(tmp_path / "sam_vit_b.pth", num_classes=4).eval()
    same(teacher.encode(pixels), expected)


def randomise_lightly(network: nn.Module) -> nn.Module:
    """Randomise a wide network: weights of the size that a trained one has."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


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
    teacher = SamSegmenter(tiny_sam_folder, num_classes=3).eval()
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
    assert_close(teacher._grid_positions(3, 5)[0], torch.from_numpy(expected).float(), rtol=0, atol=1e-3)


def test_images_of_a_batch_do_not_see_each_other(teacher):
    images = torch.rand(3, 3, 32, 48)
    assert_close(teacher(images)[1:2], teacher(images[1:2]), rtol=1e-3, atol=1e-3)


def test_one_channel_is_three_equal_channels(teacher):
    grey = torch.rand(2, 1, 64, 64)
    assert torch.equal(teacher(grey), teacher(grey.repeat(1, 3, 1, 1)))


def test_input_scale_enlarges_what_the_encoder_sees_and_gives_back_the_images_size(tiny_sam_folder, teacher):
    images = torch.rand(1, 3, 32, 48)
    enlarging = SamSegmenter(tiny_sam_folder, num_classes=4, input_scale=2).eval()
    seen = []
    enlarging.encoder.neck.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2:]))
    logits = enlarging(images)
    assert seen == [(4, 6)]
    assert logits.shape == (1, 4, 32, 48)
    enlarged = teacher(F.interpolate(images, size=(64, 96), mode="bilinear", align_corners=False))
    # The decoder answers at a quarter of the enlarged image: that, and nothing between, is resampled.
    decoded = teacher.decode(
        teacher.encode((F.interpolate(images, (64, 96), mode="bilinear") - teacher.mean) / teacher.std)
    )
    assert decoded.shape[2:] == (16, 24)
    assert enlarged.shape[2:] == (64, 96)
    same(logits, F.interpolate(decoded, size=(32, 48), mode="bilinear", align_corners=False))


def test_input_scale_makes_room_for_sizes_that_do_not_divide(tiny_sam_folder):
    assert SamSegmenter(tiny_sam_folder, 2, input_scale=2)(torch.rand(1, 3, 24, 40)).shape == (1, 2, 24, 40)


# Classes


def test_classes_beyond_the_checkpoints_tokens_start_from_them_and_learn_apart(sam, tiny_sam_folder):
    teacher = SamSegmenter(tiny_sam_folder, num_classes=6).eval()
    embeddings = torch.randn(1, 32, 4, 4)
    masks = huggingface_masks(sam, embeddings)
    # A further token changes what the others attend to, so only copies can be compared.
    logits = teacher.decode(embeddings)
    assert masks.shape[1] == 4
    same(logits[:, 4:], logits[:, :2])
    teacher.decoder.mask_tokens.weight.data[0] += 1
    teacher.decoder.output_hypernetworks_mlps[1].proj_out.bias.data += 1
    changed = teacher.decode(embeddings)
    assert not torch.allclose(changed[:, 4], changed[:, 0], atol=1e-2)
    assert not torch.allclose(changed[:, 5], changed[:, 1], atol=1e-2)


@torch.enable_grad()
def test_gradient_reaches_all_of_encoder_and_decoder(tiny_sam_config, randomise):
    teacher = randomise(SamSegmenter(tiny_sam_config, num_classes=3))
    teacher(torch.rand(1, 3, 64, 64)).square().sum().backward()
    untouched = [name for name, p in teacher.named_parameters() if p.grad is None or not p.grad.any()]
    # Nothing depends on the bias of keys in a softmax.
    assert [name for name in untouched if not name.endswith("k_proj.bias")] == []


# What bad input gets


def test_size_that_does_not_divide_is_named(teacher):
    with pytest.raises(ValueError, match=r"40x64.*patch size 16"):
        teacher(torch.rand(1, 3, 40, 64))


def test_two_channels_are_refused(teacher):
    with pytest.raises(ValueError, match="one or three channels, got 2"):
        teacher(torch.rand(1, 2, 64, 64))


def test_one_class_is_refused(tiny_sam_config):
    with pytest.raises(ValueError, match=r"num_classes must be at least 2.*got 1"):
        SamSegmenter(tiny_sam_config, num_classes=1)


@pytest.mark.parametrize("scale", [0, -2])
def test_scale_must_be_positive(tiny_sam_config, scale):
    with pytest.raises(ValueError, match=f"input_scale must be positive, got {scale}"):
        SamSegmenter(tiny_sam_config, num_classes=2, input_scale=scale)


# Where weights come from


def refused(pretrained) -> str:
    with pytest.raises(InputError) as caught:
        load_sam(pretrained)
    assert str(pretrained) in str(caught.value)
    return str(caught.value)


def test_folder_written_by_save_pretrained_loads(tiny_sam_folder, sam):
    loaded = load_sam(str(tiny_sam_folder))
    for name, value in sam.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_half_precision_weights_are_loaded_as_floats(tmp_path, make_sam):
    make_sam().half().save_pretrained(tmp_path / "half")
    assert {p.dtype for p in load_sam(tmp_path / "half").parameters()} == {torch.float32}


def test_embedded_teacher_is_small_and_safe_and_loads():
    files = [path for path in EMBEDDED_FOLDER.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10e6
    assert {path.suffix for path in files if path.suffix not in (".json", ".md")} == {".safetensors"}
    logits = SamSegmenter("embedded", num_classes=3).eval()(torch.rand(1, 3, 64, 96))
    assert logits.shape == (1, 3, 64, 96)
    assert logits.isfinite().all()


def test_hub_id_that_cannot_be_found_is_named(monkeypatch):
    def unreachable(*arguments, **keywords):
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(SamModel, "from_pretrained", unreachable)
    assert "facebook/sam-vit-base" in refused("nobody/no-such-sam")


def test_name_that_is_neither_folder_nor_hub_id_is_named():
    refused("../no/such/folder")


def test_folder_without_weights_is_named(tmp_path, tiny_sam_folder):
    shutil.copy(tiny_sam_folder / "config.json", tmp_path)
    assert "model.safetensors" in refused(tmp_path)


def test_empty_folder_is_named(tmp_path):
    refused(tmp_path)


def test_folder_with_truncated_weights_is_named(tmp_path, tiny_sam_folder):
    shutil.copytree(tiny_sam_folder, tmp_path / "sam")
    weights = tmp_path / "sam" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    refused(tmp_path / "sam")


def test_folder_that_lacks_some_weights_is_named(tmp_path, tiny_sam_folder):
    shutil.copytree(tiny_sam_folder, tmp_path / "sam")
    state = load_file(tmp_path / "sam" / "model.safetensors")
    del state["vision_encoder.pos_embed"]
    save_file(state, tmp_path / "sam" / "model.safetensors", metadata={"format": "pt"})
    assert "vision_encoder.pos_embed" in refused(tmp_path / "sam")


def test_folder_whose_config_does_not_fit_its_weights_is_named(tmp_path, tiny_sam_folder, make_sam_config):
    shutil.copytree(tiny_sam_folder, tmp_path / "sam")
    make_sam_config(hidden_size=48).save_pretrained(tmp_path / "sam")
    refused(tmp_path / "sam")


def test_pickled_weights_in_a_folder_are_not_opened(tmp_path, tiny_sam_folder, trap):
    path, sprung = trap
    folder = tmp_path / "sam"
    folder.mkdir()
    shutil.copy(tiny_sam_folder / "config.json", folder)
    shutil.copy(path, folder / "pytorch_model.bin")
    refused(folder)
    assert not sprung.exists()


def test_missing_checkpoint_is_named(tmp_path):
    assert "does not exist" in refused(tmp_path / "sam_vit_b.pth")


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_truncated_checkpoint_is_named(original_checkpoint, share):
    content = original_checkpoint.read_bytes()
    original_checkpoint.write_bytes(content[: int(share * len(content))])
    refused(original_checkpoint)


def test_checkpoint_of_another_model_is_named(tmp_path):
    torch.save(nn.Conv2d(3, 8, 3).state_dict(), tmp_path / "other.pth")
    assert "not a checkpoint of segment-anything" in refused(tmp_path / "other.pth")


def test_checkpoint_that_lacks_parts_is_named(original, tmp_path):
    encoder = {name: value for name, value in original.state_dict().items() if name.startswith("image_encoder.")}
    torch.save(encoder, tmp_path / "encoder.pth")
    refused(tmp_path / "encoder.pth")


def test_checkpoint_with_parts_of_its_own_is_named(original, tmp_path):
    torch.save({**original.state_dict(), "image_encoder.adapter.weight": torch.zeros(2)}, tmp_path / "adapted.pth")
    assert "image_encoder.adapter.weight" in refused(tmp_path / "adapted.pth").replace(
        "vision_encoder", "image_encoder"
    )


def test_checkpoint_that_would_run_code_is_refused_and_runs_none(trap):
    path, sprung = trap
    message = refused(path)
    assert "could run code" in message
    assert "weights_only" not in message, "PyTorch's advice to load it unprotected"
    assert not sprung.exists()
