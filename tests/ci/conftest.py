"""A bundle whose student is tiny, and a release in miniature; each test has a copy of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from broken_bundles import NETWORK, change_config, change_metadata
from integration import BUNDLES, TINY_STUDENT


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose student is tiny."""
    copy = tmp_path / "ph2_segmentation"
    shutil.copytree(BUNDLES / copy.name, copy, ignore=shutil.ignore_patterns("models", "eval"))
    change_config(copy, "inference", lambda config: config.update(network_def=TINY_STUDENT))
    return copy


@pytest.fixture
def release(bundle: Path) -> Path:
    """A bundle that does without this repository: its network is a module of its own, and it has weights."""
    for path in bundle.glob("configs/*.yaml"):
        if path.stem != "inference":
            path.unlink()

    def strip(config: dict[str, Any]) -> None:
        config["imports"] = ["$import scripts.network as network"]
        config |= {"network_def": {"_target_": "scripts.network.Student"}, "image_size": 64}
        config |= {"network": "$@network_def.to(@device)", "dataset": {"_target_": "Dataset", "data": []}}
        config["handlers"] = []
        for section in ("preprocessing", "postprocessing"):
            transforms = config[section]["transforms"]
            config[section]["transforms"] = [each for each in transforms if "common." not in json.dumps(each)]
        for key in ("images", "outcome", "student_def", "initialize", "finalize"):
            config.pop(key, None)
        del config["evaluator"]["iteration_update"]

    change_config(bundle, "inference", strip)
    change_metadata(bundle, lambda metadata: metadata.update(eval_metrics={"dice": 0.9}))
    (bundle / "scripts").mkdir()
    (bundle / "scripts/__init__.py").touch()
    (bundle / "scripts/network.py").write_text(NETWORK, encoding="utf-8")
    (bundle / "models").mkdir()
    torch.save(torch.nn.ModuleDict({"head": torch.nn.Conv2d(3, 2, 3)}).state_dict(), bundle / "models/model.pt")
    return bundle
