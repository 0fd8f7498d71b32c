"""Every loader of a file of tensors refuses in one line what is not one; nothing runs, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from untrusted import CHECKPOINTS

from common.errors import InputError
from common.files import provenance
from common.files.checkpoints import read_checkpoint
from common.files.weights import load_weights
from common.teachers import build_teacher
from common.teachers.network_weights import load_network
from common.teachers.sam2_weights import load_sam2
from common.teachers.sam_hq_weights import load_sam_hq
from common.teachers.sam_weights import load_sam
from common.teachers.tiny_sam_weights import load_tiny_sam


def read_provenance(path: Path) -> None:
    provenance.provenance_path(path).write_text('{"weights": "0", "provenance": {}}')
    provenance.read_provenance(path)


LOADERS: dict[str, Callable[[Path], object]] = {
    "a checkpoint to resume from": read_checkpoint,
    "a student": lambda path: load_weights(nn.Linear(1, 1), path),
    "what a student begins with": lambda path: provenance.of_training(path, []),
    "the provenance of weights": read_provenance,
    "an original SAM": lambda path: load_sam(path),
    "a LiteMedSAM": lambda path: load_tiny_sam(path),
    "an original SAM-HQ": lambda path: load_sam_hq(path),
    "an original SAM 2": lambda path: load_sam2(path),
    "any other network": lambda path: load_network(path, nn.Linear(1, 1)),
    "a teacher of whatever family": lambda path: build_teacher(path, num_classes=2),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_it_is_refused_in_one_line(loader, kind, tmp_path):
    folder, sprung = tmp_path / "run" / "models", tmp_path / "run" / "sprung"
    folder.mkdir(parents=True)
    CHECKPOINTS[kind](folder / "model.pt", sprung)
    outside = {path for path in tmp_path.rglob("*") if path.parent != folder}
    with pytest.raises(InputError) as caught:
        LOADERS[loader](folder / "model.pt")
    assert "model.pt" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not sprung.exists()
    assert {path for path in tmp_path.rglob("*") if path.parent != folder} == outside


def test_the_traps_work(tmp_path):
    """So that a trap that is not sprung says something."""
    for kind in ("pickled", "pickled_in_the_old_format"):
        CHECKPOINTS[kind](tmp_path / "model.pt", tmp_path / "sprung")
        torch.load(tmp_path / "model.pt", weights_only=False)
        (tmp_path / "sprung").rmdir()


def test_a_compressed_archive_is_not_unpacked(tmp_path, monkeypatch):
    CHECKPOINTS["compressed"](tmp_path / "model.pt", tmp_path)
    assert torch.load(tmp_path / "model.pt", weights_only=True)["weight"].numel() == 8_000_000, "PyTorch unpacks it"
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(InputError, match="compressed archive that unpacks to 32,0"):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("old_format", [False, True])
def test_weights_that_share_memory_or_are_nested_are_read(tmp_path, old_format):
    weight = torch.rand(3, 4)
    content = {"model": {"a": weight, "b": weight.T, "c": weight[1:]}, "steps": [1, (weight, "x")], "lr": 0.1}
    torch.save(content, tmp_path / "model.pt", _use_new_zipfile_serialization=not old_format)
    found = read_checkpoint(tmp_path / "model.pt")
    for name, value in content["model"].items():
        assert torch.equal(found["model"][name], value)


def test_a_link_to_a_checkpoint_is_read(tmp_path):
    """Weights are large, and are often linked to; what they are is looked at, not where they lie."""
    torch.save({"a": torch.ones(2)}, tmp_path / "large.pt")
    (tmp_path / "model.pt").symlink_to("large.pt")
    assert read_checkpoint(tmp_path / "model.pt")["a"].sum() == 2
