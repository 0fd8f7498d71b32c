"""Which keys a config has, nested ones and further arguments of components included."""

from __future__ import annotations

import pytest

from common.configs.known_keys import describe_unknown, has_key, unknown_references

CONFIG = {
    "epochs": 3,
    "_hidden": 1,
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1},
    "loss": {"_target_": "DiceCELoss", "weights": {"a": 1}},
    "anything": {"_target_": "no.such.component"},
    "train": {"handlers": [{"interval": 2}], "trainer": {"max_epochs": 3}},
}


@pytest.mark.parametrize(
    "key",
    ["epochs", "train", "train::trainer::max_epochs", "train#trainer#max_epochs", "train::handlers::0::interval",
     "optimizer::weight_decay", "optimizer::_disabled_", "loss::include_background", "loss::weights::b", "anything::x"],
)  # fmt: skip
def test_a_key_that_changes_something(key):
    assert has_key(CONFIG, key)


@pytest.mark.parametrize(
    "key",
    ["epoch", "train::trainer::epochs", "train::handlers::1::interval", "train::handlers::x", "epochs::x", "trian::x",
     "optimizer::weight_deca", "loss::include_backgrounds", "train::validation"],
)  # fmt: skip
def test_a_key_that_changes_nothing(key):
    assert not has_key(CONFIG, key)


def test_the_nearest_keys_are_named_and_the_command_that_lists_all():
    listed = "task-distill list keys BUNDLE shows all"
    assert describe_unknown("epoch", [CONFIG]) == f"did you mean epochs? {listed}"
    assert "train::trainer::max_epochs" in describe_unknown("train::trainer::epochs", [CONFIG])
    assert describe_unknown("zzz", [{"a": 1}, CONFIG]) == listed


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("size", "image_size"),
        ("lr", "learning_rate"),
        ("gpu", "device"),
        ("max_images_of_training", "image_size or num_images"),
        ("num", "num_images or num_labels or num_steps"),
        ("bach_size", "batch_size"),
    ],
)
def test_three_keys_at_most_are_named_that_may_be_meant(key, meant):
    names = ["batch_size", "device", "epochs", "image_size", "learning_rate", "num_images", "num_labels", "num_steps"]
    names.append("num_workers")
    said = describe_unknown(key, [dict.fromkeys(names), {"train": {"num": 1}}])
    assert said.startswith(f"did you mean {meant}")
    assert said.count(" or ") < 3


def test_a_reference_to_nothing_is_named_with_what_refers_to_it():
    references = {"a": "$@epochs + @optimizer::lr", "b": ["@epoch"], "c": {"d": "$len(@train#trainer#max_epochs)"}}
    assert unknown_references({**CONFIG, **references}) == [
        "b::0: there is no @epoch to refer to; did you mean epochs? task-distill list keys BUNDLE shows all"
    ]


def test_a_key_of_an_overlay_that_a_stage_makes_no_use_of_may_refer_to_one_that_it_has_not():
    overlay = {"lora_rank": "$64 if @pretrained == 'embedded' else 8"}
    assert unknown_references({**CONFIG, **overlay}) == []
    used = {"teacher_def": {"rank": "@lora_rank"}}
    assert [line.partition(";")[0] for line in unknown_references({**CONFIG, **overlay, **used})] == [
        "lora_rank: there is no @pretrained to refer to"
    ]
    assert unknown_references({**CONFIG, "run": "$@trainer.run()"})[0].startswith("run: there is no @trainer")
