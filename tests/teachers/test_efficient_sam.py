"""EfficientSAM from files in the published format, with random weights."""

from __future__ import annotations

import pytest
import torch
from refusals import refusal_of_family
from torch.testing import assert_close

from common.teachers import build_teacher
from common.teachers.efficient_sam import EfficientSam, EfficientSamTeacher
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora

IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(value.shape) * 0.05 for name, value in EfficientSam(192).state_dict().items()}


@pytest.fixture(scope="module")
def weights(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("efficient_sam") / "efficient_sam_vitt.pt"
    torch.save({"model": state}, path)
    return path


def test_format_is_the_published_one(state):
    """Counted in the published code."""
    assert (len(state), sum(value.numel() for value in state.values())) == (278, 10_223_460)


def test_weights_are_recognised_and_known(weights):
    teacher = build_teacher(weights, 3, dataset="ph2")
    assert isinstance(teacher, EfficientSamTeacher)
    assert teacher.card_for_data.seen == "no"


def test_fine_tuned_teacher_is_saved_and_loaded(weights, tmp_path):
    network = add_lora(build_teacher(weights, 3, input_scale=2), rank=2)
    network(IMAGES).square().sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * parameter.requires_grad)
        expected = network.eval()(IMAGES)
        save_teacher(network, tmp_path / "teacher")
        assert_close(load_teacher(tmp_path / "teacher")(IMAGES), expected, rtol=1e-3, atol=1e-3)


def test_classes_start_with_one_mask_and_the_background_with_its_opposite(weights):
    teacher = build_teacher(weights, num_classes=3).eval()
    with torch.no_grad():
        logits = teacher(torch.rand(1, 3, 64, 64))
    assert logits.any()
    assert_close(logits[:, 0], -logits[:, 1], rtol=1e-4, atol=1e-4)
    assert_close(logits[:, 2], logits[:, 1], rtol=1e-4, atol=1e-4)


def test_features_are_grids(weights, output_shapes):
    teacher = build_teacher(weights, 2)
    shapes = output_shapes(teacher, ["encoder.blocks.0", "encoder.neck"], IMAGES)
    assert shapes == {"encoder.blocks.0": (2, 2, 3, 192), "encoder.neck": (2, 256, 2, 3)}


def test_other_weights_are_refused(state, tmp_path, tiny_sam_folder):
    refused = refusal_of_family("efficient_sam")
    refused(tiny_sam_folder)
    torch.save({name: value for name, value in state.items() if "iou_token" not in name}, tmp_path / "less.pt")
    assert "mask_decoder.iou_token.weight is missing" in refused(tmp_path / "less.pt")
