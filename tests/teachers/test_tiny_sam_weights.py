"""Which checkpoints are MobileSAM's and LiteMedSAM's, and what is refused with a name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from refusals import refusal_of_family
from tiny_sam_format import make_checkpoint
from torch import nn
from torch.testing import assert_close

from common.errors import InputError
from common.teachers import build_teacher
from common.teachers.sam import SamTeacher
from common.teachers.tiny_sam import TinySamTeacher
from common.teachers.tiny_sam_weights import fold, load_tiny_sam


@pytest.fixture(scope="module")
def state():
    return make_checkpoint(1)


@pytest.fixture
def save(tmp_path):
    def write(content) -> Path:
        torch.save(content, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return write


refused = refusal_of_family("tiny_sam")


def assert_same(path, other_path):
    first, second = (load_tiny_sam(where).state_dict() for where in (path, other_path))
    assert all(torch.equal(second[name], value) for name, value in first.items())


# What is recognised


@pytest.mark.parametrize(("patch_kernel", "stride"), [(1, 4), (3, 16)], ids=["LiteMedSAM", "MobileSAM"])
def test_shapes_tell_the_two_apart(save, patch_kernel, stride):
    teacher = build_teacher(save(make_checkpoint(patch_kernel)), 2)
    assert isinstance(teacher, TinySamTeacher)
    assert teacher.stride == stride


def test_format_of_old_pytorch_is_recognised_and_loads(state, tmp_path, save):
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert isinstance(build_teacher(tmp_path / "old.pth", 2), TinySamTeacher)
    assert_same(tmp_path / "old.pth", save(state))


def test_checkpoint_of_segment_anything_stays_sams(original_checkpoint):
    assert isinstance(build_teacher(original_checkpoint, 2), SamTeacher)
    assert "not a checkpoint of MobileSAM or LiteMedSAM" in refused(original_checkpoint)


@pytest.mark.parametrize("wrap", ["model", "state_dict", "module."])
def test_checkpoint_of_a_training_loads_as_the_weights_in_it(state, save, tmp_path, wrap):
    wrapped = {f"module.{name}": value for name, value in state.items()} if wrap == "module." else {wrap: state}
    torch.save(wrapped, tmp_path / "training.pth")
    assert isinstance(build_teacher(tmp_path / "training.pth", 2), TinySamTeacher)
    assert_same(tmp_path / "training.pth", save(state))


def test_half_precision_weights_are_loaded_as_floats(state, save):
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    sam = load_tiny_sam(save(half))
    assert {parameter.dtype for parameter in sam.parameters()} == {torch.float32}
    name = "mask_decoder.mask_tokens.weight"
    assert torch.equal(sam.state_dict()[name], half[name].float())


def test_classifier_and_indices_that_some_files_have_are_left_out(state, save, tmp_path):
    classifier = {"image_encoder.norm_head.weight": torch.ones(320), "image_encoder.head.weight": torch.ones(1000, 320)}
    indices = {"image_encoder.layers.1.blocks.0.attn.attention_bias_idxs": torch.zeros(49, 49, dtype=torch.long)}
    torch.save({**state, **classifier, **indices}, tmp_path / "full.pth")
    assert_same(tmp_path / "full.pth", save(state))


def test_folded_convolution_does_what_convolution_and_batch_normalisation_do(randomise):
    convolution, norm = nn.Conv2d(3, 5, 3, bias=False), randomise(nn.BatchNorm2d(5)).eval()
    norm.running_var.copy_(torch.tensor([0.1, 0.5, 1, 2, 5]))
    folded = nn.Conv2d(3, 5, 3)
    kernel, bias = fold(convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    folded.load_state_dict({"weight": kernel, "bias": bias})
    images = torch.rand(2, 3, 8, 8)
    assert_close(folded(images), norm(convolution(images)))


# What is refused


@pytest.mark.parametrize(
    "name",
    [
        "image_encoder.layers.2.blocks.3.attn.attention_biases",
        "image_encoder.layers.1.downsample.conv2.bn.running_var",
        "prompt_encoder.no_mask_embed.weight",
    ],
)
def test_missing_weight_is_named(state, save, name):
    message = refused(save({key: value for key, value in state.items() if key != name}))
    assert name.rpartition(".")[0].removeprefix("image_encoder.").removesuffix(".bn") in message


def test_unknown_weights_are_named_first_of_many(state, save):
    adapters = {f"image_encoder.adapter.{index}": torch.zeros(2) for index in range(9)}
    message = refused(save({**state, **adapters}))
    assert "in 9 weights: vision_encoder.adapter.0 is unknown" in message
    assert "adapter.5" not in message


def test_weight_of_another_shape_is_named(state, save):
    message = refused(save({**state, "mask_decoder.mask_tokens.weight": torch.zeros(5, 256)}))
    assert "mask_decoder.mask_tokens.weight has the shape 5x256, not 4x256" in message


def test_larger_tiny_vit_is_refused(state, save):
    state = {**state, "image_encoder.patch_embed.seq.0.c.weight": torch.zeros(48, 3, 1, 1)}
    assert "patch_embed.0" in refused(save(state))


def test_other_patch_embedding_is_refused(state, save):
    state = {**state, "image_encoder.patch_embed.seq.0.c.weight": torch.zeros(32, 3, 5, 5)}
    assert "5x5 kernels, expected 1x1 (LiteMedSAM) or 3x3 (MobileSAM)" in refused(save(state))


def test_what_is_no_tensor_is_named(state, save):
    assert "iou_token.weight has the shape none" in refused(save({**state, "mask_decoder.iou_token.weight": "ones"}))


def test_weights_that_are_not_finite_are_named(state, save):
    broken = {**state, "mask_decoder.iou_token.weight": torch.full((1, 256), float("nan"))}
    assert "mask_decoder.iou_token.weight" in refused(save(broken))


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_cut_file_is_named_whether_its_family_is_given_or_not(state, save, share):
    path = save(state)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path)
    with pytest.raises(InputError, match="damaged"):
        build_teacher(path, 2)


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"lite_medsam\.pth does not exist"):
        build_teacher(tmp_path / "lite_medsam.pth", 2)


def test_file_that_would_run_code_is_refused_and_runs_none(trap):
    path, sprung = trap
    assert "could run code" in refused(path)
    assert not sprung.exists()
