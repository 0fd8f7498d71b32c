"""The network takes and gives what the metadata say, and can be exported; by MONAI's own commands."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from monai.bundle import ckpt_export, verify_net_in_out
from torch import nn

from verify.bundle import METADATA, Bundle, Issue
from verify.tensors import example

_TOLERANCE = 1e-4


def network_format(bundle: Bundle) -> Iterator[Issue]:
    inference = bundle.find("inference")
    try:
        with bundle.importable():
            for size in (1, 3):
                verify_net_in_out(
                    net_id="network_def",
                    meta_file=str(bundle.root / METADATA),
                    config_file=str(bundle.root / inference),
                    device="cpu",
                    **{"n": size, "p": size, "any": 16 * size, "bundle_root": str(bundle.root)},
                )
            network = bundle.parser().get_parsed_content("network_def").eval()
    except Exception as error:  # whatever the bundle's own code raises is its issue
        yield Issue(inference, _told(error), "a network_def that takes and gives what network_data_format says")
        return
    # What MONAI's command does not look at: the size of the prediction and its values.
    images, size = example(bundle)
    with torch.no_grad():
        prediction = network(images)
    if list(prediction.shape[2:]) != size:
        yield Issue(METADATA, f"a prediction of size {list(prediction.shape[2:])}", f"{size}, by spatial_shape of pred")
    if not torch.isfinite(prediction).all():
        yield Issue(inference, "a prediction that is no number", "finite values for every image in value_range")
    low, high = bundle.metadata["network_data_format"]["outputs"]["pred"]["value_range"] or (-math.inf, math.inf)
    if prediction.min() < low or prediction.max() > high:
        found = f"predictions from {prediction.min():.3g} to {prediction.max():.3g}"
        yield Issue(METADATA, found, f"{low} to {high}, by value_range of pred")


def torchscript(bundle: Bundle) -> Iterator[Issue]:
    inference = bundle.find("inference")
    provided = bundle.root / "models/model.ts"
    try:
        with bundle.importable(), tempfile.TemporaryDirectory() as folder:
            network = bundle.parser().get_parsed_content("network_def").eval()
            weights = bundle.weights
            if weights.is_file():
                network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
            else:
                weights = Path(folder) / "model.pt"
                torch.save(network.state_dict(), weights)
            ckpt_export(
                net_id="network_def",
                filepath=str(Path(folder) / "model.ts"),
                ckpt_file=str(weights),
                meta_file=str(bundle.root / METADATA),
                config_file=str(bundle.root / inference),
                bundle_root=str(bundle.root),
            )
            yield from _differences(bundle, network, Path(folder) / "model.ts", inference)
            if provided.is_file() and bundle.is_release:
                yield from _differences(bundle, network, provided, "models/model.ts")
    except Exception as error:  # whatever the bundle's own code raises is its issue
        yield Issue(inference, _told(error), "a network_def that takes the weights and can be exported to TorchScript")


def _differences(bundle: Bundle, network: nn.Module, script: Path, name: str) -> Iterator[Issue]:
    images, _ = example(bundle)
    exported = torch.jit.load(str(script), map_location="cpu").eval()
    with torch.no_grad():
        difference = (exported(images) - network(images)).abs().max().item()
    if not difference <= _TOLERANCE:
        yield Issue(name, f"TorchScript that differs by {difference:.2g}", f"what the weights give, to {_TOLERANCE}")


def _told(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
