"""Where SAM 2's weights come from: the hub, folders and original checkpoints, and what is refused with a name."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from refusals import refusal, refusal_of_family
from safetensors.torch import load_file, save_file
from sam2_format import SMALL, make_sam2_checkpoint, sam2_shapes, video_parts
from torch import nn
from transformers import Sam2Model, Sam2VideoConfig, Sam2VideoModel

from common.teachers import build_teacher, model_files, sam2_original
from common.teachers.cards import CARDS, sam2_card
from common.teachers.sam import SamTeacher
from common.teachers.sam2 import Sam2Teacher
from common.teachers.sam2_original import PUBLISHED, convert_original
from common.teachers.sam2_weights import load_sam2

refused = partial(refusal, load_sam2)


@pytest.fixture(scope="module")
def state():
    return make_sam2_checkpoint()


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Write an original checkpoint of an image encoder that is small, and taken for a published one."""
    monkeypatch.setitem(PUBLISHED, "small one", SMALL)

    def write(content) -> Path:
        torch.save(content, tmp_path / "weights.pt")
        return tmp_path / "weights.pt"

    return write


@pytest.fixture
def copy(tiny_sam2_folder, tmp_path):
    """Write the tiny SAM 2 with another config and other weights."""

    def write(change_config=lambda config: config, change_state=lambda state: state) -> Path:
        folder = tmp_path / "changed"
        folder.mkdir()
        config = json.loads((tiny_sam2_folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(change_config(config)), encoding="utf-8")
        save_file(change_state(load_file(tiny_sam2_folder / "model.safetensors")), folder / "model.safetensors")
        return folder

    return write


def assert_same(sam: nn.Module, other: nn.Module) -> None:
    expected, found = other.state_dict(), sam.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


# Folders and the hub


def test_folder_of_the_image_model_loads_as_it_is(tiny_sam2_folder):
    loaded = load_sam2(str(tiny_sam2_folder))
    assert_same(loaded, Sam2Model.from_pretrained(tiny_sam2_folder))
    assert not loaded.training


def test_folder_of_the_video_model_as_it_is_published_loads_without_what_is_for_videos(tmp_path, tiny_sam2_config):
    parts = tiny_sam2_config.to_dict()
    config = Sam2VideoConfig(
        **{name: parts[name] for name in ("vision_config", "prompt_encoder_config", "mask_decoder_config")},
        **dict.fromkeys(("memory_attention_hidden_size", "memory_encoder_hidden_size", "memory_fuser_embed_dim"), 32),
        mask_downsampler_embed_dim=32,
        memory_encoder_output_channels=16,
    )
    video = Sam2VideoModel(config)
    video.save_pretrained(tmp_path / "video")
    content = json.loads((tmp_path / "video" / "config.json").read_text(encoding="utf-8"))
    older = {**content, "memory_attention_rope_theta": 10000}  # as the files on the hub have it
    (tmp_path / "video" / "config.json").write_text(json.dumps(older), encoding="utf-8")
    assert content["model_type"] == "sam2_video"
    assert isinstance(build_teacher(tmp_path / "video", 2), Sam2Teacher)
    assert_same(load_sam2(tmp_path / "video"), video)


def test_half_precision_weights_are_loaded_as_floats(tmp_path, make_sam2):
    make_sam2().half().save_pretrained(tmp_path / "half")
    assert {p.dtype for p in load_sam2(tmp_path / "half").parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("facebook/sam2.1-hiera-tiny", True), ("facebook/sam2-hiera-large", True), ("facebook/sam-vit-base", False)],
)
def test_names_on_the_hub_tell_the_family_without_asking_it(monkeypatch, name, is_one):
    def found(*arguments, local_files_only, **options):
        assert local_files_only

    monkeypatch.setattr(model_files, "cached_file", found)
    assert Sam2Teacher.recognises(name) is is_one


def test_model_that_the_hub_does_not_give_is_named(monkeypatch):
    monkeypatch.setattr(model_files, "cached_file", lambda *arguments, **options: None)
    assert "check its name and your connection" in refused("facebook/sam2.1-hiera-tiny")


