"""Networks of MONAI and students of earlier runs as teachers: what they compute, LoRA, features, weights on disk."""

from __future__ import annotations

import copy
import json
import logging
from collections import OrderedDict

import pytest
import torch
from monai.networks.nets import AttentionUnet, BasicUNet, BasicUNetPlusPlus, DynUNet, SwinUNETR, UNet
from peft.tuners.lora import LoraLayer
from refusals import refusal_of_family
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from common.distillation.feature_hooks import FeatureHooks
from common.errors import InputError
from common.files.provenance import of_training
from common.files.weights import save_weights
from common.students.describing import describe
from common.students.vit import ViTSegmenter
from common.teachers import affordable_scale, build_teacher, suitable_scale
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora
from common.teachers.network import NetworkTeacher

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
NETWORKS = {
    "UNet": lambda: UNet(2, 3, 2, (4, 8, 12), (2, 2), num_res_units=1, norm="batch", dropout=0.3),
    "BasicUNet": lambda: BasicUNet(2, 3, 2, features=(4, 4, 8, 8, 8, 4)),
    "DynUNet": lambda: DynUNet(2, 3, 2, [3] * 3, [1, 2, 2], [2, 2], [4, 8, 8], deep_supervision=True, deep_supr_num=1),
    "SwinUNETR": lambda: SwinUNETR(3, 2, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), feature_size=12, spatial_dims=2),
    "BasicUNetPlusPlus": lambda: BasicUNetPlusPlus(2, 3, 2, features=(4, 4, 8, 8, 8, 4)),
    "AttentionUnet": lambda: AttentionUnet(2, 3, 2, (4, 8, 12), (2, 2)),
    "ViTSegmenter": lambda: ViTSegmenter(hidden_size=24, depth=2, num_heads=2, conv_channels=(4, 8)),
}
STRIDES = {"UNet": 4, "BasicUNet": 16, "DynUNet": 4, "SwinUNETR": 32, "BasicUNetPlusPlus": 16, "AttentionUnet": 4}


@pytest.fixture(params=NETWORKS)
def name(request) -> str:
    return request.param


@pytest.fixture
def made(name, randomise):
    """A network with weights that no other has."""
    torch.manual_seed(0)
    return randomise(NETWORKS[name]()).eval()


