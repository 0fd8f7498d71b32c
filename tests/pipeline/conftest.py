"""What the tests of the pipeline share: a dataset, and stages that are not run."""

from __future__ import annotations

from pathlib import Path

import cached_configs
import pytest
import torch
from fake_stages import FakeStages
from integration import IMAGE_SIZE

from common.datasets.drive import DriveDataset
from common.pipeline import stage_process

configs_are_read_once = cached_configs.configs_are_read_once


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory) -> Path:
    """Phantoms of DRIVE, not to be changed."""
    folder = tmp_path_factory.mktemp("data") / "DRIVE"
    return DriveDataset.write_phantoms(folder, num_training=4, num_test=2, image_size=IMAGE_SIZE)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, configs_are_read_once: None) -> FakeStages:
    """Stages that are noted and not run, on a computer with a GPU: no overlay is taken that nobody names."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    fake = FakeStages()
    monkeypatch.setattr(stage_process, "run_stage", fake)
    return fake
