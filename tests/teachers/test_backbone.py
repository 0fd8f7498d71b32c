"""Encoders of transformers as teachers: sizes, levels, LoRA, weights on disk, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from peft.tuners.lora import LoraLayer
from refusals import refusal_of_family
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import (
    AutoModel,
    ConvNextV2Config,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    DINOv3ConvNextConfig,
    DINOv3ViTConfig,
    SwinConfig,
    Swinv2Config,
)

from common.teachers import build_teacher, model_files
from common.teachers.backbone import BackboneTeacher
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora

VIT = {"hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 2}
STAGES = {"depths": [1, 1, 1, 1], "drop_path_rate": 0.5}
WINDOWS = {**STAGES, "embed_dim": 12, "num_heads": [1, 2, 2, 4], "window_size": 4, "image_size": 64}
CONFIGS = {
    "dinov2": Dinov2Config(**VIT, image_size=56, patch_size=14, mlp_ratio=2),
    "dinov2_with_registers": Dinov2WithRegistersConfig(**VIT, image_size=56, patch_size=14, mlp_ratio=2),
    "dinov3_vit": DINOv3ViTConfig(**VIT, intermediate_size=64, num_register_tokens=2, pos_embed_rescale=2.0),
    "dinov3_convnext": DINOv3ConvNextConfig(hidden_sizes=[8, 16, 24, 32], **STAGES),
    "swin": SwinConfig(**WINDOWS),
    "swinv2": Swinv2Config(**WINDOWS),
    "convnextv2": ConvNextV2Config(hidden_sizes=[8, 16, 24, 32], **STAGES),
}
STRIDES = {"dinov2": 14, "dinov2_with_registers": 14, "dinov3_vit": 16}  # else 32
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
LORA_LAYERS = {
    "dinov3_convnext": {"pointwise_conv1", "pointwise_conv2"},
    "swinv2": {"query", "key", "value", "dense"},
    "convnextv2": {"pwconv1", "pwconv2"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Whole models with random weights, as ``save_pretrained`` writes them; not to be changed."""
    root = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    for name, config in CONFIGS.items():
        AutoModel.from_config(config).save_pretrained(root / name)
    return {name: root / name for name in CONFIGS}


@pytest.fixture(params=CONFIGS)
def name(request) -> str:
    return request.param


