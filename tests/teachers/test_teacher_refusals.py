"""What every family of teachers refuses in one line: each other's weights, and what a saved teacher does not fit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from monai.networks.nets import UNet
from peft.tuners.lora import LoraLayer
from refusals import refusal_of_family
from safetensors.torch import load_file, save_file
from tiny_sam_format import make_checkpoint
from torch import nn
from transformers import AutoModel, Dinov2Config

from common.errors import InputError
from common.teachers import TEACHERS, build_teacher, find_family
from common.teachers.efficient_sam import EfficientSam
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora


def make_unet() -> UNet:
    return UNet(2, 3, 2, (4, 8), (2,))


FAMILIES = tuple(TEACHERS)  # a new one needs weights below
OPTIONS: dict[str, Callable[[], dict]] = {"network": lambda: {"network": make_unet()}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory, tiny_sam_folder, tiny_sam_hq_folder, tiny_sam2_folder) -> dict[str, Path]:
    """Weights of each family; not to be changed."""
    root = tmp_path_factory.mktemp("families")
    torch.manual_seed(0)
    torch.save(make_checkpoint(3), root / "mobile_sam.pt")
    torch.save(make_unet().state_dict(), root / "unet.pt")
    torch.save(EfficientSam(192).state_dict(), root / "efficient_sam_vitt.pt")
    small = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    AutoModel.from_config(Dinov2Config(**small)).save_pretrained(root / "dinov2")
    return {
        "sam": tiny_sam_folder,
        "tiny_sam": root / "mobile_sam.pt",
        "sam_hq": tiny_sam_hq_folder,
        "sam2": tiny_sam2_folder,
        "efficient_sam": root / "efficient_sam_vitt.pt",
        "backbone": root / "dinov2",
        "network": root / "unet.pt",
    }


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param


@pytest.fixture
def teacher(family, weights):
    return build_teacher(weights[family], 2, family=family, **options_of(family))


def options_of(family: str) -> dict:
    return OPTIONS.get(family, dict)()


def test_its_neck_is_there_for_distillation_which_pairs_it_with_the_students(teacher):
    assert "encoder.neck" in teacher.feature_layers.keys() & dict(teacher.named_modules()).keys()


# Weights


@pytest.mark.parametrize("other", FAMILIES)
def test_weights_of_another_family_are_refused(family, other, weights):
    if other != family:
        refusal_of_family(family, **options_of(family))(weights[other])


@pytest.mark.parametrize("other", [name for name in FAMILIES if name != "network"])
def test_family_is_told_from_the_weights(other, weights):
    assert build_teacher(weights[other], 2).family == other


def test_half_precision_weights_of_a_backbone_are_loaded_as_floats(weights, tmp_path):
    model = AutoModel.from_pretrained(weights["backbone"]).half()
    model.save_pretrained(tmp_path / "half")
    encoder = build_teacher(tmp_path / "half", 2).encoder
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert torch.equal(encoder.backbone.embeddings.cls_token, model.embeddings.cls_token.float())


def test_half_precision_checkpoint_of_sam_is_loaded_as_floats(original, tmp_path):
    state = {name: value.half() for name, value in original.state_dict().items()}
    torch.save(state, tmp_path / "half.pth")
    encoder = build_teacher(tmp_path / "half.pth", 2).encoder
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert torch.equal(encoder.pos_embed, state["image_encoder.pos_embed"].float())


@pytest.mark.parametrize("of", ["sam", "sam_hq", "sam2", "backbone"])
def test_pickles_in_a_folder_are_not_opened(of, weights, tmp_path, trap):
    path, sprung = trap
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes((weights[of] / "config.json").read_bytes())
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(path.read_bytes())
    assert "model.safetensors" in refusal_of_family(of)(tmp_path / "model")
    assert not sprung.exists()


def test_unknown_weights_in_a_folder_of_sam_are_named(weights, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes((weights["sam"] / "config.json").read_bytes())
    state = {**load_file(weights["sam"] / "model.safetensors"), "vision_encoder.adapter": torch.zeros(2)}
    save_file(state, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    assert "vision_encoder.adapter is unknown" in refusal_of_family("sam")(tmp_path / "model")


# What it is used with


def test_size_that_the_stride_does_not_divide_is_named(teacher):
    size = 3 * teacher.stride + 1
    with pytest.raises(
        ValueError, match=f"image size {size}x{size}.* divisible by the teacher's stride {teacher.stride}"
    ):
        teacher(torch.rand(1, 3, size, size))


def test_layers_that_the_encoder_does_not_have_are_named_with_those_it_has(family, teacher):
    message = "lora_targets: the encoder of the .* has no .*layers called no_such_layer; it has "
    with pytest.raises(InputError, match=message) as caught:
        add_lora(teacher, target_modules=["no_such_layer"])
    known = str(caught.value).rpartition("it has ")[2].split(", ")
    assert {name.rpartition(".")[2] for name in teacher.lora_layers} <= set(known)


@pytest.mark.parametrize(("of", "where"), [("sam", ".attn."), ("sam2", ".attn."), ("tiny_sam", "")])
def test_layers_that_nobody_names_are_all_linear_ones_of_the_attention_or_of_the_encoder(of, where, weights):
    teacher = build_teacher(weights[of], 2)
    linear = {f"encoder.{name}" for name, module in teacher.encoder.named_modules() if isinstance(module, nn.Linear)}
    network = add_lora(teacher, rank=1).get_base_model()
    adapted = {name for name, module in network.named_modules() if isinstance(module, LoraLayer)}
    assert adapted == {name for name in linear if where in name}


# Saved teachers


@pytest.fixture
def saved(family, teacher, tmp_path) -> SimpleNamespace:
    save_teacher(add_lora(teacher, rank=1), tmp_path / "teacher")
    return SimpleNamespace(folder=tmp_path / "teacher", description=tmp_path / "teacher" / "teacher.json")


def test_base_that_is_gone_is_named(saved, tmp_path):
    description = json.loads(saved.description.read_text(encoding="utf-8"))
    gone = tmp_path / "gone" / Path(description["pretrained"]).name
    saved.description.write_text(json.dumps({**description, "pretrained": str(gone)}), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(str(gone))):
        load_teacher(saved.folder)


def test_base_with_one_other_weight_is_refused(family, saved, weights, tmp_path):
    other = _with_another_weight(weights[family], tmp_path / "other")
    with pytest.raises(InputError, match=r"does not fit the base .* Give the base it was trained on as 'pretrained'"):
        load_teacher(saved.folder, other)
    load_teacher(saved.folder, weights[family])


def _with_another_weight(source: Path, target: Path) -> Path:
    """Copy weights with the largest of the encoder's altered."""
    if source.is_file():
        state = torch.load(source, weights_only=True)
        _alter(state, "image_encoder" if "image_encoder.neck.0.weight" in state else "")
        torch.save(state, target.with_suffix(".pth"))
        return target.with_suffix(".pth")
    target.mkdir()
    (target / "config.json").write_bytes((source / "config.json").read_bytes())
    state = load_file(source / "model.safetensors")
    _alter(state, "vision_encoder" if any(name.startswith("vision_encoder") for name in state) else "")
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    return target


