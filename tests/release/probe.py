"""Run by the interpreter of the fresh environment: what MONAI makes of a release where nothing else is installed.

``python probe.py DIST NAME CHANNELS``, where DIST/NAME is the release and the working directory is another folder.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import torch
from monai.bundle import ckpt_export, load, verify_net_in_out

ABSENT = ("common", "transformers", "peft", "diffusers", "matplotlib", "tqdm", "tensorboard", "openpyxl")


def main(dist: str, name: str, channels: int) -> None:
    for package in ABSENT:
        assert importlib.util.find_spec(package) is None, f"{package} can be imported here"
    sys.path.insert(0, str(Path(dist) / name))
    warnings.simplefilter("ignore")
    weights = torch.load(Path(dist) / name / "models" / "model.pt", weights_only=True)
    script, metadata, _ = load(name, bundle_dir=dist, load_ts_module=True)
    assert metadata["version"]
    for options in ({}, {"workflow_type": "inference"}):
        network = load(name, bundle_dir=dist, **options).eval()
        assert isinstance(network, torch.nn.Module), type(network)
        assert type(network).__module__.startswith(("scripts_", "monai.")), type(network).__module__
        state = network.state_dict()
        assert state.keys() == weights.keys()
        assert all(torch.equal(state[key], weights[key]) for key in weights)
        for shape in ((1, channels, 64, 64), (2, channels, 96, 32)):
            images = torch.rand(shape)
            with torch.no_grad():
                assert float((network(images) - script(images)).abs().max()) < 1e-4
    configs = Path(dist) / name / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.yaml")}
    for net in ("network_def", "network"):
        verify_net_in_out(net, device="cpu", n=2, ckpt_path=str(Path(dist) / name / "models" / "model.pt"), **files)
    ckpt_file = str(Path(dist) / name / "models" / "model.pt")
    ckpt_export("network_def", filepath="again.ts", ckpt_file=ckpt_file, **files)
    again = torch.jit.load("again.ts").state_dict()
    assert all(torch.equal(again[key], weights[key]) for key in weights)
    print("the release is complete")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