def images_for(name: str) -> torch.Tensor:
    stride = STRIDES.get(name, 32)
    return torch.rand(1, 3, 2 * stride, 3 * stride, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_weights_of_a_whole_model_tell_the_family_and_give_logits_of_any_size_the_stride_divides(folders, name):
    teacher = build_teacher(folders[name], 3).eval()
    assert isinstance(teacher, BackboneTeacher)
    assert teacher.stride == STRIDES.get(name, 32)
    images = images_for(name)
    assert teacher(images).shape == (1, 3, *images.shape[2:])
    with pytest.raises(ValueError, match=f"divisible by the teacher's stride {teacher.stride}"):
        teacher(images[..., :-2])


@torch.no_grad()
@pytest.mark.parametrize("size", [64, 128])
def test_dinov2_sees_the_sizes_of_a_student_at_seven_quarters(folders, size):
    teacher = build_teacher(folders["dinov2"], 2, input_scale=1.75).eval()
    assert teacher(torch.rand(1, 3, size, size)).shape == (1, 2, size, size)


@torch.no_grad()
def test_features_are_those_of_the_model(folders):
    """The last level of DINOv2 is what the whole model puts out, without its class token."""
    teacher = build_teacher(folders["dinov2"], 2).eval()
    images = images_for("dinov2")
    expected = AutoModel.from_pretrained(folders["dinov2"]).eval()(images).last_hidden_state[:, 1:]
    last = teacher.encode(images)[:, -32:].flatten(2).transpose(1, 2)
    assert_close(last, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_declared_layers_put_out_maps(folders, name, output_shapes):
    teacher = build_teacher(folders[name], 2).eval()
    shapes = output_shapes(teacher, teacher.feature_layers, images_for(name))
    plain = name in STRIDES
    sizes = [(2, 3)] * 4 if plain else [(16, 24), (8, 12), (4, 6), (2, 3)]
    levels = [shapes.pop(f"encoder.levels.{index}") for index in range(4)]
    assert [shape[2:] for shape in levels] == sizes
    assert shapes == {"encoder.neck": (1, sum(shape[1] for shape in levels), *sizes[0])}


def test_lora_layers_are_found_by_type(folders, name):
    network = add_lora(build_teacher(folders[name], 2), rank=2).get_base_model()
    adapted = {layer for layer, module in network.named_modules() if isinstance(module, LoraLayer)}
    assert {layer.rpartition(".")[2] for layer in adapted} == LORA_LAYERS.get(name, ATTENTION)
    assert all(layer.startswith("encoder.") for layer in adapted)
    assert "convnext" in name or all("attention" in layer for layer in adapted)


@torch.no_grad()
def test_frozen_encoder_does_the_same_in_training(folders, name):
    teacher = build_teacher(folders[name], 2)
    images = images_for(name)
    assert_close(teacher.train().encode(images), teacher.eval().encode(images))


def test_saved_teacher_gives_the_same_logits(folders, name, tmp_path, train_a_little):
    network = train_a_little(add_lora(build_teacher(folders[name], 2), rank=2)).eval()
    with torch.no_grad():
        expected = network(images_for(name))
        save_teacher(network, tmp_path / "teacher")
        assert_close(load_teacher(tmp_path / "teacher")(images_for(name)), expected, rtol=1e-3, atol=1e-3)


def test_adapters_and_decoder_receive_gradient(folders, name):
    network = add_lora(build_teacher(folders[name], 2), rank=2).train()
    for module in network.modules():
        if isinstance(module, LoraLayer):
            torch.nn.init.ones_(module.lora_B["default"].weight)  # zeros would hold back the gradient
    network(images_for(name)).square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


# What is refused


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("facebook/dinov2-small", True), ("microsoft/Swin-tiny", True), ("facebook/sam-vit-base", False)],
)
def test_names_on_the_hub_tell_the_family_without_asking_it(monkeypatch, name, is_one):
    def found(*arguments, local_files_only, **options):
        assert local_files_only

    monkeypatch.setattr(model_files, "cached_file", found)
    assert BackboneTeacher.recognises(name) is is_one


def test_backbone_that_the_hub_does_not_give_is_named(monkeypatch):
    monkeypatch.setattr(model_files, "cached_file", lambda *arguments, **options: None)
    assert "check its name and your connection" in refused("facebook/dinov2-small")


@pytest.fixture
def copy(folders, tmp_path):
    """Write DINOv2 with another config and other weights."""

    def write(change_config=lambda config: config, change_state=lambda state: state):
        folder = tmp_path / "changed"
        folder.mkdir()
        config = json.loads((folders["dinov2"] / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(change_config(config)), encoding="utf-8")
        save_file(change_state(load_file(folders["dinov2"] / "model.safetensors")), folder / "model.safetensors")
        return folder

    return write


refused = refusal_of_family("backbone")


def test_missing_and_unknown_weights_are_named(copy):
    name = "encoder.layer.2.norm1.weight"
    folder = copy(change_state=lambda state: {(f"{k}s" if k == name else k): v for k, v in state.items()})
    message = refused(folder)
    assert f"{name} is missing" in message
    assert f"{name}s is unknown" in message


def test_weights_of_another_size_are_refused(copy):
    refused(copy(change_config=lambda config: {**config, "hidden_size": 48}))


def test_more_layers_than_weights_are_refused(copy):
    assert "100000 layers" in refused(copy(change_config=lambda config: {**config, "num_hidden_layers": 100_000}))


def test_other_architecture_is_named_with_those_there_are(copy):
    message = refused(copy(change_config=lambda config: {**config, "model_type": "bert"}))
    assert "dinov3_convnext" in message
    assert "(it has bert)" in message


def test_cut_weights_are_refused(copy):
    folder = copy()
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    refused(folder)


def test_folder_without_weights_is_refused(copy):
    folder = copy()
    (folder / "model.safetensors").unlink()
    assert "model.safetensors is missing" in refused(folder)


def test_weights_that_are_not_finite_are_refused(copy):
    name = "embeddings.cls_token"
    assert name in refused(copy(change_state=lambda state: {**state, name: state[name] * float("nan")}))
