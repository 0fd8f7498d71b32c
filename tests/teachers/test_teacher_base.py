"""What every teacher is, and that a new family is one file and one line in the registry."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch.testing import assert_close
from toy_family import ToyEncoder, ToyTeacher
from transformers import SamConfig

from common.errors import InputError
from common.files.fingerprints import network_fingerprint
from common.teachers import TEACHERS, build_teacher, find_family
from common.teachers.base import FeatureLayout, Teacher
from common.teachers.base_names import STAND_IN_FOLDER, is_hub_id, name_of_base
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora
from common.teachers.sam import SamTeacher

IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


# A new family


@pytest.fixture
def toy_weights(tmp_path, randomise):
    path = tmp_path / "weights.toy"
    torch.save(randomise(ToyEncoder()).state_dict(), path)
    return path


@pytest.fixture
def toy_is_registered(monkeypatch):
    monkeypatch.setitem(TEACHERS, "toy", "toy_family:ToyTeacher")  # the one line


@pytest.mark.usefixtures("toy_is_registered")
class TestFamilyOfOneFileAndOneLine:
    def test_is_built_by_its_name_or_from_weights_that_it_recognises(self, toy_weights, tiny_sam_folder):
        assert isinstance(build_teacher(toy_weights, 3, family="toy"), ToyTeacher)
        assert isinstance(build_teacher(toy_weights, 3), ToyTeacher)
        assert isinstance(build_teacher(tiny_sam_folder, 3), SamTeacher)

    def test_is_fine_tuned_by_lora_on_its_own_layers(self, toy_weights):
        network = add_lora(build_teacher(toy_weights, 3), rank=2)
        adapted = [name for name, module in network.get_base_model().named_modules() if isinstance(module, LoraLayer)]
        assert adapted == ["encoder.mix"]
        network(IMAGES).square().sum().backward()
        reached = {
            name for name, parameter in network.get_base_model().named_parameters() if parameter.grad is not None
        }
        assert all(".lora_" in name or name.startswith("decoder.modules_to_save.") for name in reached)
        assert len(reached) == 2 + 4

    def test_is_saved_and_loaded(self, toy_weights, tmp_path):
        network = add_lora(build_teacher(toy_weights, 3, input_scale=2, pixel_normalisation="none"), rank=2)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * parameter.requires_grad)
            expected = network.eval()(IMAGES)
            save_teacher(network, tmp_path / "teacher")
            loaded = load_teacher(tmp_path / "teacher")
            assert isinstance(loaded, ToyTeacher)
            assert_close(loaded(IMAGES), expected)

    def test_declares_its_features(self, toy_weights, tmp_path, output_shapes):
        save_teacher(add_lora(build_teacher(toy_weights, 3), rank=2), tmp_path / "teacher")
        loaded = load_teacher(tmp_path / "teacher")
        assert output_shapes(loaded, loaded.feature_layers, IMAGES) == {"encoder.neck": (2, 2 + 4 * 6, 8)}
        assert loaded.feature_layers["encoder.neck"].prefix_tokens == 2


# The registry


@pytest.mark.parametrize("family", TEACHERS)
def test_every_family_goes_by_its_own_name(family):
    assert issubclass(find_family(family), Teacher)
    assert find_family(family).family == family


def test_family_that_is_not_there_is_named_with_those_that_are(tiny_sam_folder):
    with pytest.raises(InputError, match=r"no teachers of the family 'sam3'; the families are sam"):
        build_teacher(tiny_sam_folder, 2, family="sam3")


def test_incomplete_family_cannot_be_built(tiny_sam_folder):
    class Incomplete(Teacher):
        family = "incomplete"

    with pytest.raises(TypeError, match="abstract"):
        Incomplete(tiny_sam_folder, 2)


# Description


def test_description_is_json_and_builds_the_same_teacher(tiny_sam_folder):
    teacher = build_teacher(tiny_sam_folder, 5, input_scale=2, pixel_normalisation="none").eval()
    description = json.loads(json.dumps(teacher.describe()))
    again = build_teacher(**description).eval()
    assert again.describe() == description
    assert (again.num_classes, again.input_scale) == (5, 2)
    with torch.no_grad():
        assert torch.equal(again(IMAGES), teacher(IMAGES))


def test_fingerprint_tells_no_one_where_the_base_lies(tiny_sam_folder, tmp_path):
    """Else a training would not resume, and teacher outputs be computed anew, because a folder was moved."""
    moved = shutil.copytree(tiny_sam_folder, tmp_path / "moved")
    here, there, other = (
        network_fingerprint(build_teacher(*arguments)) for arguments in ((tiny_sam_folder, 2), (moved, 2), (moved, 3))
    )
    assert here == there != other


def test_random_weights_have_no_name(tiny_sam_config):
    description = SamTeacher(tiny_sam_config, 2).describe()
    assert (description["pretrained"], description["base_name"]) == (None, None)


def test_base_keeps_the_name_that_it_was_described_with(tiny_sam_folder):
    assert build_teacher(tiny_sam_folder, 2).base_name == "tiny"
    assert build_teacher(tiny_sam_folder, 2, base_name="facebook/sam-vit-base").base_name == "facebook/sam-vit-base"


@pytest.mark.parametrize(
    ("pretrained", "name"),
    [
        ("facebook/sam-vit-base", "facebook/sam-vit-base"),
        ("/home/anna/sam_vit_b.pth", "sam_vit_b.pth"),
        ("~/weights", "weights"),
        ("embedded", "embedded"),
        (STAND_IN_FOLDER, "embedded"),
        (SamConfig(), None),
    ],
)
def test_name_of_a_base_tells_no_one_where_it_lies(pretrained, name):
    assert name_of_base(pretrained) == name


def test_folder_of_two_names_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("weights/sam")
    (tmp_path / "weights" / "sam").mkdir(parents=True)
    assert not is_hub_id("weights/sam")
    assert name_of_base("weights/sam") == "sam"


# Layouts of features


@pytest.mark.parametrize(
    ("kind", "prefix_tokens", "message"),
    [("rows", 0, "kind must be one of .*got 'rows'"), ("channels_last", 1, "prefix_tokens"), ("tokens", -1, "got -1")],
)
def test_impossible_layout_is_refused(kind, prefix_tokens, message):
    with pytest.raises(ValueError, match=message):
        FeatureLayout(kind, prefix_tokens)


# What bad input gets


@pytest.fixture(scope="module")
def teacher(tiny_sam_folder) -> SamTeacher:
    return SamTeacher(tiny_sam_folder, num_classes=4, input_scale=1.5).eval()


def test_size_that_does_not_divide_is_named(teacher):
    with pytest.raises(ValueError, match=r"image size 40x64, enlarged to 60x96 .*divisible by the teacher's stride 16"):
        teacher(torch.rand(1, 3, 40, 64))


@torch.no_grad()
def test_the_encoder_sees_images_as_people_do(tiny_sam_folder):
    """Readers of MONAI give columns by rows."""
    images, seen = torch.rand(1, 3, 64, 32), []
    teacher = build_teacher(tiny_sam_folder, 2).eval()
    teacher.encoder.patch_embed.projection.register_forward_hook(
        lambda _module, inputs, _output: seen.append(inputs[0])
    )
    logits = teacher(images)
    as_it_is = build_teacher(tiny_sam_folder, 2, upright=False).eval()
    as_it_is.decoder.load_state_dict(teacher.decoder.state_dict())
    assert torch.equal(seen[0], teacher.normalise(images).mT)
    assert logits.shape[2:] == (64, 32)
    assert_close(as_it_is(images.mT).mT, logits)
    assert not torch.allclose(as_it_is(images), logits, atol=1e-2)


def test_two_channels_are_refused(teacher):
    with pytest.raises(ValueError, match="one or three channels, got 2"):
        teacher(torch.rand(1, 2, 64, 64))


def test_one_class_is_refused(tiny_sam_config):
    with pytest.raises(ValueError, match=r"num_classes must be at least 2.*got 1"):
        SamTeacher(tiny_sam_config, num_classes=1)


@pytest.mark.parametrize("scale", [0, -2])
def test_scale_must_be_positive(tiny_sam_config, scale):
    with pytest.raises(ValueError, match=f"input_scale must be positive, got {scale}"):
        SamTeacher(tiny_sam_config, num_classes=2, input_scale=scale)