def _alter(state: dict[str, torch.Tensor], prefix: str) -> None:
    name = max((name for name in state if name.startswith(prefix)), key=lambda name: state[name].numel())
    state[name].view(-1)[0] += 0.1


# Packages


def test_family_whose_package_is_missing_is_refused_with_its_name_and_others_work(monkeypatch, tiny_sam_folder, caplog):
    monkeypatch.setitem(TEACHERS, "newer", "needs_a_package:NewerTeacher")
    monkeypatch.syspath_prepend(Path(__file__).parent / "families")
    with pytest.raises(InputError, match=r"family 'newer' cannot be used here .* install package_that_nobody_has"):
        find_family("newer")
    with pytest.raises(InputError, match="install package_that_nobody_has"):
        build_teacher(tiny_sam_folder, 2, family="newer")
    assert build_teacher(tiny_sam_folder, 2).family == "sam"
    assert "install package_that_nobody_has, or a version of it that has this; it is left out" in caplog.text


def test_version_of_a_package_that_lacks_something_is_told(monkeypatch):
    monkeypatch.setitem(TEACHERS, "newer", "needs_a_newer_version:NewerTeacher")
    monkeypatch.syspath_prepend(Path(__file__).parent / "families")
    with pytest.raises(InputError, match=r"cannot import name 'Sam99Model' from 'transformers'.* install transformers"):
        find_family("newer")
