"""The student: ViT-Tiny with a path for thin structures, at home at any size and in any runtime."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from common import training
from common.students import vit
from common.students.vit import ViTSegmenter


def tiny(**changes) -> ViTSegmenter:
    torch.manual_seed(0)
    options = {"hidden_size": 24, "depth": 2, "num_heads": 2, "conv_channels": (8, 16)}
    return ViTSegmenter(**{**options, **changes})


def test_default_is_vit_tiny():
    student = ViTSegmenter()
    encoder = student.encoder
    assert encoder.patch_embed.weight.shape == (192, 3, 16, 16)
    assert len(encoder.blocks) == 12
    assert {block.attn.num_heads for block in encoder.blocks} == {3}
    assert 5.9e6 < sum(p.numel() for p in student.parameters()) < 6.1e6
    # ViT-Tiny's own count: patches, positions on 14x14, twelve blocks, the last norm.
    block = 2 * 2 * 192 + (192 + 1) * 3 * 192 + (192 + 1) * 192 + (192 + 1) * 768 + (768 + 1) * 192
    expected = (3 * 16 * 16 + 1) * 192 + 14 * 14 * 192 + 12 * block + 2 * 192
    assert sum(p.numel() for p in encoder.parameters()) == expected


@pytest.mark.parametrize("size", [(16, 32), (64, 64), (48, 112), (256, 240)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_multiple_of_the_patch_gives_logits_of_its_own_size(size, channels):
    logits = tiny(in_channels=channels, num_classes=5).eval()(torch.rand(2, channels, *size))
    assert logits.shape == (2, 5, *size)
    assert logits.isfinite().all()


def test_encoder_sees_where_a_patch_is(randomise):
    encoder = randomise(tiny()).encoder
    tokens = encoder(torch.zeros(1, 3, 48, 80))
    assert tokens.shape == (1, 24, 3, 5)
    assert (tokens - tokens.mean((2, 3), keepdim=True)).abs().amax(1).min() > 0.01


def test_tokens_of_far_patches_see_each_other(randomise):
    encoder = randomise(tiny()).encoder
    image = torch.rand(1, 3, 64, 64)
    changed = image.clone()
    changed[..., :16, :16] = 0
    difference = (encoder(image) - encoder(changed)).abs().amax(1)[0]
    assert difference[3, 3] > 1e-3


def test_images_in_0_to_1_are_all_the_network_needs(randomise):
    student = randomise(tiny())
    seen = {}
    student.encoder.register_forward_pre_hook(lambda module, inputs: seen.update(pixels=inputs[0]))
    student(torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)]))
    assert_close(seen["pixels"][:, 0, 0, 0], torch.tensor([-2.0, 2.0]))


def test_gradient_reaches_every_parameter(randomise):
    student = randomise(tiny()).train()
    F.cross_entropy(student(torch.rand(2, 3, 64, 64)), torch.randint(2, (2, 64, 64))).backward()
    assert [name for name, p in student.named_parameters() if p.grad is None] == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dropout", [0, 0.1])
def test_torchscript_agrees_at_any_size(dropout, randomise):
    student = randomise(tiny(dropout=dropout))
    scripted = torch.jit.script(student)
    for size in ((64, 64), (32, 80)):
        images = torch.rand(2, 3, *size)
        assert_close(scripted(images), student(images), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dropout", [0, 0.1])
def test_torch_export_agrees(dropout, randomise):
    student = randomise(tiny(dropout=dropout))
    exported = torch.export.export(student, (torch.rand(2, 3, 64, 96),)).module()
    images = torch.rand(2, 3, 64, 96)
    assert_close(exported(images), student(images), rtol=1e-5, atol=1e-5)


def test_dropout_samples_differ_in_train_mode_and_agree_in_eval_mode(randomise):
    student = randomise(tiny(dropout=0.3))
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(student(images), student(images))
    student.train()
    assert not torch.allclose(student(images), student(images))


def test_fused_attention_is_attention(randomise):
    student = randomise(tiny())
    plain = tiny()
    plain.load_state_dict(student.state_dict())
    assert all(block.attn.use_flash_attention for block in student.encoder.blocks)
    for block in plain.encoder.blocks:
        block.attn.use_flash_attention = False
    images = torch.rand(2, 3, 48, 64)
    assert_close(student(images), plain(images), rtol=1e-5, atol=1e-5)


def test_without_dropout_train_mode_is_eval_mode(randomise):
    student = randomise(tiny())
    images = torch.rand(1, 3, 32, 32)
    assert_close(student(images), student.train()(images))


def test_sees_a_line_that_a_patch_cannot_resolve():
    """Lines one pixel wide, at places not seen in training, come out one pixel wide."""
    torch.manual_seed(0)
    student = tiny(hidden_size=16)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)

    def draw_lines(count):
        labels = torch.zeros(count, 32, 32, dtype=torch.long)
        for label, row, column in zip(labels, *torch.randint(32, (2, count), generator=generator), strict=True):
            label[row] = 1
            label[:, column] = 1
        noise = 0.1 * torch.randn(count, 1, 32, 32, generator=generator)
        return (0.4 + 0.3 * labels[:, None] + noise).expand(-1, 3, -1, -1), labels

    for _ in range(50):
        images, labels = draw_lines(4)
        optimizer.zero_grad()
        F.cross_entropy(student(images), labels).backward()
        optimizer.step()
    images, labels = draw_lines(8)
    predicted = student.eval()(images).argmax(1)
    dice = 2 * (predicted * labels).sum() / (predicted.sum() + labels.sum())
    assert dice > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2.*got 1"),
        ({"patch_size": 6}, "patch_size must be divisible by 4 for conv_channels of 2 widths, got 6"),
        ({"patch_size": 4, "conv_channels": (8, 8, 8)}, "patch_size must be divisible by 8 .* 3 widths, got 4"),
        ({"conv_channels": ()}, "conv_channels must name at least one width"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)


def test_size_that_does_not_divide_is_named():
    with pytest.raises(ValueError, match="image size 40x64 must be divisible by the patch size 16"):
        tiny()(torch.rand(1, 3, 40, 64))


def test_networks_file_imports_torch_and_monai_alone():
    """So that it can be copied beside the weights of a release, and read by itself."""
    tree = ast.parse(Path(vit.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} - sys.stdlib_module_names == {"torch", "monai"}


def test_student_and_what_trains_it_live_on_monai_and_torch_alone():
    """They import where there is no transformers, peft or diffusers (MONAI itself looks for the first)."""
    modules = ["students.vit", "students.pretrainable", "files.weights", "files.provenance"]
    modules += ["datasets", "datasets.drive"]
    modules += ["transforms.crops", "transforms.masks", "evaluation.report", "evaluation.distances"]
    modules += [f"training.{path.stem}" for path in Path(training.__path__[0]).glob("[a-z]*.py")]
    program = f"""
import importlib, sys
sys.modules.update(dict.fromkeys(["transformers", "peft", "diffusers"]))
for name in {modules}:
    importlib.import_module("common." + name)
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
