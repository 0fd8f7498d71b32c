"""Grids of samples while the diffusion model trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from ignite.engine import Engine
from integration import tiny_unet
from PIL import Image

from common.pictures.sheets import pictures_of
from common.synthesis.sample_grid import SampleGridHandler

SIZE = 16


@pytest.mark.parametrize("training", [True, False])
def test_sample_grid_disturbs_neither_random_state_nor_mode(tmp_path, training):
    unet = tiny_unet(3).train(training)
    engine = Engine(lambda engine, batch: None)
    handler = SampleGridHandler(unet, DDPMScheduler(), tmp_path, interval=2, num_samples=5, num_inference_steps=3)
    handler.attach(engine)
    state = torch.get_rng_state()
    engine.run([0], max_epochs=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training == training for module in unet.modules())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples_epoch_0002.png", "samples_epoch_0004.png"]
    grids = []
    for path in sorted(tmp_path.iterdir()):
        with Image.open(path) as sheet:
            grids += pictures_of(sheet).values()
    assert [(grid.mode, grid.size) for grid in grids] == [("RGB", (3 * SIZE, 2 * SIZE))] * 2
    tiles = np.asarray(grids[0]).reshape(2, SIZE, 3, SIZE, 3).transpose(0, 2, 1, 3, 4).reshape(6, -1)
    assert tiles.any(1).tolist() == [True] * 5 + [False]  # five samples and an empty place
    # the weights did not change between the two epochs, so neither did the samples
    assert grids[0].tobytes() == grids[1].tobytes()


@pytest.mark.parametrize("change", [{"interval": 0}, {"num_samples": 0}])
def test_numbers_below_one_are_refused(tmp_path, change):
    with pytest.raises(ValueError, match="interval and num_samples must be at least 1"):
        SampleGridHandler(tiny_unet(), DDPMScheduler(), tmp_path, **change)
