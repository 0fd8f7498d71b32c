"""SAM-HQ as a teacher: exactly SAM-HQ at its own size, from folders and original files; what is refused with a name."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from refusals import refusal, refusal_of_family
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close
from transformers import SamHQModel

from common.teachers import build_teacher, model_files
from common.teachers.cards import CARDS, sam_hq_card
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora
from common.teachers.sam import SamTeacher, grid_positions
from common.teachers.sam_hq import SamHqDecoder, SamHqTeacher
from common.teachers.sam_hq_weights import load_sam_hq

same = partial(assert_close, rtol=1e-4, atol=1e-4)
refused = partial(refusal, load_sam_hq)


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def sam_hq(tiny_sam_hq_folder) -> SamHQModel:
    """The tiny SAM-HQ as transformers loads it; not to be changed."""
    return SamHQModel.from_pretrained(tiny_sam_hq_folder).eval()


@pytest.fixture(scope="module")
def teacher(tiny_sam_hq_folder) -> SamHqTeacher:
    return SamHqTeacher(tiny_sam_hq_folder, num_classes=3).eval()


@pytest.fixture(scope="module")
def additions(segment_anything, randomise) -> nn.ModuleDict:
    """What SAM-HQ adds to the original mask decoder, by the names of the published code."""
    norm, mlp = segment_anything.modeling.common.LayerNorm2d, segment_anything.modeling.mask_decoder.MLP
    up, same_size = partial(nn.ConvTranspose2d, kernel_size=2, stride=2), partial(nn.Conv2d, kernel_size=3, padding=1)
    parts = {
        "hf_token": nn.Embedding(1, 32),
        "hf_mlp": mlp(32, 32, 4, 3),
        "compress_vit_feat": nn.Sequential(up(48, 32), norm(32), nn.GELU(), up(32, 4)),
        "embedding_encoder": nn.Sequential(up(32, 8), norm(8), nn.GELU(), up(8, 4)),
        "embedding_maskfeature": nn.Sequential(same_size(4, 8), norm(8), nn.GELU(), same_size(8, 4)),
    }
    return randomise(nn.ModuleDict(parts), seed=5)


@pytest.fixture(scope="module")
def state(original, additions):
    """A checkpoint as it is published."""
    return {
        **original.state_dict(),
        **{f"mask_decoder.{name}": value for name, value in additions.state_dict().items()},
    }


@pytest.fixture
def save(tmp_path):
    def write(content) -> Path:
        torch.save(content, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return write


def published_masks(original: nn.Module, additions: nn.ModuleDict, pixels: torch.Tensor) -> torch.Tensor:
    """Return the masks of an image: of each mask token, with that of the high-quality token added.

    transformers' own decoder is no reference: it draws its masks on image embeddings that have attended to nothing,
    with rows and columns exchanged.
    """
    early, decoder = [], original.mask_decoder
    hook = original.image_encoder.blocks[0].register_forward_hook(lambda module, inputs, output: early.append(output))
    embeddings = original.image_encoder(pixels)
    hook.remove()
    _, dense = original.prompt_encoder(points=None, boxes=None, masks=None)
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, additions["hf_token"].weight])[None]
    queries, keys = decoder.transformer(embeddings + dense, original.prompt_encoder.get_dense_pe(), tokens)
    image = decoder.output_upscaling(keys.transpose(1, 2).view(embeddings.shape))
    fine = additions["embedding_maskfeature"](image) + additions["embedding_encoder"](embeddings)
    fine = fine + additions["compress_vit_feat"](early[0].permute(0, 3, 1, 2))
    filters = torch.stack(
        [mlp(queries[:, 1 + index]) for index, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1
    )
    fine_masks = additions["hf_mlp"](queries[:, -1:]) @ fine.flatten(2)
    return (filters @ image.flatten(2) + fine_masks).view(1, -1, *image.shape[2:])


# The same function as SAM-HQ


def test_encoder_gives_huggingfaces_embeddings_and_first_early_features(teacher, sam_hq):
    pixels = torch.randn(2, 3, 64, 64)
    embeddings, early = sam_hq.get_image_embeddings(pixels)
    features = teacher.encode(pixels)
    same(features[:, :32], embeddings)
    same(features[:, 32:], early[0].permute(0, 3, 1, 2))
    assert len(early) == 2, "or which of them it is would not matter"


def test_original_checkpoint_gives_the_published_masks(original, additions, save, state):
    pixels = torch.randn(1, 3, 128, 128)
    expected = published_masks(original, additions, pixels)
    teacher, sam_hq = SamHqTeacher(save(state), num_classes=2).eval(), load_sam_hq(save(state))
    decoder = SamHqDecoder(sam_hq.mask_decoder, sam_hq.prompt_encoder.no_mask_embed)  # one for its tokens, not classes
    features = teacher.encode(pixels)
    same(features[:, :32], original.image_encoder(pixels))
    masks = decoder(features, grid_positions(sam_hq.shared_image_embedding, 8, 8))
    assert_close(masks, expected, rtol=0, atol=1e-3 * expected.abs().max().item())


def test_every_weight_of_an_original_checkpoint_is_used_once(save, state):
    loaded = load_sam_hq(save(state)).state_dict()
    del loaded["shared_image_embedding.positional_embedding"]
    expected = sorted(value.flatten().tolist() for value in state.values())
    assert sorted(value.flatten().tolist() for value in loaded.values()) == expected


@pytest.mark.parametrize(
    ("original_name", "converted"),
    [
        ("hf_token.weight", "hq_token.weight"),
        ("hf_mlp.layers.0.bias", "hq_mask_mlp.proj_in.bias"),
        ("hf_mlp.layers.1.bias", "hq_mask_mlp.layers.0.bias"),
        ("compress_vit_feat.1.weight", "compress_vit_norm.weight"),
        ("compress_vit_feat.1.bias", "compress_vit_norm.bias"),
        ("embedding_encoder.3.weight", "encoder_conv2.weight"),
        ("embedding_encoder.1.bias", "encoder_norm.bias"),
        ("embedding_maskfeature.1.weight", "mask_norm.weight"),
        ("embedding_maskfeature.3.bias", "mask_conv2.bias"),
        ("transformer.layers.1.norm2.bias", "transformer.layers.1.layer_norm2.bias"),
    ],
)
def test_weights_of_the_same_shape_are_not_mixed_up(save, state, original_name, converted):
    loaded = load_sam_hq(save(state)).state_dict()
    assert torch.equal(loaded[f"mask_decoder.{converted}"], state[f"mask_decoder.{original_name}"])


# Sizes, classes, adaptation


@pytest.mark.parametrize("size", [(16, 16), (64, 96), (112, 48)])
def test_any_multiple_of_16_gives_logits_of_its_own_size(teacher, size):
    logits = teacher(torch.rand(2, 3, *size))
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


def test_classes_start_with_one_mask_and_the_background_with_its_opposite(teacher):
    with torch.no_grad():
        logits = teacher.decode(teacher.encode(torch.rand(1, 3, 64, 64)))
    assert logits.any()
    same(logits[:, 0], -logits[:, 1])
    same(logits[:, 2], logits[:, 1])


@torch.enable_grad()
def test_classes_learn_apart_and_gradient_reaches_all(tiny_sam_hq_config, randomise):
    teacher = randomise(SamHqTeacher(tiny_sam_hq_config, num_classes=3))
    F.cross_entropy(teacher(torch.rand(1, 3, 64, 64)), torch.zeros(1, 64, 64, dtype=torch.long)).backward()
    untouched = [name for name, p in teacher.named_parameters() if p.grad is None or not p.grad.any()]
    # Nothing depends on the bias of keys in a softmax.
    assert [name for name in untouched if not name.endswith("k_proj.bias")] == []
    grads = teacher.decoder.hq_tokens.weight.grad
    assert not torch.allclose(grads[0], grads[1])


def test_declared_layers_put_out_what_they_declare(teacher, output_shapes):
    shapes = output_shapes(teacher, teacher.feature_layers, torch.rand(1, 3, 32, 48))
    assert shapes == {**{f"encoder.layers.{i}": (1, 2, 3, 32) for i in range(3)}, "encoder.neck": (1, 32, 2, 3)}


def test_saved_teacher_gives_the_same_logits(tiny_sam_hq_folder, tmp_path, train_a_little):
    images = torch.rand(2, 3, 64, 96)
    network = train_a_little(add_lora(build_teacher(tiny_sam_hq_folder, 3), rank=2)).eval()
    expected = network(images)
    save_teacher(network, tmp_path / "teacher")
    loaded = load_teacher(tmp_path / "teacher")
    assert loaded.describe()["family"] == "sam_hq"
    assert_close(loaded(images), expected, rtol=1e-3, atol=1e-3)


# What is recognised and refused


@pytest.mark.parametrize("wrap", ["model", "module."])
def test_checkpoint_of_a_training_loads_as_the_weights_in_it(state, save, wrap):
    half = {name: value.half() for name, value in state.items()}
    wrapped = {f"module.{name}": value for name, value in half.items()} if wrap == "module." else {wrap: half}
    teacher = build_teacher(save(wrapped), 2)
    assert isinstance(teacher, SamHqTeacher)
    assert torch.equal(teacher.decoder.mask_conv1.bias, half["mask_decoder.embedding_maskfeature.0.bias"].float())


def test_families_do_not_take_each_others_checkpoints(original_checkpoint, save, state):
    assert isinstance(build_teacher(original_checkpoint, 2), SamTeacher)
    assert "not a checkpoint of SAM-HQ" in refusal_of_family("sam_hq")(original_checkpoint)
    assert "unknown" in refusal_of_family("sam")(save(state))


def test_folder_of_another_family_is_refused(tiny_sam_folder):
    assert "(it has sam)" in refused(tiny_sam_folder)


def test_missing_and_unknown_weights_are_named(state, save):
    name = "mask_decoder.embedding_encoder.1.bias"
    message = refused(save({(f"{key}es" if key == name else key): value for key, value in state.items()}))
    assert "mask_decoder.encoder_norm.bias is missing" in message
    assert "mask_decoder.encoder_norm.biases is unknown" in message


def test_light_variant_with_another_encoder_is_named(state, save):
    other = {name: value for name, value in state.items() if not name.startswith("image_encoder.pos_embed")}
    assert "not a checkpoint of SAM-HQ with SAM's encoder" in refused(save(other))


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_cut_file_is_named(state, save, share):
    path = save(state)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path)


@pytest.mark.parametrize(
    ("part", "entries", "said"),
    [
        ("vision_config", {"num_hidden_layers": 10**6}, "layers, its weights are"),
        ("vision_config", {"global_attn_indexes": [7]}, "none of its layers attends to the whole image"),
        ("mask_decoder_config", {"vit_dim": 48}, "does not fit its own config"),
    ],
)
def test_config_of_another_architecture_is_refused(tiny_sam_hq_folder, tmp_path, part, entries, said):
    config = json.loads((tiny_sam_hq_folder / "config.json").read_text(encoding="utf-8"))
    config[part] |= entries
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(load_file(tiny_sam_hq_folder / "model.safetensors"), tmp_path / "model.safetensors")
    assert said in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "is_one"), [("syscv-community/sam-hq-vit-base", True), ("facebook/sam-vit-base", False)]
)
def test_names_on_the_hub_tell_the_family_without_asking_it(monkeypatch, name, is_one):
    def found(*arguments, local_files_only, **options):
        assert local_files_only

    monkeypatch.setattr(model_files, "cached_file", found)
    assert SamHqTeacher.recognises(name) is is_one


@pytest.mark.parametrize(
    ("base_name", "is_known"),
    [("syscv-community/sam-hq-vit-huge", True), ("sam_hq_vit_b.pth", True), ("our_sam_hq_vit_b.pth", False)],
)
def test_published_ones_are_known_by_name(base_name, is_known):
    assert sam_hq_card(base_name) == (CARDS["sam_hq"] if is_known else None)
