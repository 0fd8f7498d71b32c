"""Phantoms of the default size suit the values that a bundle has without an overlay."""

from __future__ import annotations

import pytest
from folder_sources import OWN_SOURCES
from integration import BUNDLE
from monai.bundle import ConfigParser

from common.datasets import DATASETS, find_dataset
from common.pipeline.configs import stage_config
from common.pipeline.data import write_missing_phantoms

OWN = {"chaos": [{"modality": modality} for modality in ("ct", "t1_in", "t1_out", "t2")]}
OWN |= {name: [own] for name, own in OWN_SOURCES.items()}


@pytest.fixture(scope="module", params=DATASETS)
def default_phantoms(request, tmp_path_factory):
    name, folder = request.param, tmp_path_factory.mktemp("default") / "phantoms"
    if name in OWN_SOURCES:
        return name, find_dataset(name).write_phantoms(folder)
    write_missing_phantoms(folder, stage_config(BUNDLE.parent / f"{name}_segmentation", "train"))  # as --demo does
    return name, folder


def test_default_phantoms_pass_with_the_defaults_of_their_bundle(default_phantoms):
    name, folder = default_phantoms
    path = BUNDLE.parent / f"{name}_segmentation" / "configs" / "train.yaml"
    config = {"num_validation": 2} if name in OWN_SOURCES else ConfigParser.load_config_file(str(path))
    for own in OWN.get(name, [{}]):
        dataset = find_dataset(name)(root=folder, num_validation=config["num_validation"], **own)
        assert min(dataset.check().values()) >= 1
        for seed in range(1, 10):
            assert all(dataset.with_settings(seed=seed).all_entries().values()), f"seed {seed}"


def test_default_phantoms_pass_without_any_settings(default_phantoms):
    name, folder = default_phantoms
    for own in OWN.get(name, [{}]):
        assert min(find_dataset(name)(root=folder, **own).check().values()) >= 1
