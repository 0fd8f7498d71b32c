"""Diffusion models whose samples are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transfer_sets import save_model

from common.synthesis import transfer_set_builder
from common.synthesis.diffusion_folder import load_pipeline


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """An untrained diffusion model of grey images."""
    return save_model(tmp_path_factory.mktemp("model") / "diffusion")


@pytest.fixture(scope="session")
def pipeline(model_dir):
    return load_pipeline(model_dir)


@pytest.fixture
def draw(monkeypatch) -> Callable[[torch.Tensor], list[int]]:
    """Make the sampler give certain images, one after the other, whatever the sizes of the batches."""

    def give(images: torch.Tensor) -> list[int]:
        sizes: list[int] = []

        def fake_sample(unet, scheduler, count, *args, **kwargs):
            start = sum(sizes)
            sizes.append(count)
            return images[start : start + count].clone()

        monkeypatch.setattr(transfer_set_builder, "sample", fake_sample)
        return sizes

    return give
