"""The teacher's adaptation: few parameters train, by PEFT, and MONAI trains and evaluates with them."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.inferers import SlidingWindowInferer
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.testing import assert_close
from transformers import SamConfig

from common.errors import InputError
from common.files.weights import load_trainable_state, trainable_state
from common.teachers.lora import add_lora
from common.teachers.sam import SamTeacher

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def plain(tiny_sam_folder) -> SamTeacher:
    return SamTeacher(tiny_sam_folder, num_classes=3).eval()


@pytest.fixture
def network(plain) -> PeftModel:
    return add_lora(plain, rank=2, alpha=8).eval()


@torch.no_grad()
def logits_of(network: nn.Module) -> torch.Tensor:
    return network(IMAGES)


def names_of_trained(network: PeftModel) -> set[str]:
    return {name for name, parameter in network.get_base_model().named_parameters() if parameter.requires_grad}


# What trains


@pytest.fixture(scope="module")
def vit_b() -> PeftModel:
    """The teacher at its real size, without the memory it takes."""
    with torch.device("meta"):
        return add_lora(SamTeacher(SamConfig(), num_classes=2))


def test_less_than_5_percent_of_vit_b_trains_decoder_included(vit_b):
    trainable, total = vit_b.get_nb_trainable_parameters()
    assert total > 90e6
    assert 0 < trainable / total < 0.05
    assert trainable == sum(p.numel() for p in vit_b.parameters() if p.requires_grad)


def test_adapters_of_vit_b_have_the_size_of_their_rank(vit_b):
    adapters = sum(p.numel() for name, p in vit_b.named_parameters() if ".lora_" in name)
    assert adapters == 12 * 8 * ((768 + 3 * 768) + (768 + 768))  # layers, rank, qkv and proj


def test_adapters_sit_on_the_encoders_attention_alone(network):
    adapted = [name for name, module in network.get_base_model().named_modules() if isinstance(module, LoraLayer)]
    layers = ("encoder.layers.0.attn", "encoder.layers.1.attn")
    assert sorted(adapted) == [f"{layer}.{part}" for layer in layers for part in ("proj", "qkv")]


def test_layers_of_a_name_that_the_decoder_has_too_are_adapted_in_the_encoder_alone(plain):
    assert any(name.endswith(".lin1") for name, _ in plain.decoder.named_modules())
    network = add_lora(plain, target_modules=["lin1"]).get_base_model()
    adapted = [name for name, module in network.named_modules() if isinstance(module, LoraLayer)]
    assert adapted == ["encoder.layers.0.mlp.lin1", "encoder.layers.1.mlp.lin1"]


@pytest.mark.parametrize(("share", "frozen"), [(0, 0), (0.2, 0), (0.5, 2), (0.99, 3)])
def test_a_share_of_the_layers_gets_no_adapter_the_first_ones(plain, share, frozen):
    layers = [f"layers.{layer}.attn.{name}" for layer in (0, 1) for name in ("qkv", "proj")]
    add_lora(plain, rank=2, frozen_share=share)
    adapted = [name for name, module in plain.encoder.named_modules() if isinstance(module, LoraLayer)]
    assert adapted == layers[frozen:]


def test_no_gradient_passes_what_comes_before_the_first_adapter(plain):
    network = add_lora(plain, rank=2, frozen_share=0.5)
    seen = []
    plain.encoder.layers[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.requires_grad))
    assert network(IMAGES).requires_grad
    assert seen == [False]


@torch.no_grad()
def test_on_a_cpu_it_computes_in_bfloat16_where_it_is_told_to(plain):
    dtypes = []
    plain.encoder.layers[0].attn.qkv.register_forward_hook(lambda _module, _inputs, output: dtypes.append(output.dtype))
    for plain.bfloat16_on_cpu in (False, True):
        assert plain(IMAGES).dtype == torch.float32
    assert dtypes == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("share", [-0.1, 1])
def test_a_share_out_of_range_is_refused(plain, share):
    with pytest.raises(InputError, match="frozen_share"):
        add_lora(plain, frozen_share=share)


def test_only_adapters_and_decoder_receive_gradient(network, train_a_little):
    train_a_little(network)(IMAGES).square().sum().backward()
    base = network.get_base_model()
    reached = {name for name, p in base.named_parameters() if p.grad is not None}
    adapters = {name for name, _ in base.named_parameters() if ".lora_" in name}
    decoder = {name for name, _ in base.named_parameters() if name.startswith("decoder.modules_to_save.")}
    assert reached == adapters | decoder  # DistributedDataParallel waits for all that train, and for nothing else
    unmoved = {name for name in reached if not base.get_parameter(name).grad.any()}
    assert all(name.endswith("k_proj.bias") for name in unmoved)  # a softmax ignores it
    assert names_of_trained(network) == adapters | decoder


# What it computes


def test_fresh_adapters_change_nothing(plain):
    before = logits_of(plain)
    assert torch.equal(logits_of(add_lora(plain).eval()), before)


def test_trained_adapters_matter(network):
    """Without this, nothing else here would say much."""
    before = logits_of(network)
    for name, parameter in network.named_parameters():
        if ".lora_B" in name:
            parameter.data += 0.1
    assert not torch.allclose(logits_of(network), before, rtol=0.01)


def test_adapters_are_scaled_by_alpha_over_rank(network, train_a_little):
    layer = train_a_little(network).get_base_model().encoder.layers[0].attn.proj
    x = torch.rand(1, 32)
    low, high = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert_close(layer(x), layer.base_layer(x) + 8 / 2 * x @ low.T @ high.T)


def test_merging_keeps_the_function_and_the_names_of_the_plain_teacher(network, plain, tiny_sam_folder, train_a_little):
    before = logits_of(train_a_little(network))
    merged = network.merge_and_unload()
    assert merged is plain
    assert_close(logits_of(merged), before, rtol=1e-3, atol=1e-3)
    assert merged.state_dict().keys() == SamTeacher(tiny_sam_folder, num_classes=3).state_dict().keys()


# In MONAI


def test_monai_trains_and_evaluates_it(network):
    samples = [{"image": image, "label": torch.ones(1, 64, 64)} for image in IMAGES]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)

    def loss(logits, label):
        return nn.functional.cross_entropy(logits, label[:, 0].long())

    SupervisedTrainer(
        device=torch.device("cpu"), max_epochs=1, train_data_loader=DataLoader(samples, batch_size=2), network=network,
        optimizer=optimizer, loss_function=loss,
    ).run()  # fmt: skip
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert any(".lora_" in name for name in changed)
    assert any("decoder.modules_to_save" in name for name in changed)
    assert all(".lora_" in name or "decoder.modules_to_save" in name for name in changed)
    larger = [{"image": torch.rand(3, 96, 80), "label": torch.ones(1, 96, 80)}]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=DataLoader(larger), network=network,
        inferer=SlidingWindowInferer(roi_size=(64, 64), sw_batch_size=2), decollate=False,
    )  # fmt: skip
    evaluator.run()
    assert evaluator.state.output["pred"].shape == (1, 3, 96, 80)


def test_checkpoint_of_what_trains_holds_no_base_and_brings_it_all_back(network, tiny_sam_folder, train_a_little):
    state = trainable_state(train_a_little(network))
    assert all(".lora_" in name or ".modules_to_save." in name for name in state)
    again = add_lora(SamTeacher(tiny_sam_folder, num_classes=3), rank=2, alpha=8).eval()
    load_trainable_state(again, state)
    assert torch.equal(logits_of(again), logits_of(network))


# What bad input gets


@pytest.mark.parametrize(("targets", "named"), [(["q", "qkv"], "q"), (["attn"], "attn"), ([], "nothing")])
def test_layers_that_the_encoder_lacks_are_named_with_those_it_has(plain, targets, named):
    message = rf"the encoder of the SamTeacher has no linear layers called {named}; it has lin1, lin2, proj, qkv"
    with pytest.raises(InputError, match=f"lora_targets: {message}"):
        add_lora(plain, target_modules=targets)
