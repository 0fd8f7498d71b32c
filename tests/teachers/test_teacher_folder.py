"""A fine-tuned teacher on disk: apart from its base, and fit for no other."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import IA3Config
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from common.errors import InputError
from common.files import provenance
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora
from common.teachers.sam import SamTeacher

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def saved(tiny_sam_folder, tmp_path_factory, train_a_little):
    """The folder of a fine-tuned teacher, and the logits it gives."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    network = train_a_little(add_lora(SamTeacher(tiny_sam_folder, num_classes=3), rank=2, alpha=8)).eval()
    save_teacher(network, folder)
    return folder, logits_of(network)


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(saved[0], tmp_path / "teacher")


@torch.no_grad()
def logits_of(network: nn.Module) -> torch.Tensor:
    return network(IMAGES)


def refused(*arguments) -> str:
    with pytest.raises(InputError) as caught:
        load_teacher(*arguments)
    return str(caught.value)


def test_loaded_teacher_gives_the_logits_it_was_saved_with(saved):
    folder, logits = saved
    assert_close(logits_of(load_teacher(folder)), logits, rtol=1e-3, atol=1e-3)


def test_loaded_teacher_is_merged_frozen_and_in_eval_mode(saved):
    teacher = load_teacher(saved[0])
    assert isinstance(teacher, SamTeacher)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(isinstance(module, LoraLayer) for module in teacher.modules())
    assert not any(word in name for name in teacher.state_dict() for word in ("lora_", "base_layer", "modules_to_save"))


def test_base_may_have_moved_and_keeps_its_name(saved, folder, tiny_sam_folder, tmp_path):
    moved = shutil.copytree(tiny_sam_folder, tmp_path / "moved")
    description = (folder / "teacher.json").read_text()
    (folder / "teacher.json").write_text(description.replace(str(tiny_sam_folder), "gone/with/the/disk"))
    loaded = load_teacher(folder, moved)
    assert_close(logits_of(loaded), saved[1], rtol=1e-3, atol=1e-3)
    assert loaded.base_name == "tiny"
    assert "gone/with/the/disk" in refused(folder)


def test_what_the_teacher_was_built_with_is_kept(tmp_path, tiny_sam_folder):
    teacher = SamTeacher(tiny_sam_folder, num_classes=6, input_scale=2, pixel_normalisation="none")
    save_teacher(add_lora(teacher), tmp_path / "teacher")
    assert load_teacher(tmp_path / "teacher").describe() == teacher.describe()
    assert teacher.describe()["num_classes"] == 6