def test_model_of_the_hub_is_read_from_two_files_of_it(monkeypatch, tiny_sam2_folder):
    asked = set()

    def found(repository, name, **options):
        asked.add(name)
        return str(tiny_sam2_folder / name)

    monkeypatch.setattr(model_files, "cached_file", found)
    assert_same(load_sam2("owner/some-sam2"), Sam2Model.from_pretrained(tiny_sam2_folder))
    assert asked == {"config.json", "model.safetensors"}


# Original checkpoints


@pytest.mark.parametrize("version", ["2.1", "2.0"])
def test_every_weight_of_an_original_checkpoint_is_used_once_but_for_those_for_videos(save, version):
    state = make_sam2_checkpoint(version=version)
    loaded = load_sam2(save({"model": state})).state_dict()
    points = [f"sam_prompt_encoder.point_embeddings.{index}.weight" for index in range(4)]
    images = {name: value for name, value in state.items() if name not in [*video_parts(version), *points]}
    expected = [*images.values(), torch.cat([state[name] for name in points])]
    assert torch.equal(
        loaded.pop("shared_image_embedding.positional_embedding"),
        state["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"],
    )
    assert sorted(value.flatten().tolist() for value in loaded.values()) == sorted(
        value.flatten().tolist() for value in expected
    )


@pytest.mark.parametrize(
    ("original", "converted"),
    [
        ("image_encoder.trunk.pos_embed_window", "vision_encoder.backbone.pos_embed_window"),
        ("image_encoder.trunk.patch_embed.proj.weight", "vision_encoder.backbone.patch_embed.projection.weight"),
        ("image_encoder.trunk.blocks.1.norm1.bias", "vision_encoder.backbone.blocks.1.layer_norm1.bias"),
        ("image_encoder.trunk.blocks.1.norm2.bias", "vision_encoder.backbone.blocks.1.layer_norm2.bias"),
        ("image_encoder.trunk.blocks.1.attn.proj.weight", "vision_encoder.backbone.blocks.1.attn.proj.weight"),
        ("image_encoder.trunk.blocks.1.proj.weight", "vision_encoder.backbone.blocks.1.proj.weight"),
        ("image_encoder.trunk.blocks.2.mlp.layers.0.bias", "vision_encoder.backbone.blocks.2.mlp.proj_in.bias"),
        ("image_encoder.trunk.blocks.2.mlp.layers.1.bias", "vision_encoder.backbone.blocks.2.mlp.proj_out.bias"),
        ("image_encoder.neck.convs.3.conv.weight", "vision_encoder.neck.convs.3.weight"),
        ("sam_prompt_encoder.no_mask_embed.weight", "prompt_encoder.no_mask_embed.weight"),
        ("sam_prompt_encoder.not_a_point_embed.weight", "prompt_encoder.not_a_point_embed.weight"),
        ("sam_prompt_encoder.mask_downscaling.4.weight", "prompt_encoder.mask_embed.layer_norm2.weight"),
        ("sam_mask_decoder.transformer.layers.1.norm3.bias", "mask_decoder.transformer.layers.1.layer_norm3.bias"),
        (
            "sam_mask_decoder.transformer.layers.0.self_attn.out_proj.bias",
            "mask_decoder.transformer.layers.0.self_attn.o_proj.bias",
        ),
        (
            "sam_mask_decoder.transformer.layers.0.mlp.layers.1.bias",
            "mask_decoder.transformer.layers.0.mlp.proj_out.bias",
        ),
        ("sam_mask_decoder.transformer.norm_final_attn.bias", "mask_decoder.transformer.layer_norm_final_attn.bias"),
        ("sam_mask_decoder.output_upscaling.1.bias", "mask_decoder.upscale_layer_norm.bias"),
        ("sam_mask_decoder.conv_s1.weight", "mask_decoder.conv_s1.weight"),
        ("sam_mask_decoder.obj_score_token.weight", "mask_decoder.obj_score_token.weight"),
        (
            "sam_mask_decoder.output_hypernetworks_mlps.2.layers.0.bias",
            "mask_decoder.output_hypernetworks_mlps.2.proj_in.bias",
        ),
        (
            "sam_mask_decoder.output_hypernetworks_mlps.2.layers.1.bias",
            "mask_decoder.output_hypernetworks_mlps.2.layers.0.bias",
        ),
        ("sam_mask_decoder.pred_obj_score_head.layers.0.bias", "mask_decoder.pred_obj_score_head.proj_in.bias"),
        ("sam_mask_decoder.pred_obj_score_head.layers.1.bias", "mask_decoder.pred_obj_score_head.layers.0.bias"),
        ("no_mem_embed", "no_memory_embedding"),
    ],
)
def test_weights_of_the_same_shape_are_not_mixed_up(save, state, monkeypatch, original, converted):
    monkeypatch.setattr(sam2_original, "read_original", lambda path: state)
    _, weights = convert_original(Path("weights.pt"))
    assert weights[converted] is state[original]


