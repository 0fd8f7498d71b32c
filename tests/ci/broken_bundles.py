"""What breaks the rules of ``ci/verify``, one at a time, and how the issues are listed."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from monai.bundle import ckpt_export
from verify.bundle import METADATA
from verify.rules import verify

WORKSPACE = Path("/", "workspace").as_posix()
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is ten times as fast
NETWORK = """
import torch
from einops import rearrange


class Student(torch.nn.Module):
    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.head = torch.nn.Conv2d(3, classes, kernel_size=3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images)
"""


def listed(bundle: Path) -> str:
    """Return the issues of a bundle, a line for each."""
    return "\n".join(
        f"{rule}: {issue.file}: found {issue.found}; expected {issue.expected}"
        for rule, found in verify(bundle).items()
        for issue in found
    )


def change_metadata(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = bundle / METADATA
    metadata = json.loads(path.read_text(encoding="utf-8"))
    change(metadata)
    path.write_text(json.dumps(metadata), encoding="utf-8")


def change_config(bundle: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    path = bundle / "configs" / f"{name}.yaml"
    config = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    change(config)
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def write(name: str, content: str | bytes) -> Callable[[Path], Any]:
    def breaking(bundle: Path) -> None:
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return breaking


def without(name: str) -> Callable[[Path], Any]:
    return lambda bundle: (bundle / name).unlink()


def metadata(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    return lambda bundle: change_metadata(bundle, change)


def tensor(way: str, **changes: Any) -> Callable[[Path], Any]:
    def change(metadata: dict[str, Any]) -> None:
        metadata["network_data_format"][way]["image" if way == "inputs" else "pred"].update(changes)

    return lambda bundle: change_metadata(bundle, change)


def config(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    return lambda bundle: change_config(bundle, name, change)


def large(content: str) -> Callable[[Path], Any]:
    return write("large_files.yml", content)


def as_json(name: str, change: Callable[[dict[str, Any]], Any] = lambda config: None) -> Callable[[Path], Any]:
    """Return what writes a config as JSON as well, after a change."""

    def writing(bundle: Path) -> None:
        config = yaml.safe_load((bundle / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
        change(config)
        (bundle / "configs" / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")

    return writing


def name_validation(config: dict[str, Any]) -> None:
    """Let the handlers of a training refer to one by its name, which MONAI's own check does not follow."""
    training = config["train"]
    training["validation"] = {**training["handlers"][1], "interval": "@interval"}
    training["handlers"][1] = "@train::validation"


def film(bundle: Path) -> None:
    with (bundle / "docs/film.gif").open("wb") as file:
        file.truncate(25_100_000)


def script_of_other_weights(bundle: Path, dataset_dir: str = "/data/images") -> None:
    """Leave a model.ts, with the configs in it, that was not exported from model.pt."""
    other = bundle.parent / "other.pt"
    torch.save({key: value + 1 for key, value in torch.load(bundle / "models/model.pt").items()}, other)
    export_script(bundle, other)


def script_with_sources(bundle: Path) -> None:
    """Leave a model.ts in which the debugger finds where each operation was written."""
    export_script(bundle, bundle / "models/model.pt", stripped=False)


def onnx_of(place: str) -> Callable[[Path], Any]:
    """Return what leaves a model.onnx that says where its node was written; its weights read like a path by chance."""

    def breaking(bundle: Path) -> None:
        node = onnx.helper.make_node("Add", ["image", "weights"], ["pred"])
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=f'File "{place}", line 3, in forward')
        weights = onnx.numpy_helper.from_array(np.frombuffer(b" ~/a /mnt/jane/b ", np.uint8), "weights")
        image, pred = (
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [17]) for name in ("image", "pred")
        )
        model = onnx.helper.make_model(onnx.helper.make_graph([node], "network", [image], [pred], [weights]))
        onnx.save(model, bundle / "models/model.onnx")

    return breaking


def script_with_a_home(bundle: Path) -> None:
    """Leave a model.ts that was exported with a path in its configs, which are in order by now."""
    kept = (bundle / "configs/inference.yaml").read_text(encoding="utf-8")
    change_config(bundle, "inference", lambda config: config.update(dataset_dir="/home/jane/scans"))
    export_script(bundle, bundle / "models/model.pt")
    (bundle / "configs/inference.yaml").write_text(kept, encoding="utf-8")


