"""A folder that is no bundle is refused, with the bundle that may have been meant."""

from __future__ import annotations

import pytest
from integration import refused

from common.pipeline.bundle_folder import find_configs


@pytest.fixture(autouse=True)
def _bundles(tmp_path, monkeypatch):
    """Two bundles: here, and in the folder bundles."""
    for name in ("wounds_segmentation", "bundles/burns_segmentation"):
        (tmp_path / name / "configs").mkdir(parents=True)
        (tmp_path / name / "configs" / "metadata.json").write_text("{}")
    monkeypatch.chdir(tmp_path)


def test_the_configs_of_a_bundle_are_found():
    assert str(find_configs("wounds_segmentation")) == "wounds_segmentation/configs"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("wounds", "wounds_segmentation"),
        ("wound_segmentation", "wounds_segmentation"),
        ("burns", "bundles/burns_segmentation"),
        ("burns_segmentation", "bundles/burns_segmentation"),
        ("bundles/burns", "bundles/burns_segmentation"),
        ("wounds_segmentation/configs", "wounds_segmentation"),
    ],
)
def test_what_may_have_been_meant_is_named(given, meant):
    with refused(rf"{given} is not a bundle: expected .*; did you mean {meant}\?$"):
        find_configs(given)


def test_what_resembles_no_bundle_is_refused_without_a_guess():
    there = "bundles/burns_segmentation, wounds_segmentation"
    with refused(f"photos is not a bundle: expected a folder with configs/, as create writes it; here is {there}$"):
        find_configs("photos")
