"""MobileSAM and LiteMedSAM as teachers: sizes, classes, normalisation, what trains, and the folder on disk."""

from __future__ import annotations

import pytest
import torch
from peft.tuners.lora import LoraLayer
from tiny_sam_format import make_checkpoint
from torch.testing import assert_close

from common.errors import InputError
from common.teachers import build_teacher
from common.teachers.folder import base_state, load_teacher, save_teacher
from common.teachers.lora import add_lora
from common.teachers.normalisation import NORMALISATIONS
from common.teachers.tiny_sam import TinySamTeacher

IMAGES = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
KERNELS = {"LiteMedSAM": 1, "MobileSAM": 3}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint of each with random weights; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny_sam")
    for name, kernel in KERNELS.items():
        torch.save(make_checkpoint(kernel), folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in KERNELS}


@pytest.fixture(params=KERNELS)
def teacher(request, files) -> TinySamTeacher:
    return build_teacher(files[request.param], 3).eval()


@pytest.fixture
def lite_medsam(files) -> TinySamTeacher:
    return build_teacher(files["LiteMedSAM"], 3).eval()


# Sizes and classes


@torch.no_grad()
def test_logits_are_of_the_size_of_the_images_and_a_map_for_each_class(teacher):
    for size in ((48, 64), (112, 32)):
        logits = teacher(torch.rand(1, 3, *size))
        assert logits.shape == (1, 3, *size)
        assert logits.isfinite().all()


@torch.no_grad()
def test_size_that_the_stride_does_not_divide_is_refused(files):
    for name, size in (("LiteMedSAM", 66), ("MobileSAM", 72)):
        teacher = build_teacher(files[name], 2)
        with pytest.raises(ValueError, match=rf"^image size {size}x64, .*divisible by the teacher's stride \d+$"):
            teacher(torch.rand(1, 3, size, 64))


@torch.no_grad()
def test_lite_medsam_decodes_at_the_size_of_its_images_and_mobile_sam_at_a_quarter(files):
    sizes = {}
    for name, file in files.items():
        teacher = build_teacher(file, 2)
        sizes[name] = tuple(teacher.decode(teacher.encode(IMAGES)).shape[2:])
    assert sizes == {"LiteMedSAM": (48, 64), "MobileSAM": (12, 16)}


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other(teacher):
    assert_close(teacher(IMAGES)[1:], teacher(IMAGES[1:]), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_declared_layers_put_out_maps(teacher, output_shapes):
    shapes = output_shapes(teacher, teacher.feature_layers, IMAGES)
    patches = 1 if teacher.stride == 4 else 4
    expected = {
        f"encoder.layers.{index}": (2, width, 48 // patches // step, 64 // patches // step)
        for index, (width, step) in enumerate([(128, 2), (160, 4), (320, 4), (320, 4)])
    }
    assert shapes == {**expected, "encoder.neck": (2, 256, 48 // teacher.stride, 64 // teacher.stride)}
    assert {layout.kind for layout in teacher.feature_layers.values()} == {"channels_first"}


@torch.no_grad()
def test_half_precision_on_the_fly_gives_nearly_the_same(lite_medsam):
    expected = lite_medsam(IMAGES)
    with torch.autocast("cpu", torch.bfloat16):
        logits = lite_medsam(IMAGES)
    assert logits.isfinite().all()
    assert (logits.float() - expected).abs().mean() < 0.05 * expected.std()


# Normalisation


@pytest.mark.parametrize(("name", "normalisation"), [("LiteMedSAM", "none"), ("MobileSAM", "imagenet")])
def test_pixels_are_normalised_as_the_weights_were_trained(files, name, normalisation):
    description = build_teacher(files[name], 2).pixel_normalisation.describe()
    assert description == {part: list(values) for part, values in NORMALISATIONS[normalisation].items()}


def test_stated_normalisation_is_obeyed(files):
    description = build_teacher(files["LiteMedSAM"], 2, pixel_normalisation="imagenet").pixel_normalisation.describe()
    assert description["mean"] == list(NORMALISATIONS["imagenet"]["mean"])


# What trains


def adapted_layers(network) -> set[str]:
    return {name for name, module in network.named_modules() if isinstance(module, LoraLayer)}


def test_lora_sits_on_attention_and_perceptron_of_every_block_unless_told_otherwise(lite_medsam):
    adapted = adapted_layers(add_lora(lite_medsam, rank=2).get_base_model())
    depths = {1: 2, 2: 6, 3: 2}
    blocks = {f"encoder.layers.{i}.blocks.{j}" for i, depth in depths.items() for j in range(depth)}
    layers = ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2")
    assert adapted == {f"{block}.{layer}" for block in blocks for layer in layers}


def test_lora_takes_the_perceptrons_by_sams_names(lite_medsam):
    adapted = adapted_layers(add_lora(lite_medsam, rank=2, target_modules=["lin1", "lin2"]).get_base_model())
    assert len(adapted) == 20
    assert all(".mlp.lin" in name for name in adapted)


def test_lora_layer_that_it_does_not_have_is_named_with_those_it_has(lite_medsam):
    with pytest.raises(
        InputError, match=r"TinySamTeacher has no linear layers called fc1; it has lin1, lin2, proj, qkv"
    ):
        add_lora(lite_medsam, target_modules=["qkv", "fc1"])


def test_adapters_and_decoder_receive_gradient_and_nothing_else_changes(lite_medsam):
    network = add_lora(lite_medsam, rank=2).train()
    before = {name: value.clone() for name, value in base_state(lite_medsam).items()}
    for module in network.modules():
        if isinstance(module, LoraLayer):
            torch.nn.init.ones_(module.lora_B["default"].weight)  # zeros would hold back the gradient
    network(IMAGES).square().mean().backward()
    without = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without == []
    assert all(torch.equal(value, before[name]) for name, value in base_state(lite_medsam).items())


# On disk


def test_saved_teacher_gives_the_same_logits(teacher, tmp_path, train_a_little):
    network = train_a_little(add_lora(teacher, rank=2)).eval()
    with torch.no_grad():
        expected = network(IMAGES)
        save_teacher(network, tmp_path / "teacher")
        loaded = load_teacher(tmp_path / "teacher")
        assert_close(loaded(IMAGES), expected, rtol=1e-3, atol=1e-3)
    assert isinstance(loaded, TinySamTeacher)
    assert loaded.describe() == teacher.describe()


@pytest.fixture
def saved(files, tmp_path):
    """A saved teacher whose base may be moved."""
    base = tmp_path / "base.pth"
    base.write_bytes(files["LiteMedSAM"].read_bytes())
    save_teacher(add_lora(build_teacher(base, 2), rank=2), tmp_path / "teacher")
    return tmp_path / "teacher", base


def test_base_that_is_gone_is_named(saved):
    folder, base = saved
    base.unlink()
    with pytest.raises(InputError, match=r"base\.pth does not exist"):
        load_teacher(folder)


@pytest.mark.parametrize("other", ["of other weights", "MobileSAM"])
def test_other_base_is_refused(saved, files, other):
    folder, base = saved
    if other == "MobileSAM":
        base.write_bytes(files["MobileSAM"].read_bytes())
    else:
        torch.save(make_checkpoint(1, seed=1), base)
    with pytest.raises(InputError, match="does not fit the base"):
        load_teacher(folder)


def test_base_of_another_family_is_refused(saved, original):
    folder, base = saved
    torch.save(original.state_dict(), base)
    with pytest.raises(InputError, match=r"base\.pth is not a checkpoint of MobileSAM or LiteMedSAM"):
        load_teacher(folder)