def export_script(bundle: Path, weights: Path, stripped: bool = True) -> None:
    """Leave a model.ts of weights; unless it is ``stripped``, it says where its operations were written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(bundle))
        files = {"config_file": str(bundle / "configs/inference.yaml"), "meta_file": str(bundle / METADATA)}
        ckpt_export(net_id="network_def", filepath=str(bundle / "models/model.ts"), ckpt_file=str(weights), **files)
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]
    if stripped:
        _strip(bundle / "models/model.ts")


def _strip(script: Path) -> None:
    """Take out of TorchScript where its operations were written, as a release does."""
    with zipfile.ZipFile(script) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith(".debug_pkl")}
    with zipfile.ZipFile(script, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


# What breaks a rule in a bundle of this repository, and what the message says.
BROKEN = [
    ("necessary-files", without("LICENSE"), "LICENSE: found no such file"),
    ("necessary-files", without(METADATA), "configs/metadata.json: found no such file"),
    ("preferred-files", without("configs/inference.yaml"), "found no inference config"),
    ("documents", without("docs/data_license.txt"), "docs/data_license.txt: found no such file"),
    ("documents", write("docs/data_license.txt", "\n"), "found an empty file"),
    ("file-names", write("configs/.DS_Store", ""), "configs/.DS_Store: found a file that is left over"),
    ("file-names", write("scratch/a b.txt", ""), "scratch/a b.txt: found a name with other characters"),
    ("file-size", film, "docs/film.gif: found 25.1 MB; expected 25 MB at most"),
    ("large-files", large("large_files: []"), "found no files"),
    ("large-files", large("large_files: [{path: models/model.pt}]"), "path models/model.pt, url None"),
    ("large-files", large("large_files: [{path: a, url: https://b, hash_type: crc}]"), "hash_type crc of a"),
    ("large-files", large("large_files: [{path: LICENSE, url: https://b, hash_val: '0'}]"), "LICENSE: found md5"),
    ("readable-files", write("configs/train.yaml", "stage: [train"), "configs/train.yaml: found while parsing"),
    ("readable-files", write("configs/train.yaml", "- stage"), "found a list; expected a mapping"),
    ("readable-files", write("configs/more.py", "def f(:"), "configs/more.py: found invalid syntax"),
    ("readable-files", write(METADATA, "{"), "configs/metadata.json: found Expecting"),
    ("personal-paths", config("train", lambda c: c.update(dataset_dir="/home/jane/PH2")), "found /home/jane/PH2"),
    ("personal-paths", config("cpu", lambda c: c.update(output_dir="$'/root/runs/' + @stage")), "found /root/runs/"),
    ("personal-paths", config("demo", lambda c: c.update(weights=f"{WORKSPACE}/jane/a.pt")), f"found {WORKSPACE}/jane"),
    ("personal-paths", write("docs/notes.md", r"from C:\Users\jane\PH2"), r"docs/notes.md: found C:\Users"),
    *(
        ("personal-paths", write("docs/notes.md", f"See `{path}`, or https://a.org/mnt/b."), f"found {path}; expected")
        for path in (
            *("file:///home/jane/PH2", "file://server/home/jane", "/mnt/jane/PH2", "/media/jane/disk", "/scratch/jane"),
            *("/private/tmp/a.pt", "/var/folders/xy/T/a.pt", "D:\\scans\\PH2", "e:\\\\scans\\\\PH2", "D:/scans/PH2"),
        )
    ),
    ("inference-keys", config("inference", lambda c: c.pop("device")), "no key device"),
    ("train-keys", config("train", lambda c: c["train"]["trainer"].pop("max_epochs")), "train::trainer::max_epochs"),
    ("train-keys", config("train", lambda c: c.pop("dataset_dir")), "no key dataset_dir"),
    ("evaluate-keys", config("evaluate", lambda c: c.pop("output_dir")), "no key output_dir"),
    (
        "property-names",
        config("inference", lambda c: c["evaluator"].update(postprocessing="@window")),
        "found @window; expected @postprocessing",
    ),
    (
        "property-names",
        config("train", lambda c: c["train"]["handlers"][1].update(interval="@interval")),
        "found @interval; expected @val_interval",
    ),
    ("property-names", config("train", name_validation), "found @interval; expected @val_interval"),
    (
        "config-formats",
        as_json("train", lambda c: c["train"]["trainer"].update(max_epochs=7)),
        "configs/train.yaml: found train::trainer::max_epochs other than in configs/train.json; expected the same",
    ),
    ("config-formats", as_json("cpu", lambda c: c.pop("epochs")), "found epochs other than in configs/cpu.json"),
    ("config-formats", write("configs/demo.yml", "{}"), "configs/demo.yml: found device other than in configs/demo.ya"),
    ("metadata-schema", metadata(lambda m: m.pop("authors")), "'authors' is a required property"),
    ("metadata-schema", metadata(lambda m: m.update(references="a paper")), r"$.references: 'a paper' is not of type"),
    ("metadata-schema", metadata(lambda m: m.update(schema="https://example.org/schema.json")), "found schema https"),
    ("metadata-schema", metadata(lambda m: m.pop("task")), "'task' is a required property"),
    (
        "metadata-schema",
        metadata(lambda m: m["network_data_format"]["inputs"].update(mask={"type": "image"})),
        "$.network_data_format.inputs.mask: 'format' is a required property",
    ),
    ("metadata-keys", metadata(lambda m: m.pop("intended_use")), "no key intended_use"),
    ("version", metadata(lambda m: m.update(version="0.2", changelog={"0.2": "new"})), "found version 0.2; expected"),
    ("version", metadata(lambda m: m.update(version="0.2.0")), "no version 0.2.0 in changelog"),
    ("version", metadata(lambda m: m["changelog"].update({"0.10.0": "new"})), "and later ones in changelog"),
    ("version", metadata(lambda m: m["changelog"].update({"0.1.0": ""})), "changelog of 0.1.0: ''"),
    ("packages", metadata(lambda m: m.update(monai_version=">=1.4")), "found monai >=1.4"),
    ("packages", metadata(lambda m: m["required_packages_version"].update(einops="latest")), "einops latest"),
    (
        "packages",
        metadata(lambda m: m["required_packages_version"].update(PIL="12.0.0")),
        "PIL in required_packages_version",
    ),
    ("packages", metadata(lambda m: m["required_packages_version"].update(torch="2.0.0")), "torch in required"),
    ("packages", metadata(lambda m: m.update(optional_packages_version={"PIL": "1.0.0"})), "PIL in optional"),
    ("licence", write("LICENSE", "all yours"), "LICENSE: found no licence"),
    ("licence", metadata(lambda m: m.update(copyright="ours")), "copyright 'ours'"),
    ("licence", write("docs/README.md", "# Lesions\n"), "docs/README.md: found no section License"),
    ("eval-metrics", metadata(lambda m: m.update(eval_metrics={"dice": "0.9"})), "dice '0.9'"),
    ("eval-metrics", metadata(lambda m: m.update(eval_metrics={"dice": float("nan")})), "dice nan"),
    ("tensor-formats", metadata(lambda m: m["network_data_format"]["outputs"].clear()), "no outputs pred"),
    ("tensor-formats", tensor("inputs", type="picture"), "inputs image: type 'picture'"),
    ("tensor-formats", tensor("outputs", format="mask"), "outputs pred: format 'mask'"),
    ("tensor-formats", tensor("inputs", dtype="float33"), "dtype 'float33'"),
    ("tensor-formats", tensor("inputs", value_range=[1, 0]), "value_range [1, 0]"),
    ("tensor-formats", tensor("inputs", spatial_shape=["16*m", "16*m"]), "spatial_shape ['16*m', '16*m']"),
    *(
        ("tensor-formats", tensor("inputs", spatial_shape=[term, 16]), f"spatial_shape ['{term}', 16]")
        for term in ("n n", "(n", "n(2)", "16n", "n//", "16", "n/(n-1)", "n-1", "")
    ),
    ("tensor-formats", tensor("outputs", channel_def={"1": "lesion"}), "channel_def {'1': 'lesion'}"),
    ("network-format", tensor("outputs", num_channels=1, channel_def={"0": "lesion"}), "doesn't match: `1`"),
    ("network-format", tensor("outputs", dtype="int64"), "dtype of output data"),
    ("network-format", tensor("inputs", spatial_shape=["15*n", "15*n"]), "must be divisible by the patch size"),
    ("network-format", tensor("outputs", spatial_shape=["8*n", "8*n"]), "a prediction of size [32, 32]"),
    ("network-format", tensor("outputs", value_range=[0, 0.001]), "0 to 0.001, by value_range of pred"),
]
# The same of a release.
BROKEN_RELEASE = [
    ("preferred-files", without("models/model.pt"), "models/model.pt: found no such file"),
    ("readable-files", write("models/model.onnx", "no network"), "models/model.onnx: found something else than ONNX"),
    ("personal-paths", script_with_a_home, "models/model.ts:model/extra/inference.json: found /home/jane/scans"),
    ("personal-paths", script_with_sources, ".debug_pkl: found /"),
    ("personal-paths", script_with_sources, "/ph2_segmentation/scripts/network.py; expected a path below"),
    ("personal-paths", onnx_of("/home/jane/network.py"), "models/model.onnx: found /home/jane/network.py"),
    ("personal-paths", onnx_of("/opt/jane/network.py"), "models/model.onnx: found /opt/jane/network.py"),
    (
        "self-contained",
        config("inference", lambda c: c.update(network="$common.files.weights.load_weights(@network_def, 'a')")),
        "names the package common",
    ),
    ("self-contained", config("inference", lambda c: c["imports"].append("$import scripts.gone as g")), "scripts.gone"),
    ("self-contained", write("scripts/more.py", "import scipy.ndimage\n"), "scripts/more.py: found imports scipy"),
    ("eval-metrics", metadata(lambda m: m.update(eval_metrics={})), "found no eval_metrics"),
    ("torchscript", script_of_other_weights, "models/model.ts: found TorchScript that differs by"),
    ("torchscript", lambda bundle: torch.save({}, bundle / "models/model.pt"), "Missing key(s)"),
    (
        "torchscript",
        write("scripts/network.py", NETWORK.replace("return self", "images = rearrange(images, 'b c y x -> b c y x')\n"
              "        exec('pass')\n        return self")),
        "expected a network_def that takes the weights and can be exported",
    ),
]  # fmt: skip