def test_a_teacher_of_an_earlier_version_sees_arrays_as_it_did(saved, folder):
    description = json.loads((folder / "teacher.json").read_text())
    assert description.pop("upright")
    (folder / "teacher.json").write_text(json.dumps(description))
    loaded = load_teacher(folder)
    assert not loaded.upright
    assert_close(loaded(IMAGES.mT).mT, saved[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("upright", ["false", 0, None])
def test_how_it_sees_images_is_true_or_false(folder, upright):
    description = json.loads((folder / "teacher.json").read_text())
    (folder / "teacher.json").write_text(json.dumps({**description, "upright": upright}))
    assert "upright must be true or false" in refused(folder)


def test_provenance_of_its_students_is_read_from_its_folder(saved):
    facts = provenance.of_teacher(saved[0])
    assert (facts["teacher"], facts["fine_tuned"]) == ("tiny", True)


def test_saved_files_are_safetensors_and_json_and_hold_no_base(saved, tiny_sam_folder):
    sizes = {path.name: path.stat().st_size for path in saved[0].iterdir()}
    assert set(sizes) == {"adapter_config.json", "adapter_model.safetensors", "teacher.json"}
    weights = load_file(saved[0] / "adapter_model.safetensors")
    prefix = "base_model.model."
    adapter = {name: value for name, value in weights.items() if name.startswith(f"{prefix}encoder.")}
    assert sum(value.numel() for value in adapter.values()) == 2 * 2 * ((32 + 96) + (32 + 32))  # layers, rank
    assert all("lora_" in name for name in adapter)
    decoder = SamTeacher(tiny_sam_folder, num_classes=3).decoder.state_dict()
    assert weights.keys() - adapter.keys() == {f"{prefix}decoder.{name}" for name in decoder}


def test_saving_again_replaces_the_folder(folder, saved, tiny_sam_folder):
    (folder / "stale.txt").write_text("old")
    network = add_lora(SamTeacher(tiny_sam_folder, num_classes=2), rank=1).eval()
    save_teacher(network, folder)
    assert not (folder / "stale.txt").exists()
    assert_close(logits_of(load_teacher(folder)), logits_of(network))


def test_saving_asks_nobody_on_the_network(folder, tiny_sam_folder, monkeypatch):
    def offline(*arguments, **keywords):
        pytest.fail("the network was used")

    monkeypatch.setattr("socket.socket.connect", offline)
    save_teacher(add_lora(SamTeacher(tiny_sam_folder, num_classes=2)), folder)
    load_teacher(folder)


# What bad input gets


def test_another_base_of_the_same_shape_is_refused(saved, make_sam, tmp_path):
    make_sam(seed=5).save_pretrained(tmp_path / "other")
    message = refused(saved[0], tmp_path / "other")
    assert str(saved[0]) in message
    assert f"does not fit the base '{tmp_path / 'other'}'" in message
    size, again = (part.split(" parameters and fingerprint ")[0].split()[-1] for part in message.split(", this one"))
    assert size == again
    assert "run finetune_teacher again" in message


def test_base_of_another_width_is_refused_with_both_sizes(saved, make_sam, tmp_path):
    make_sam(hidden_size=48).save_pretrained(tmp_path / "wider")
    message = refused(saved[0], tmp_path / "wider")
    size, other = (part.split(" parameters and fingerprint ")[0].split()[-1] for part in message.split(", this one"))
    assert int(size.replace(",", "")) < int(other.replace(",", ""))


def test_one_changed_weight_makes_another_base(saved, tiny_sam_folder, tmp_path):
    other = shutil.copytree(tiny_sam_folder, tmp_path / "other")
    state = load_file(other / "model.safetensors")
    state["vision_encoder.layers.1.attn.rel_pos_w"][0, 0] += 1e-3
    save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    assert "does not fit the base" in refused(saved[0], other)


def test_base_that_came_from_no_file_has_to_be_given(tmp_path, tiny_sam_config):
    teacher = SamTeacher(tiny_sam_config, num_classes=2)
    save_teacher(add_lora(teacher), tmp_path / "teacher")
    assert "came from no file: give it as 'pretrained'" in refused(tmp_path / "teacher")


def test_folder_without_a_teacher_is_named_with_the_stage_that_makes_it(tmp_path):
    message = refused(tmp_path / "teacher")
    assert str(tmp_path / "teacher") in message
    assert "run finetune_teacher first" in message


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    message = refused(folder)
    assert str(folder) in message
    assert f"{name} is missing" in message


@pytest.mark.parametrize("name", ["teacher.json", "adapter_config.json", "adapter_model.safetensors"])
def test_truncated_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    message = refused(folder)
    assert str(folder) in message
    assert "damaged" in message


@pytest.mark.parametrize("part", ["encoder.", "decoder."])
def test_file_that_lacks_weights_is_refused(folder, part):
    path = folder / "adapter_model.safetensors"
    state = load_file(path)
    del state[max(name for name in state if part in name)]
    save_file(state, path)
    assert "damaged" in refused(folder)


def test_file_with_weights_of_its_own_is_refused(folder):
    path = folder / "adapter_model.safetensors"
    save_file({**load_file(path), "base_model.model.head.weight": torch.zeros(2)}, path)
    assert "head.weight" in refused(folder)


def test_weights_of_another_shape_are_refused(folder):
    path = folder / "adapter_model.safetensors"
    state = load_file(path)
    name = next(name for name in state if ".lora_A." in name)
    state[name] = state[name][:1].clone()
    save_file(state, path)
    assert "damaged" in refused(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda description: description.pop("base"),
        lambda description: description.pop("num_classes"),
        lambda description: description.update(base={"width": 32}),
        lambda description: description.update(colour="red"),
        lambda description: description.update(pixel_normalisation={"mean": [0.5]}),
        lambda description: description.update(num_classes="three"),
    ],
)
def test_description_that_is_no_teachers_is_named(folder, change):
    description = json.loads((folder / "teacher.json").read_text())
    change(description)
    (folder / "teacher.json").write_text(json.dumps(description))
    message = refused(folder)
    assert str(folder / "teacher.json") in message
    assert "run finetune_teacher again" in message


def test_description_that_is_a_list_is_named(folder):
    (folder / "teacher.json").write_text("[]")
    assert "teacher.json is damaged" in refused(folder)


def test_adapter_of_another_method_is_refused(folder):
    IA3Config(target_modules=["qkv"], feedforward_modules=[]).save_pretrained(folder)
    assert "is of IA3, not of LoRA" in refused(folder)


def test_pickles_in_the_folder_are_not_opened(folder, trap):
    path, sprung = trap
    (folder / "adapter_model.safetensors").unlink()
    shutil.copy(path, folder / "adapter_model.bin")
    refused(folder)
    assert not sprung.exists()


def test_folder_of_something_else_is_not_replaced(tiny_sam_folder, tmp_path):
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "lesson.txt").write_text("somebody's", encoding="utf-8")
    with pytest.raises(InputError, match=r"teacher exists and holds no teacher\.json, so it is not overwritten"):
        save_teacher(add_lora(SamTeacher(tiny_sam_folder, num_classes=2)), tmp_path / "teacher")
    assert [path.name for path in (tmp_path / "teacher").iterdir()] == ["lesson.txt"]
