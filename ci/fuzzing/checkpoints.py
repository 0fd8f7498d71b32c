"""Files of weights: other entries, other numbers, damaged archives, and such as would run code."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from fuzzing import damage
from fuzzing.sources import tiny_student
from fuzzing.targets import RIGHT, Target, Verdict, not_judged, silent
from fuzzing.trap import Trap

_HARMLESS = (None, "double", "legacy", "order", "name")
_CHANGES = (*_HARMLESS, "missing", "extra", "shape", "half", "int", "complex", "bool", "nan", "inf", "list", "text",
            "wrapped", "empty dict", "module", "trap", "trap in value", "raw pickle", "zip bomb", "outside", "symlink",
            "folder", "tar", "number keys", "sparse", "safetensors", "damage", "damage", "damage")  # fmt: skip
_PLANS = st.fixed_dictionaries({"change": st.sampled_from(_CHANGES), "damage": damage.ANY, "entry": st.integers(0, 99)})


def _make(plan: dict[str, Any], place: Path, sources: Path) -> None:
    state = torch.load(sources / "ph2.pt", weights_only=True)
    torch.save(state, place / "home" / "sound.pt")
    path = place / "in" / ("ä b.pt" if plan["change"] == "name" else "model.pt")
    names = [name for name, value in state.items() if value.is_floating_point() and value.ndim > 1]
    name = names[plan["entry"] % len(names)]
    value = state[name]
    content: Any = state
    options: dict[str, Any] = {}
    match plan["change"]:
        case "missing":
            del state[name]
        case "extra":
            state["head.more"] = value
        case "shape":
            state[name] = torch.cat([value, value])
        case "double":
            state[name] = value.double()
        case "half":
            state[name] = value.half()
        case "int":
            state[name] = value.mul(100).int()
        case "complex":
            state[name] = value.to(torch.complex64) + 1j
        case "bool":
            state[name] = value > 0
        case "sparse":
            state[name] = value.flatten(1).to_sparse() if value.ndim > 2 else value.to_sparse()
        case "nan" | "inf":
            state[name] = torch.where(torch.rand_like(value) < 0.1, float(plan["change"]), value)
        case "list":
            content = list(state.values())
        case "text":
            content = "no weights"
        case "wrapped":
            content = {"state_dict": state}
        case "empty dict":
            content = {}
        case "number keys":
            content = {7: value, **state}
        case "order":
            content = dict(reversed(state.items()))
        case "module":
            content = tiny_student("ph2")
        case "trap":
            content = {name: Trap(place)}
        case "trap in value":
            content = {**state, "more": Trap(place)}
        case "legacy":
            options["_use_new_zipfile_serialization"] = False
        case "folder":
            path.mkdir()
            return
    torch.save(content, path, **options)
    match plan["change"]:
        case "raw pickle":
            path.write_bytes(pickle.dumps(Trap(place)))
        case "zip bomb":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("model/data.pkl", pickle.dumps({"a": 1}))
                archive.writestr("model/data/0", bytes(2**28))
        case "outside":
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("../../executed", b"x")
        case "symlink":
            path.unlink()
            path.symlink_to("/dev/zero" if plan["entry"] % 2 else place / "in" / "none.pt")
        case "tar":
            import tarfile

            with tarfile.open(path, "w") as archive:
                info = tarfile.TarInfo("../executed")
                archive.addfile(info, io.BytesIO())
        case "safetensors":
            from safetensors.torch import save_file

            save_file(torch.load(place / "home" / "sound.pt", weights_only=True), path)
        case "damage":
            damage.apply(plan["damage"], path)


def _path(place: Path) -> Path:
    return next((place / "in").glob("*.pt"))


def _run(plan: dict[str, Any], place: Path) -> dict[str, np.ndarray]:
    from common.files.weights import load_weights

    (path,) = (place / "in" / name for name in os.listdir(place / "in"))
    network = load_weights(tiny_student("ph2"), path, "train")
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _judge(plan: dict[str, Any], place: Path, result: dict[str, np.ndarray], printed: str) -> Verdict:
    sound = torch.load(place / "home" / "sound.pt", weights_only=True)
    same = all(np.array_equal(result[name], value.numpy()) for name, value in sound.items())
    if same:
        return RIGHT
    if plan["change"] == "half":
        return not_judged("half as many bits: the same weights, rounded")
    if plan["change"] == "damage":
        return silent("other weights than were saved, though the archive has checksums")
    return silent(f"other weights than were saved: {plan['change']}")


def _accepts(plan: dict[str, Any], place: Path) -> bool:
    return plan["change"] in _HARMLESS


WEIGHTS = Target("weights", _PLANS, _make, _run, _judge, _accepts)