@pytest.mark.parametrize(
    ("name", "million"), [("tiny", 38.96), ("small", 46.06), ("base_plus", 80.85), ("large", 224.45)]
)
def test_shapes_tell_the_four_published_ones(monkeypatch, name, million):
    shapes = sam2_shapes(PUBLISHED[name], "2.1")
    weights = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    monkeypatch.setattr(sam2_original, "read_original", lambda path: weights)
    config, converted = convert_original(Path("sam2.1_hiera.pt"))
    with torch.device("meta"):
        expected = Sam2Model(config).state_dict()
    del expected["shared_image_embedding.positional_embedding"]
    assert {key: value.shape for key, value in converted.items()} == {k: value.shape for k, value in expected.items()}
    assert round(sum(value.numel() for value in weights.values()) / 1e6, 2) == million


@pytest.mark.parametrize("wrap", ["model", "state_dict", "module."])
def test_checkpoint_of_a_training_loads_as_the_weights_in_it(state, save, wrap):
    wrapped = {f"module.{name}": value for name, value in state.items()} if wrap == "module." else {wrap: state}
    expected = load_sam2(save(state))
    assert isinstance(build_teacher(save(wrapped), 2), Sam2Teacher)
    assert_same(load_sam2(save(wrapped)), expected)


def test_half_precision_checkpoint_is_loaded_as_floats(state, save):
    sam = load_sam2(save({"model": {name: value.half() for name, value in state.items()}}))
    assert {value.dtype for value in sam.state_dict().values()} == {torch.float32}
    assert torch.equal(sam.no_memory_embedding, state["no_mem_embed"].half().float())


# What is refused


def test_families_do_not_take_each_others_checkpoints(state, save, original_checkpoint):
    assert "not a checkpoint of SAM 2" in refusal_of_family("sam2")(original_checkpoint)
    assert isinstance(build_teacher(original_checkpoint, 2), SamTeacher)
    path = save(state)
    assert "not a checkpoint of segment-anything" in refusal_of_family("sam")(path)
    assert "not a checkpoint of MobileSAM or LiteMedSAM" in refusal_of_family("tiny_sam")(path)


def test_folder_of_another_family_is_refused(tiny_sam_folder, tiny_sam2_folder):
    assert "(it has sam)" in refusal_of_family("sam2")(tiny_sam_folder)
    refusal_of_family("sam")(tiny_sam2_folder)
    refusal_of_family("backbone")(tiny_sam2_folder)


@pytest.mark.parametrize(
    "name", ["image_encoder.trunk.blocks.3.attn.qkv.weight", "sam_mask_decoder.conv_s0.bias", "no_mem_embed"]
)
def test_missing_weight_is_named(state, save, name):
    message = refused(save({key: value for key, value in state.items() if key != name}))
    assert "in 1 weights" in message
    assert "is missing" in message


def test_missing_point_is_named(state, save):
    name = "sam_prompt_encoder.point_embeddings.2.weight"
    message = refused(save({key: value for key, value in state.items() if key != name}))
    assert "prompt_encoder.point_embed.weight is missing" in message