@pytest.fixture
def weights(made, tmp_path):
    torch.save(made.state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.fixture
def unet(tmp_path):
    """A small U-Net, and the file of its weights."""
    network = NETWORKS["UNet"]().eval()
    torch.save(network.state_dict(), tmp_path / "unet.pt")
    return network, tmp_path / "unet.pt"


def first_of(output):
    return output[0] if isinstance(output, list) else output


# What it computes


@torch.no_grad()
def test_fresh_teacher_is_what_the_network_is_in_training_too(name, made, weights):
    teacher = build_teacher(weights, 2, network=NETWORKS[name]()).train()
    assert isinstance(teacher, NetworkTeacher)
    assert teacher.stride == STRIDES.get(name, 16)
    assert_close(teacher(IMAGES), first_of(made(IMAGES)))


@torch.no_grad()
def test_other_classes_get_a_head_over_the_networks_own(unet):
    network, path = unet
    teacher = build_teacher(path, 5, network=NETWORKS["UNet"]()).eval()
    assert_close(teacher.encode(IMAGES), network(IMAGES))
    assert teacher(IMAGES).shape == (2, 5, 64, 96)


@torch.no_grad()
def test_network_of_grey_images_sees_grey(tmp_path):
    network = UNet(2, 1, 2, (4, 8), (2,)).eval()
    torch.save(network.state_dict(), tmp_path / "grey.pt")
    teacher = build_teacher(tmp_path / "grey.pt", 2, network=copy.deepcopy(network)).eval()
    assert_close(teacher(IMAGES), network(IMAGES.mean(1, keepdim=True)))
    assert_close(teacher(IMAGES[:, :1]), network(IMAGES[:, :1]))


@torch.no_grad()
def test_images_stay_in_0_to_1_unless_the_user_says_otherwise(unet):
    path = unet[1]
    teacher = build_teacher(path, 2, network=NETWORKS["UNet"]())
    assert_close(teacher.normalise(IMAGES), IMAGES)
    other = build_teacher(path, 2, network=NETWORKS["UNet"](), pixel_normalisation="imagenet")
    assert not torch.allclose(other.normalise(IMAGES), IMAGES)


def test_images_are_shown_as_they_are_where_nothing_says_otherwise(unet):
    assert suitable_scale(unet[1], 128, unet[0]) == affordable_scale(unet[1], 128, unet[0]) == 1


# LoRA and features


def test_adapters_are_found_by_type_and_each_receives_gradient(name, weights):
    """Also with deep supervision, which has layers that do nothing for the output."""
    network = add_lora(build_teacher(weights, 2, network=NETWORKS[name]()), rank=2).train()
    modules = dict(network.get_base_model().named_modules())
    kinds = {type(each.base_layer) for each in modules.values() if isinstance(each, LoraLayer)}
    assert kinds == ({nn.Conv2d, nn.Linear} if name in ("SwinUNETR", "ViTSegmenter") else {nn.Conv2d})
    for each in modules.values():
        if isinstance(each, LoraLayer):
            nn.init.ones_(each.lora_B["default"].weight)
    network(IMAGES).square().mean().backward()
    trained = {n for n, p in network.get_base_model().named_parameters() if p.requires_grad}
    assert {n for n, p in network.get_base_model().named_parameters() if p.grad is not None} == trained
    assert all(".lora_" in each or each.startswith("decoder.modules_to_save.") for each in trained)


def test_chosen_name_of_both_kinds_of_layers_means_those_that_can_have_an_adapter(unet):
    """A U-Net of MONAI calls transposed convolutions ``conv`` as well, which PEFT does not take."""
    network = add_lora(build_teacher(unet[1], 2, network=NETWORKS["UNet"]()), target_modules=["conv"]).get_base_model()
    adapted = [module for module in network.modules() if isinstance(module, LoraLayer)]
    assert len(adapted) > 3
    assert {type(each.base_layer) for each in adapted} == {nn.Conv2d}


def test_layers_that_it_does_not_have_are_named_with_those_it_has(unet):
    teacher = build_teacher(unet[1], 2, network=NETWORKS["UNet"]())
    with pytest.raises(InputError, match=r"no linear or convolutional layers called qkv; it has conv, residual"):
        add_lora(teacher, target_modules=["qkv"])


@torch.no_grad()
def test_declared_layers_put_out_what_they_declare(name, weights):
    teacher = build_teacher(weights, 2, network=NETWORKS[name]()).eval()
    hooks = FeatureHooks(teacher, teacher.feature_layers)
    shapes = hooks.shapes((3, 128, 128))
    assert shapes["encoder.neck"][1:] == (128 // teacher.stride, 128 // teacher.stride)
    assert len(shapes) == len(teacher.feature_layers) > 10


# On disk


def test_saved_teacher_gives_the_same_logits_of_its_base_alone(name, weights, tmp_path, train_a_little):
    network = train_a_little(add_lora(build_teacher(weights, 3, network=NETWORKS[name]()), rank=2))
    with torch.no_grad():
        network.train()(IMAGES)  # batch normalisation must not become another base by it
        expected = network.eval()(IMAGES)
        save_teacher(network, tmp_path / "teacher")
        loaded = load_teacher(tmp_path / "teacher", network=NETWORKS[name]())
        assert_close(loaded(IMAGES), expected, rtol=1e-3, atol=1e-3)


class OfTwoParts(nn.Module):
    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Conv2d(3, 4, 3, 2, 1), decoder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(images))


class WithDeepestDecoder(nn.Module):
    """The only layer with a map smaller than the image is called decoder, and its last one is found by a key."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Conv2d(3, 4, 3, 2, 1)
        self.heads = nn.ModuleDict({"mask_decoder": nn.Conv2d(4, 2, 1), "unused": nn.Conv2d(4, 2, 1)})

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = functional.interpolate(self.decoder(images), images.shape[2:])
        return self.heads["mask_decoder"](features)


OWN_DECODERS = {
    "which takes no adapter": lambda: OfTwoParts(nn.ConvTranspose2d(4, 2, 2, 2)),
    "the last layer": lambda: OfTwoParts(nn.Conv2d(4, 2, 3, 1, 1)),
    "the deepest layer": WithDeepestDecoder,
    "between others": lambda: nn.Sequential(
        OrderedDict(stem=nn.Conv2d(3, 4, 3, 2, 1), decoder=nn.Conv2d(4, 5, 1), head=nn.Conv2d(5, 2, 1))
    ),
}


@pytest.mark.parametrize("build", OWN_DECODERS.values(), ids=OWN_DECODERS)
def test_part_of_the_network_that_is_called_decoder_is_adapted_in_its_place(build, tmp_path, train_a_little):
    network = build().eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    adapted = add_lora(build_teacher(tmp_path / "weights.pt", 2, network=build()), rank=1)
    with torch.no_grad():
        same_size = functional.interpolate(network(IMAGES), IMAGES.shape[2:], mode="bilinear")
        assert_close(adapted(IMAGES), same_size)
    train_a_little(adapted)(IMAGES).square().mean().backward()
    trained = {name: each.grad for name, each in adapted.get_base_model().named_parameters() if each.requires_grad}
    assert [name for name, gradient in trained.items() if gradient is None] == []
    assert all(".lora_" in name or name.startswith("decoder.modules_to_save.") for name in trained)
    assert any("decoder_.lora_" in name for name in trained) == isinstance(network.decoder, nn.Conv2d)
    save_teacher(adapted, tmp_path / "teacher")
    with torch.no_grad():
        loaded = load_teacher(tmp_path / "teacher", network=build())
        assert_close(loaded(IMAGES), adapted.eval()(IMAGES), rtol=1e-3, atol=1e-3)


def test_copy_of_a_teacher_has_its_own_decoder():
    teacher = build_teacher(None, 2, network=OWN_DECODERS["the last layer"]())
    copied = copy.deepcopy(teacher).encoder.network
    assert copied.decoder is copied.get_submodule("decoder_")
    assert copied.decoder is not teacher.encoder.network.decoder


@torch.no_grad()
def test_definition_is_kept_in_the_teachers_folder_where_it_can_be_found(unet, tmp_path):
    save_teacher(add_lora(build_teacher(unet[1], 2, network=NETWORKS["UNet"]())), tmp_path / "teacher")
    loaded = load_teacher(tmp_path / "teacher")
    assert isinstance(loaded.encoder.network, UNet)
    assert_close(loaded(IMAGES), unet[0](IMAGES), rtol=1e-3, atol=1e-3)


def test_definition_that_cannot_be_found_is_asked_for(tmp_path):
    torch.save(NETWORKS["BasicUNet"]().state_dict(), tmp_path / "weights.pt")
    teacher = build_teacher(tmp_path / "weights.pt", 2, network=NETWORKS["BasicUNet"]())
    save_teacher(add_lora(teacher), tmp_path / "teacher")
    with pytest.raises(InputError, match="give teacher_network_def, such as"):
        load_teacher(tmp_path / "teacher")


def test_another_base_of_the_same_network_is_refused(unet, tmp_path, randomise):
    save_teacher(add_lora(build_teacher(unet[1], 2, network=NETWORKS["UNet"]())), tmp_path / "teacher")
    torch.save(randomise(NETWORKS["UNet"]()).state_dict(), tmp_path / "other.pt")
    with pytest.raises(InputError, match="does not fit the base"):
        load_teacher(tmp_path / "teacher", tmp_path / "other.pt")


def test_base_that_is_gone_is_named(unet, tmp_path):
    save_teacher(add_lora(build_teacher(unet[1], 2, network=NETWORKS["UNet"]())), tmp_path / "teacher")
    unet[1].unlink()
    with pytest.raises(InputError, match=r"unet\.pt does not exist"):
        load_teacher(tmp_path / "teacher")


# Self-training


@pytest.fixture
def student(tmp_path):
    """The student of an earlier training on PH2, and its file, with what that training records of it."""
    network = NETWORKS["ViTSegmenter"]().eval()
    facts = {"dataset": "ph2", "phantoms": False, "image_size": 96, "network": describe(network)}
    save_weights(network, tmp_path / "model.pt", {**of_training(None, []), **facts})
    return network, tmp_path / "model.pt"


@torch.no_grad()
def test_student_of_an_earlier_run_needs_nothing_but_its_weights(student, tmp_path):
    network, path = student
    teacher = build_teacher(path, 2).eval()
    assert isinstance(teacher, NetworkTeacher)
    assert_close(teacher(IMAGES), network(IMAGES))
    assert teacher.base_name == "ViTSegmenter of model.pt"
    assert suitable_scale(path, 64) == 1.5, "at which it sees the 96 pixels of its training"
    save_teacher(add_lora(teacher, rank=1), tmp_path / "teacher")
    loaded = load_teacher(tmp_path / "teacher")
    assert loaded.base_name == teacher.base_name
    assert_close(loaded(IMAGES), network(IMAGES), rtol=1e-3, atol=1e-3)


def test_card_says_which_dataset_that_run_learned_from(student, caplog):
    caplog.set_level(logging.INFO, logger="common.teachers.registry")
    card = build_teacher(student[1], 2, dataset="ph2").card_for_data
    assert (card.seen, card.datasets) == ("yes", ("ph2",))
    assert caplog.records[-1].levelname == "WARNING"
    assert "PH2 is in it: results on images of PH2 may be too good" in caplog.records[-1].getMessage()
    assert build_teacher(student[1], 2, dataset="busi").card_for_data.seen == "no"


def test_card_counts_what_the_students_own_teacher_has_seen(student):
    network, path = student
    before = {"trained_on": "images of BUSI", "datasets": ["busi"], "is_complete": False}
    facts = {"dataset": "ph2", "phantoms": False, "network": describe(network), "teacher": "x", "teacher_card": before}
    save_weights(network, path, {**of_training(None, []), **facts})
    seen = {name: build_teacher(path, 2, dataset=name).card_for_data.seen for name in ("ph2", "busi", "drive")}
    assert seen == {"ph2": "yes", "busi": "yes", "drive": "not known"}


def test_network_without_a_record_has_no_card(unet):
    assert build_teacher(unet[1], 2, network=NETWORKS["UNet"](), dataset="ph2").card is None


# What is refused


@pytest.fixture
def refused(unet):
    """Return what is said of the file of the U-Net after it was changed."""
    return lambda: refusal_of_family("network", network=NETWORKS["UNet"]())(unet[1])


@pytest.fixture
def save(unet):
    return lambda content: torch.save(content, unet[1])


NAME = "model.0.conv.unit0.conv.weight"


def test_missing_unknown_and_other_weights_are_named(unet, save, refused):
    state = unet[0].state_dict()
    save({name: value for name, value in state.items() if name != NAME})
    assert f"{NAME} is missing" in refused()
    save({**state, "adapter": torch.zeros(2)})
    assert "adapter is unknown" in refused()
    save({**state, NAME: torch.zeros(2, 2)})
    assert f"{NAME} is (2, 2) and should be" in refused()


def test_weights_of_another_family_are_refused(original_checkpoint):
    message = refusal_of_family("network", network=NETWORKS["UNet"]())(original_checkpoint)
    assert "another architecture than this UNet" in message


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_cut_file_is_named(unet, refused, share):
    content = unet[1].read_bytes()
    unet[1].write_bytes(content[: int(share * len(content))])
    assert "damaged" in refused() or "not a PyTorch checkpoint" in refused()


def test_weights_that_are_not_finite_are_named(unet, save, refused):
    state = unet[0].state_dict()
    save({**state, NAME: state[NAME] * float("nan")})
    assert NAME in refused()


def test_half_precision_and_the_checkpoint_of_a_training_load(unet, save):
    state = {name: value.half() if value.is_floating_point() else value for name, value in unet[0].state_dict().items()}
    save({"model": {f"module.{name}": value for name, value in state.items()}, "epoch": 3})
    loaded = build_teacher(unet[1], 2, network=NETWORKS["UNet"]()).encoder.network.state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32, torch.int64}
    assert torch.equal(loaded[NAME], state[NAME].float())


def test_file_that_would_run_code_is_refused_and_runs_none(trap):
    path, sprung = trap
    assert "could run code" in refusal_of_family("network", network=NETWORKS["UNet"]())(path)
    assert not sprung.exists()


def test_weights_that_do_not_say_what_they_are_of_are_told_how_to_be_used(unet):
    assert "teacher_network_def" in refusal_of_family("network")(unet[1])
    with pytest.raises(InputError, match="of a network of another kind say which by teacher_network_def"):
        build_teacher(unet[1], 2)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("UNet", "expected a network, .* got 'UNet'"),
        (BasicUNet(3, 1, 2, features=(4, 4, 4, 4, 4, 4)), "the BasicUNet takes no images"),
        (UNet(2, 4, 2, (4, 8), (2,)), "the UNet takes no images"),
        (
            nn.Sequential(nn.Conv2d(3, 2, 8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            r"puts out \(1, 2\) for an image",
        ),
    ],
)
def test_what_segments_no_images_is_no_teacher(network, message):
    with pytest.raises(InputError, match=message):
        build_teacher(None, 2, network=network)


def test_network_is_no_argument_of_other_families(tiny_sam_folder):
    with pytest.raises(InputError, match="teacher_network_def: is for the family network, not for sam"):
        build_teacher(tiny_sam_folder, 2, family="sam", network=nn.Identity())


def test_description_of_a_network_of_unknown_code_is_not_followed(student, tmp_path):
    folder = tmp_path / "teacher"
    save_teacher(add_lora(build_teacher(student[1], 2), rank=1), folder)
    description = json.loads((folder / "teacher.json").read_text(encoding="utf-8"))
    description["network"]["_target_"] = "subprocess.Popen"
    (folder / "teacher.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(InputError, match=r"'subprocess.Popen' is not one of this project's or MONAI's networks"):
        load_teacher(folder)


def test_size_that_its_stride_does_not_divide_is_named(unet):
    teacher = build_teacher(unet[1], 2, network=NETWORKS["UNet"]())
    with pytest.raises(ValueError, match=r"image size 30x64.*divisible by the teacher's stride 4"):
        teacher(torch.rand(1, 3, 30, 64))
