"""Which stages a method needs, and which keys and devices the bundles' stages take."""

from __future__ import annotations

import pytest
from integration import BUNDLES
from monai.bundle import ConfigParser

from common.distillation.methods import METHODS, Method
from common.distillation.methods.base import overlay
from common.errors import InputError
from common.pipeline.configs import load_config, stage_config
from common.pipeline.overrides import check_overrides, takes
from common.pipeline.stages import STAGES, choose_stages, stages_of

EVALUATED = ["train", "evaluate"]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"teacher": "fine_tuned", "transfer_set": True}, list(STAGES)),
        (
            {"teacher": "fine_tuned"},
            ["finetune_teacher", "distill", "train", "evaluate_teacher", "evaluate"],
        ),
        ({"teacher": "published"}, ["distill", *EVALUATED]),
        ({"transfer_set": True}, ["train_diffusion", "synthesize", "distill", *EVALUATED]),
        ({}, ["distill", *EVALUATED]),
        ({"config": None}, EVALUATED),
    ],
)
def test_a_method_gets_the_stages_that_make_what_it_needs(needs, expected):
    assert stages_of(Method(**{"name": "new", "title": "new", "config": overlay("mae"), **needs})) == expected


def test_stages_are_chosen_in_the_order_of_the_pipeline():
    method = METHODS["task_specific_kd"]
    assert (
        choose_stages("train, distill", method) == choose_stages(["train", "distill"], method) == ["distill", "train"]
    )


@pytest.mark.parametrize("stages", ["", [], "distil"])
def test_what_is_no_stage_is_refused(stages):
    with pytest.raises(InputError, match=r"--stages: there is no stage .*; the stages are finetune_teacher, "):
        choose_stages(stages, METHODS["mae"])


@pytest.mark.parametrize("bundle", sorted(BUNDLES.iterdir()), ids=lambda path: path.name)
def test_every_stage_takes_a_device_by_its_name(bundle):
    for stage in STAGES:
        parser = ConfigParser({**stage_config(bundle, stage), "device": "cpu"})
        for key in {"device", "amp", "channels_last"} & set(parser.config):
            assert parser.get_parsed_content(key) == ("cpu" if key == "device" else False)


class TestOverrides:
    def test_a_nested_key_is_known_by_either_way_to_write_it(self):
        config = {"loss": {"weight": 1}}
        assert takes(config, "loss::weight")
        assert takes(config, "loss#weight")
        assert not takes(config, "loss::weights")

    def test_the_rate_of_a_papers_rule_is_not_that_of_the_other_stages(self):
        assert takes({"learning_rate": 1}, "learning_rate")
        assert not takes({"learning_rate": 1, "base_learning_rate": 2}, "learning_rate")

    def test_a_key_that_no_stage_has_is_refused_with_the_command_that_lists_keys(self):
        check_overrides([{"a": 1}, {"b": 2}], {"b": 3})
        said = "--c: none of the stages has this key; task-distill list keys 'my bundle' shows all$"
        with pytest.raises(InputError, match=said):
            check_overrides([{"a": 1, "_hidden": 0}, {"b": 2}], {"b": 3, "c": 4}, bundle="my bundle")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs: [1", "cannot be read as YAML"),
        ("\tepochs: 1", "cannot be read"),
        ("- a", "expected keys with values"),
        ("7: 1", "expected names as keys, got 7"),
    ],
)
def test_a_config_that_is_none_is_refused_by_its_name(text, said, tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"train\.yaml:? {said}") as caught:
        load_config([path])
    assert "\n" not in str(caught.value)