def test_unknown_weights_are_named_first_of_many(state, save):
    adapters = {f"image_encoder.adapter.{index}": torch.zeros(2) for index in range(9)}
    message = refused(save({**state, **adapters}))
    assert "in 9 weights: image_encoder.adapter.0 is unknown" in message
    assert "adapter.5" not in message


def test_weight_of_another_shape_is_named(state, save):
    message = refused(save({**state, "sam_mask_decoder.mask_tokens.weight": torch.zeros(5, 256)}))
    assert "mask_decoder.mask_tokens.weight has the shape 5x256, not 4x256" in message


def test_what_is_no_tensor_is_named(state, save):
    changed = {**state, "sam_mask_decoder.iou_token.weight": "ones"}
    assert "iou_token.weight has the shape none" in refused(save(changed))


def test_weights_that_are_not_finite_are_named(state, save):
    broken = {**state, "sam_mask_decoder.iou_token.weight": torch.full((1, 256), float("nan"))}
    assert "sam_mask_decoder.iou_token.weight" in refused(save(broken))


def test_image_encoder_that_is_none_of_the_published_is_named(state, save, monkeypatch):
    path = save(state)
    monkeypatch.delitem(PUBLISHED, "small one")
    assert "width 16 and 5 blocks, expected those of a published one (tiny 96 and 12, small 96 and 16" in refused(path)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_cut_file_is_named(state, save, share):
    path = save(state)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path)


def test_file_that_would_run_code_is_refused_and_runs_none(trap):
    path, sprung = trap
    assert "could run code" in refused(path)
    assert not sprung.exists()


def test_missing_and_unknown_weights_of_a_folder_are_named(copy):
    name = "vision_encoder.backbone.blocks.0.attn.qkv.bias"
    message = refused(copy(change_state=lambda state: {(f"{k}es" if k == name else k): v for k, v in state.items()}))
    assert f"{name} is missing" in message
    assert f"{name}es is unknown" in message


@pytest.mark.parametrize(
    ("part", "entries", "said"),
    [
        ("mask_decoder_config", {"hidden_size": 48}, "does not fit its own config"),
        ("mask_decoder_config", {"num_hidden_layers": 100_000}, "layers, its weights are"),
        ("vision_config", {"num_feature_levels": 4}, "hand out 3 levels"),
        ("backbone_config", {"query_stride": [4, 4]}, "4 stages, each half as large as the one before"),
        ("backbone_config", {"blocks_per_stage": [10**9, 1, 1, 1]}, "layers, its weights are"),
        ("backbone_config", {"model_type": "timm_wrapper"}, "its image encoder is a timm_wrapper"),
        ("backbone_config", {"hidden_act": "evil"}, "no SAM 2 could be loaded"),
        ("backbone_config", {"embed_dim_per_stage": "wide"}, "no SAM 2 could be loaded"),
    ],
)
def test_config_of_another_architecture_is_refused(copy, part, entries, said):
    def change(config):
        changed = config["vision_config"]["backbone_config"] if part == "backbone_config" else config[part]
        changed |= entries
        return config

    assert said in refused(copy(change_config=change))


# What is told of them


@pytest.mark.parametrize(
    ("base_name", "is_known"),
    [
        ("facebook/sam2.1-hiera-base-plus", True),
        ("sam2.1_hiera_tiny.pt", True),
        ("sam2_hiera_large.pt", True),
        ("our_sam2.1_hiera_tiny.pt", False),
        (None, False),
    ],
)
def test_published_ones_are_known_by_name(base_name, is_known):
    assert sam2_card(base_name) == (CARDS["sam2"] if is_known else None)


def test_card_is_told_of_published_weights_alone(tiny_sam2_folder):
    assert build_teacher(tiny_sam2_folder, 2).card is None
    assert build_teacher(tiny_sam2_folder, 2, base_name="facebook/sam2.1-hiera-tiny").card is CARDS["sam2"]
