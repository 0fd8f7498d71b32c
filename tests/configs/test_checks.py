"""Numbers and names are checked before any work: every key at fault in a line, with what is allowed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from common.configs.checks import RULES, check, check_configs
from common.distillation.methods import METHODS
from common.errors import InputError

BUNDLES = Path(__file__).parents[2] / "bundles"
NO_NUMBERS = [math.nan, math.inf, -math.inf, True, False, "3", "", None, [3], {}]
COUNTS = ["epochs", "batch_size", "lora_rank", "num_images", "val_interval", "train::trainer::max_epochs", "crop_size"]


@pytest.mark.parametrize("key", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 2.5, 1.0, *NO_NUMBERS])
def test_counts_are_whole_and_positive(key, value):
    check(**{key: 1})
    with pytest.raises(
        InputError, match=rf"^{key}: expected a whole number of at least 1, got {re.escape(repr(value))}"
    ):
        check(**{key: value})


@pytest.mark.parametrize("key", ["learning_rate", "base_learning_rate", "temperature", "optimizer::lr"])
@pytest.mark.parametrize("value", [0, -0.1, *NO_NUMBERS])
def test_rates_are_finite_and_positive(key, value):
    check(**{key: 1e-4})
    with pytest.raises(InputError, match=rf"^{key}: expected a number above 0, got {re.escape(repr(value))}"):
        check(**{key: value})


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("num_labels", [None, 1, 40], [0, "all", 2.5, True]),
        ("num_validation", [0, 3], [-1, None, 0.5]),
        ("num_workers", [0, 8], [-1, None, 1.5]),
        ("seed", [0, 2**32 - 1], [-1, 2**32, None, 0.0, "0"]),
        ("overlap", [0, 0.25, 0.99], [1, -0.1, 1.0, math.nan, "0.5"]),
        ("copy_threshold", [0, 0.5, 1], [-0.1, 1.1, None]),
        ("min_confidence", [None, 0, 1], [1.1, "high"]),
        ("ema_momentum", [0.01], [0, 1, -0.1]),
        (
            "percentiles",
            [[1, 99], (0, 100), [0.5, 99.5]],
            [[99, 1], [1, 1], [1], [-1, 99], [1, 101], 5, "1", ["a", "b"]],
        ),
        ("window", [[-160, 240]], [[240, -160], [0, math.inf], [0, True], "a", None]),
        ("amp", [True, False], [1, "false", None]),
        ("whole_images", [True, False], [0, "true"]),
        ("teacher_orientations", [1, 2, 8], [0, 4, True, 8.0]),
        ("subject", ["student", "teacher"], ["pupil", None]),
        ("lora_targets", ["qkv", ["qkv", "proj"], None], ["", [], [3], 3]),
        ("diffusion_channels", [[8, 16]], [[], [8, 0], [8.0], 8, "8", [True]]),
        ("loss::terms::features::weight", [0, 1, 0.5], [-1, math.nan, math.inf, "1"]),
        ("loss::terms::mine::loss::temperature", [0.5], [0]),
        ("train::random_transforms::1::prob", [0, 0.5, 1], [1.5, -0.5, "often"]),
        ("train::clipping::max_norm", [1], [0, -1]),
    ],
)
def test_ranges_and_names(key, good, bad):
    for value in good:
        check(**{key: value})
    for value in bad:
        with pytest.raises(InputError, match=f"^{key}: expected "):
            check(**{key: value})


class TestDevice:
    def test_one_that_is_here(self):
        check(device="cpu")
        check(device=torch.device("cpu"))

    @pytest.mark.parametrize("device", ["gpu", "meta", "", None, 2.5, "cuda:99", ["cpu"]])
    def test_one_that_is_not(self, device):
        with pytest.raises(InputError, match=r"^device: expected cpu"):
            check(device=device)

    def test_a_gpu_where_there_is_none(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(InputError, match="device: expected cpu alone, since PyTorch finds no GPU here, got 'cuda'"):
            check(device="cuda")

    def test_is_left_to_other_machines_where_those_do_the_work(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        check_configs([{"device": "cuda"}], on_this_machine=False)


class TestDiffusionChannels:
    @pytest.mark.parametrize(
        ("channels", "said"),
        [([8, 16, 16], "expected 2 numbers, one for each block"), ([8, 12], "divisible by the 8 groups of a norm")],
    )
    def test_fit_the_blocks_and_the_norms(self, channels, said):
        for refuse in (
            lambda: check_configs(
                [
                    {
                        "diffusion_channels": channels,
                        "diffusion_def": {"norm_num_groups": 8, "down_block_types": ["a", "b"]},
                    }
                ]
            ),
            lambda: check(diffusion_channels=channels, norm_num_groups=8, down_block_types=["a", "b"]),
        ):
            with pytest.raises(InputError, match=f"^diffusion_channels: .*{said}"):
                refuse()

    def test_may_be_others_with_other_blocks(self):
        check_configs([{"diffusion_channels": [4], "diffusion_def": {"norm_num_groups": 4, "down_block_types": ["a"]}}])


class TestConfigs:
    def test_every_fault_of_every_stage_is_in_a_line_of_its_own_and_told_once(self):
        stage = {"epochs": 0, "train": {"trainer": {"max_epochs": "@epochs"}, "random_transforms": [{"prob": 2}]}}
        with pytest.raises(InputError) as caught:
            check_configs([stage, {**stage, "lora_rank": -1}])
        assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["epochs", "train", "lora_rank"]

    def test_expressions_and_keys_of_others_are_left_alone(self):
        check_configs(
            [{"epochs": "$@a", "batch_size": "@b", "seed": "%c.yaml::seed", "mine": -1, "loss": {"weight": [1]}}]
        )

    def test_values_by_stage_are_checked_as_well(self):
        with pytest.raises(InputError, match=r"^epochs: .* got 0"):
            check_configs([{"epochs_by_stage": {"train": 3, "distill": 0}, "epochs": "$@epochs_by_stage[@stage]"}])

    def test_a_number_that_a_file_has_as_text_is_told_how_to_write_it(self):
        with pytest.raises(InputError, match=r"learning_rate: .* got '1e-4' \(text: write 0.0001 without quotes\)"):
            check_configs([{"learning_rate": "1e-4"}])

    @pytest.mark.parametrize(
        "path", sorted(BUNDLES.glob("*/configs/*.yaml")), ids=lambda path: f"{path.parts[-3]} {path.stem}"
    )
    def test_all_of_this_project_pass(self, path):
        check_configs([ConfigParser.load_config_file(str(path))])

    def test_of_every_method_pass(self):
        check_configs([ConfigParser.load_config_file(str(each.config)) for each in METHODS.values() if each.config])

    def test_have_a_rule_for_every_number_and_switch_that_they_begin_with(self):
        without = set()
        for path in [*BUNDLES.glob("*/configs/*.yaml"), *(each.config for each in METHODS.values() if each.config)]:
            for key, value in ConfigParser.load_config_file(str(path)).items():
                if isinstance(value, (int, float)) and "::" not in key and key not in RULES:
                    without.add(key)
        assert without == {"annotator"}  # which its dataset checks
