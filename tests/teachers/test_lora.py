"""The teacher's adaptation: few parameters, kept apart from the base, and fit for no other base."""

from __future__ import annotations

import shutil

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close
from transformers import SamConfig

from common.errors import InputError
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora, count_parameters, merge_lora
from common.teachers.sam import SamSegmenter

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def teacher(tiny_sam_folder) -> SamSegmenter:
    return add_lora(SamSegmenter(tiny_sam_folder, num_classes=3), rank=2, alpha=8).eval()


def train_a_little(teacher: SamSegmenter) -> SamSegmenter:
    """Move everything that trains."""
    torch.manual_seed(3)
    for parameter in teacher.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return teacher


@pytest.fixture(scope="module")
def saved(tiny_sam_folder, tmp_path_factory):
    """The folder of a fine-tuned teacher, and the logits it gives."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    teacher = train_a_little(add_lora(SamSegmenter(tiny_sam_folder, num_classes=3), rank=2, alpha=8)).eval()
    save_teacher(teacher, folder, tiny_sam_folder)
    with torch.no_grad():
        return folder, teacher(IMAGES)


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(saved[0], tmp_path / "teacher")


@torch.no_grad()
def answer(teacher: SamSegmenter) -> torch.Tensor:
    return teacher(IMAGES)


def refused(*arguments) -> str:
    with pytest.raises(InputError) as caught:
        load_teacher(*arguments)
    return str(caught.value)


# Training


@pytest.fixture(scope="module")
def vit_b() -> SamSegmenter:
    """The teacher at its real size, without the memory it takes."""
    with torch.device("meta"):
        return add_lora(SamSegmenter(SamConfig(), num_classes=2))


def test_less_than_5_percent_of_vit_b_trains_decoder_included(vit_b):
    trainable, total = count_parameters(vit_b)
    assert total > 90e6
    assert 0 < trainable / total < 0.05
    assert trainable == sum(p.numel() for p in vit_b.parameters() if p.requires_grad)


def test_adapters_of_vit_b_have_the_size_of_their_rank(vit_b):
    adapters = sum(p.numel() for name, p in vit_b.named_parameters() if ".lora_" in name)
    assert adapters == 12 * 8 * ((768 + 3 * 768) + (768 + 768))  # layers, rank, qkv and proj


def test_adapters_sit_on_the_encoders_attention_alone(teacher):
    adapted = [name for name, module in teacher.named_modules() if isinstance(module, LoraLayer)]
    layers = ("encoder.layers.0.attn", "encoder.layers.1.attn")
    assert sorted(adapted) == [f"{layer}.{part}" for layer in layers for part in ("proj", "qkv")]


def test_only_adapters_and_decoder_receive_gradient(teacher):
    train_a_little(teacher)(IMAGES).square().sum().backward()
    reached = {name for name, p in teacher.named_parameters() if p.grad is not None and p.grad.any()}
    adapters = {name for name, _ in teacher.named_parameters() if ".lora_" in name}
    assert {name for name in reached if name.startswith("encoder.")} == adapters
    decoder = {name for name, _ in teacher.named_parameters() if name.startswith(("decoder.", "no_mask_embed."))}
    without_effect = {name for name in decoder if name.endswith("k_proj.bias")}  # a softmax ignores it
    assert decoder - without_effect <= reached
    assert not any(name.startswith("position_embedding.") for name in reached)


def test_fresh_adapters_change_nothing(teacher, tiny_sam_folder):
    assert torch.equal(answer(teacher), answer(SamSegmenter(tiny_sam_folder, num_classes=3).eval()))


def test_trained_adapters_matter(teacher):
    """Without this, nothing else here would say much."""
    before = answer(teacher)
    for name, parameter in teacher.named_parameters():
        if ".lora_B" in name:
            parameter.data += 0.1
    assert not torch.allclose(answer(teacher), before, rtol=0.01)


def test_adapters_are_scaled_by_alpha_over_rank(teacher):
    layer = train_a_little(teacher).encoder.layers[0].attn.proj
    x = torch.rand(1, 32)
    low, high = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert_close(layer(x), layer.base_layer(x) + 8 / 2 * x @ low.T @ high.T)


def test_merging_keeps_the_function_and_leaves_no_adapter(teacher):
    before = answer(train_a_little(teacher))
    merged = merge_lora(teacher)
    assert_close(answer(merged), before, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, LoraLayer) for module in merged.modules())
    assert not any(".lora_" in name or ".base_layer" in name for name in merged.state_dict())


# On disk


def test_loaded_teacher_gives_the_logits_it_was_saved_with(saved):
    folder, logits = saved
    assert_close(answer(load_teacher(folder)), logits, rtol=1e-3, atol=1e-3)


def test_loaded_teacher_is_merged_frozen_and_in_eval_mode(saved):
    teacher = load_teacher(saved[0])
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(isinstance(module, LoraLayer) for module in teacher.modules())


def test_base_may_have_moved(saved, folder, tiny_sam_folder, tmp_path):
    moved = shutil.copytree(tiny_sam_folder, tmp_path / "moved")
    description = (folder / "teacher.json").read_text()
    (folder / "teacher.json").write_text(description.replace(str(tiny_sam_folder), "gone/with/the/disk"))
    assert_close(answer(load_teacher(folder, moved)), saved[1], rtol=1e-3, atol=1e-3)
    assert "gone/with/the/disk" in refused(folder)


def test_input_scale_and_classes_are_kept(tmp_path, tiny_sam_folder):
    teacher = add_lora(SamSegmenter(tiny_sam_folder, num_classes=6, input_scale=2))
    save_teacher(teacher, tmp_path / "teacher", tiny_sam_folder)
    loaded = load_teacher(tmp_path / "teacher")
    assert (loaded.num_classes, loaded.input_scale) == (6, 2)


def test_saved_files_are_safetensors_and_json_and_hold_no_base(saved, tiny_sam_folder):
    sizes = {path.name: path.stat().st_size for path in saved[0].iterdir()}
    assert set(sizes) == {"adapter_config.json", "adapter_model.safetensors", "decoder.safetensors", "teacher.json"}
    adapter = load_file(saved[0] / "adapter_model.safetensors")
    assert sum(value.numel() for value in adapter.values()) == 2 * 2 * ((32 + 96) + (32 + 32))  # layers, rank
    assert all("lora_" in name for name in adapter)
    decoder = load_file(saved[0] / "decoder.safetensors")
    assert not any(name.startswith("encoder.") for name in decoder)
    assert sizes["adapter_model.safetensors"] < 0.05 * (tiny_sam_folder / "model.safetensors").stat().st_size


def test_saving_again_replaces_the_folder(folder, teacher, tiny_sam_folder):
    (folder / "stale.txt").write_text("old")
    save_teacher(teacher, folder, tiny_sam_folder)
    assert not (folder / "stale.txt").exists()
    assert_close(answer(load_teacher(folder)), answer(teacher))


# What bad input gets


def test_another_base_of_the_same_shape_is_refused(saved, make_sam, tmp_path):
    make_sam(seed=5).save_pretrained(tmp_path / "other")
    message = refused(saved[0], tmp_path / "other")
    assert str(saved[0]) in message
    assert f"does not fit the base '{tmp_path / 'other'}'" in message
    assert message.count("width 32, depth 2 and fingerprint") == 2
    assert "run finetune_teacher again" in message


def test_base_of_another_width_is_refused_with_both_widths(saved, make_sam, tmp_path):
    make_sam(hidden_size=48).save_pretrained(tmp_path / "wider")
    message = refused(saved[0], tmp_path / "wider")
    assert "SAM of width 32" in message
    assert "this one has width 48" in message


def test_one_changed_weight_makes_another_base(saved, tiny_sam_folder, tmp_path):
    other = shutil.copytree(tiny_sam_folder, tmp_path / "other")
    state = load_file(other / "model.safetensors")
    state["vision_encoder.layers.1.attn.rel_pos_w"][0, 0] += 1e-3
    save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    assert "does not fit the base" in refused(saved[0], other)


def test_folder_without_a_teacher_is_named_with_the_stage_that_makes_it(tmp_path):
    message = refused(tmp_path / "teacher")
    assert str(tmp_path / "teacher") in message
    assert "run finetune_teacher first" in message


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "decoder.safetensors"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert str(folder) in refused(folder)


@pytest.mark.parametrize(
    "name", ["teacher.json", "adapter_config.json", "adapter_model.safetensors", "decoder.safetensors"]
)
def test_truncated_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    message = refused(folder)
    assert str(folder) in message
    assert "damaged" in message


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "decoder.safetensors"])
def test_file_that_lacks_weights_is_refused(folder, name):
    state = load_file(folder / name)
    del state[sorted(state)[-1]]
    save_file(state, folder / name)
    assert "damaged" in refused(folder)


def test_pickles_in_the_folder_are_not_opened(folder, trap):
    path, sprung = trap
    (folder / "adapter_model.safetensors").unlink()
    shutil.copy(path, folder / "adapter_model.bin")
    refused(folder)
    assert not sprung.exists()


def test_parameters_are_counted_apart():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1).requires_grad_(False))
    assert count_parameters(network) == (9, 13)
