"""The recipe of a student: complete and possible, or refused by the name of what is wrong."""

from __future__ import annotations

import json

import pytest
from integration import refused

from common.prediction.recipe import Recipe, missing_facts

FACTS = {
    "sees": "images",
    "image_size": 256,
    "in_channels": 3,
    "classes": ["background", "lesion"],
    "intensity": {"range": [0, 255]},
}


def test_it_is_what_the_provenance_says():
    recipe = Recipe.from_provenance({**FACTS, "teacher": None, "settings": {"image_size": 9}})
    assert recipe == Recipe("images", 256, 3, ("background", "lesion"), {"range": (0.0, 255.0)})


@pytest.mark.parametrize(("sees", "key"), [("images", "image_size"), ("slices", "image_size"), ("crops", "crop_size")])
def test_the_size_has_the_name_that_configs_have_for_it(sees, key):
    facts = {**{name: value for name, value in FACTS.items() if name != "image_size"}, "sees": sees, key: 96}
    recipe = Recipe.from_provenance(facts)
    assert (recipe.size, recipe.size_key) == (96, key)
    other = {"image_size": "crop_size", "crop_size": "image_size"}[key]
    with refused(f"does not say {key}"):
        Recipe.from_provenance({**{name: value for name, value in facts.items() if name != key}, other: 96})


@pytest.mark.parametrize("sees", ["images", "crops", "slices"])
def test_its_facts_give_the_same_recipe_by_way_of_json(sees):
    recipe = Recipe(sees, 64, 1, ("background", "left kidney", "Läsion"), {"window": (-160.0, 240.0)}, "CT")
    assert Recipe.from_provenance(json.loads(json.dumps(recipe.facts()))) == recipe


@pytest.mark.parametrize("key", FACTS)
def test_what_is_missing_is_named_with_what_to_do(key):
    facts = {name: value for name, value in FACTS.items() if name != key}
    assert missing_facts(facts) == [key]
    with refused(f"model.pt: the provenance does not say {key}", "give --bundle"):
        Recipe.from_provenance(facts, "model.pt")
    with refused(f"does not say {key}"):
        Recipe.from_provenance({**facts, key: None})


def test_everything_that_is_missing_is_named_at_once():
    with refused("does not say sees, image_size, in_channels, classes, intensity"):
        Recipe.from_provenance({})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sees", "volumes"),
        ("image_size", 0),
        ("image_size", 256.0),
        ("image_size", True),
        ("in_channels", "3"),
        ("classes", ["background"]),
        ("classes", "background"),
        ("classes", ["background", 1]),
        ("intensity", {}),
        ("intensity", {"range": [255, 0]}),
        ("intensity", {"range": [0, 255], "window": [0, 1]}),
        ("intensity", {"span": [0, 255]}),
        ("intensity", {"window": [0, "255"]}),
        ("intensity", [0, 255]),
    ],
)
def test_what_cannot_be_true_is_refused(key, value):
    with refused(f"{key} is ", "give --bundle"):
        Recipe.from_provenance({**FACTS, key: value})


@pytest.mark.parametrize(
    ("facts", "modality"),
    [
        ({}, None),
        ({"intensity": {"window": [-160, 240]}}, "CT"),  # Hounsfield units
        ({"intensity": {"window": [0, 900]}}, None),  # of MR as well
        ({"intensity": {"window": [-3, 3]}}, None),  # normalised
        ({"modality": "ct"}, "CT"),
        ({"modality": "t1_out"}, "MR"),
        ({"modality": "t2", "dicom_modality": None}, "MR"),
        ({"dicom_modality": "PT"}, "PT"),
        ({"intensity": {"window": [0, 900]}, "dicom_modality": "MR"}, "MR"),
    ],
)
def test_the_modality_is_what_the_headers_of_the_training_said_or_what_follows_from_the_rest(facts, modality):
    assert Recipe.from_provenance({**FACTS, "sees": "slices", **facts}).dicom_modality == modality
