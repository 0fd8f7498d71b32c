"""The prior is pre-trained, written and gone on with."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from common.errors import InputError
from common.synthesis.diffusion_folder import load_pipeline
from common.synthesis.prior import pretraining
from common.synthesis.prior.pretraining import pretrain_diffusion

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
TINY = {"pictures": 8, "image_size": 32, "batch_size": 4, "num_workers": 0}


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    monkeypatch.setattr(pretraining, "_CHANNELS", [8, 8, 8, 8])


def test_a_pipeline_in_half_precision_is_written_and_gone_on_with(tmp_path):
    pretrain_diffusion(str(tmp_path / "first"), steps=3, **TINY)
    state = load_file(tmp_path / "first" / WEIGHTS)
    assert {weight.dtype for weight in state.values()} == {torch.float16}
    assert load_pipeline(tmp_path / "first").scheduler.config.prediction_type == "v_prediction"

    pretrain_diffusion(str(tmp_path / "second"), str(tmp_path / "first"), steps=2, seed=1, **TINY)
    training = json.loads((tmp_path / "second/training.json").read_text())
    assert (training["steps"], training["earlier"]["steps"], training["history"][-1]["step"]) == (2, 3, 2)
    moved = (load_file(tmp_path / "second" / WEIGHTS)["conv_in.weight"] - state["conv_in.weight"]).abs().max()
    assert 0 < moved < 0.05


def test_the_network_learns(tmp_path):
    pretrain_diffusion(str(tmp_path / "model"), steps=60, learning_rate=0.01, **TINY)
    (figures,) = json.loads((tmp_path / "model/training.json").read_text())["history"]
    assert figures["loss"] < 0.8  # of targets with variance 1


def test_a_seed_gives_the_same_weights(tmp_path):
    for name in ("first", "second"):
        pretrain_diffusion(str(tmp_path / name), steps=2, **TINY)
    first, second = (load_file(tmp_path / name / WEIGHTS) for name in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_cannot_be_done_is_said_before_anything_is_drawn(tmp_path):
    for size in (40, 208):
        with pytest.raises(InputError, match=f"expected a multiple of 16 up to 192, got {size}"):
            pretrain_diffusion(str(tmp_path / "out"), image_size=size)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"there is no training\.json"):
        pretrain_diffusion(str(tmp_path / "out"), str(tmp_path / "empty"), pictures=4, num_workers=0)
    assert not (tmp_path / "out").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/me.png").write_bytes(b"precious")
    with pytest.raises(InputError, match="photos"):
        pretrain_diffusion(str(tmp_path / "photos"))
