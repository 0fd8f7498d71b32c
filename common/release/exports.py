"""TorchScript and ONNX of a released student, made by the release itself: nothing of this repository is in them.

``python -m common.release.exports FOLDER IN_CHANNELS IMAGE_SIZE [one_size]`` runs in a process of its own, so
that nothing of the release stays behind.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import InputError, StageError
from common.files.provenance import read_provenance
from common.files.weights import load_weights
from common.prediction.bundle_facts import BundleFacts
from common.prediction.recipe import Recipe, missing_facts
from common.students.features import WithFeatures, find_layer
from common.training import logs

_TOLERANCE = 1e-4
_ONE_SIZE = "one_size"
_WEIGHTS, _ONNX = Path("models/model.pt"), Path("models/model.onnx")
_NEEDED = ("onnx", "onnxruntime", "onnxscript")


def check_packages() -> None:
    """Refuse to start where ONNX cannot be written.

    Raises:
        InputError: naming what is missing.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"a release needs {', '.join(missing)}, which cannot be imported: "
            'pip install "task-specific-distillation[onnx]"'
        )


def export_release(folder: Path, in_channels: int, image_size: int, one_size: bool = False) -> None:
    """Write ``models/model.ts`` and ``models/model.onnx`` of the release in a folder, in another process.

    Args:
        folder: of the release.
        in_channels: channels of an image.
        image_size: height and width of an image.
        one_size: whether the network promises to take no other height and width; ONNX then takes no other.

    Raises:
        StageError: if that failed; the reason is printed.
    """
    command = [sys.executable, "-W", "ignore", "-m", "common.release.exports"]
    # TorchScript numbers what it writes in the order of sets, which depends on the seed of Python's hashes.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    arguments = [str(folder.resolve()), str(in_channels), str(image_size), *([_ONE_SIZE] if one_size else [])]
    done = subprocess.run([*command, *arguments], env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise StageError(f"{done.stderr.strip()}\nerror: the student could not be exported, so nothing was released")


def _export(folder: Path, in_channels: int, image_size: int, one_size: bool) -> None:
    from monai.bundle import ckpt_export

    os.chdir(folder)
    sys.path.insert(0, str(folder))
    ckpt_export(
        net_id="network_def",
        filepath="models/model.ts",
        ckpt_file="models/model.pt",
        meta_file="configs/metadata.json",
        config_file="configs/inference.yaml",
    )
    _strip_torchscript(Path("models/model.ts"))
    known = BundleFacts(Path(), _WEIGHTS)
    network = load_weights(known.network(), _WEIGHTS).eval()
    layer = find_layer(network, in_channels, image_size)
    if layer is not None:
        network = WithFeatures(network, layer).eval()
    wide = image_size if one_size else image_size + 32  # a multiple of 32 suits most networks
    dynamic = (0,) if one_size else (0, 2, 3)
    _write_onnx(network, torch.rand(2, in_channels, image_size, wide), _ONNX, dynamic, _recipe(known))
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, in_channels, image_size, image_size), (2, in_channels, wide, image_size)):
        compare(network, torch.rand(shape, generator=generator))


def _recipe(known: BundleFacts) -> str | None:
    """Return what an image goes through before the network sees it, as JSON; None where the configs do not tell."""
    provenance = read_provenance(_WEIGHTS)
    facts = known.complete(provenance)
    if missing_facts(facts):
        return None
    reference = provenance.get("reference")
    recipe = Recipe.from_provenance(facts, str(_WEIGHTS)).facts()
    return json.dumps({**recipe, "reference": reference}, sort_keys=True)


def _strip_torchscript(path: Path) -> None:
    """Take out where in whose files each operation was written, and a hash of that, which nothing needs to run."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith((".debug_pkl", "/serialization_id"))]
        content = {name: archive.read(name) for name in names}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def _write_onnx(network: nn.Module, images: Tensor, path: Path, dynamic: Sequence[int], recipe: str | None) -> None:
    """Write ONNX for any size along the ``dynamic`` axes of its input that the network takes, and the recipe in it."""
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.onnx.export(
        network,
        (images,),
        path,
        input_names=["image"],
        output_names=["pred", "features"] if isinstance(network, WithFeatures) else ["pred"],
        dynamic_shapes=(dict.fromkeys(dynamic, torch.export.Dim.DYNAMIC),),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = onnx.load(path)
    for item in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del item.metadata_props[:]  # where in whose files each operation was written
    if recipe is not None:
        model.metadata_props.add(key="recipe", value=recipe)
    onnx.save(model, path)


def compare(network: nn.Module, images: Tensor) -> None:
    """Check that the exports in the working directory, which is that of a release, agree with the network.

    Args:
        network: that returns logits, or logits and features.
        images: to try it on.

    Raises:
        InputError: if what they compute differs.
    """
    import onnxruntime

    with torch.no_grad():
        outputs = network(images)
        expected = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        scripted = torch.jit.load("models/model.ts", map_location="cpu")(images)
    session = onnxruntime.InferenceSession(str(_ONNX), providers=["CPUExecutionProvider"])
    computed = [torch.from_numpy(np.asarray(each)) for each in session.run(None, {"image": images.numpy()})]
    pairs = [("TorchScript", "logits", scripted, expected[0])]
    pairs += [("ONNX", *each) for each in zip(("logits", "features"), computed, expected, strict=False)]
    for name, what, found, wanted in pairs:
        difference = float((found - wanted).abs().max()) if found.shape == wanted.shape else float("inf")
        if not difference <= _TOLERANCE * max(1.0, float(wanted.abs().max()) if what == "features" else 1.0):
            raise InputError(
                f"{name} gives {what} that differ by {difference:.2g} from the network's for images of "
                f"{tuple(images.shape)}; at most {_TOLERANCE:g} is allowed"
            )


if __name__ == "__main__":
    sys.excepthook = logs.report
    _export(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] == [_ONE_SIZE])
