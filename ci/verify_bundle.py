"""Whether bundles keep the rules of the MONAI Model Zoo: python ci/verify_bundle.py bundles/drive_segmentation dist/…

A bundle is one of this repository or a release. All faults of all bundles are listed, each with the rule that it
breaks; the exit code is 1 if there is any. Nothing is downloaded, and nothing is written into a bundle.

What the Zoo's own continuous integration asks of a bundle (ci/verify_bundle.py and ci/get_bundle_requirements.py of
github.com/Project-MONAI/model-zoo, and its CONTRIBUTING.md), and the rule that asks it here:

- LICENSE and configs/metadata.json are there: necessary-files
- models/model.pt and configs/inference.(json|yaml|yml) are there: preferred-files, the weights in a release only
- every file of large_files.(yml|yaml|json) can be had, and has the checksum given: large-files, of what is on disk
- no other file is larger than 25 MB: file-size
- version and changelog are in the metadata, and the version in the changelog: version
- the metadata fit the schema that they name (monai.bundle.verify_metadata): metadata-schema, by a copy of its demands
- monai_version, pytorch_version, numpy_version and required_packages_version can be given to pip: packages
- the network takes and gives what the metadata say (monai.bundle.verify_net_in_out): network-format
- the weights can be exported (monai.bundle.ckpt_export), and models/model.ts can be loaded: torchscript
- keys have the names that MONAI FL, Label and Deploy look for (CONTRIBUTING.md, monai.bundle.properties):
  inference-keys, train-keys, evaluate-keys, property-names
- no path tells who made the bundle: personal-paths
- a name made of the data and the task: file-names; a page, a licence of the data: documents; a licence: licence

The Zoo takes a config as JSON or as YAML. Where a bundle has both, each is looked at, and they say the same:
config-formats.

Not asked here: that the version is new in the Zoo's list of models, the properties of supported_apps (no bundle names
any), a unit test in the Zoo's repository, black, isort, flake8 and mypy on a release's scripts, and TensorRT.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.metadata
import json
import logging
import math
import re
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import onnx
import torch
import yaml
from google.protobuf.message import DecodeError, Message
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out
from monai.bundle.config_item import ConfigExpression
from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundlePropertyConfig
from torch import nn

SCHEMA = Path(__file__).with_name("metadata_schema.json")
OFFICIAL_SCHEMA = re.compile(
    r"https://(github\.com/Project-MONAI/MONAI-extra-test-data/releases/download/0\.8\.1|project-monai\.github\.io/schema)"
    r"/meta_schema_\d{8}\.json"
)
SUFFIXES = ("json", "yaml", "yml")
SOURCE = "common"  # the package that a bundle of this repository builds on, and a release must do without
MAX_BYTES = 25_000_000
METADATA = "configs/metadata.json"
GRAPH = "models/model.onnx"
TOLERANCE = 1e-4

# What the Zoo's bundles have beside what the schema demands: a model browser and MONAI Label show it.
METADATA_KEYS = (
    *("name", "changelog", "data_source", "data_type", "image_classes", "label_classes", "pred_classes"),
    *("eval_metrics", "intended_use", "references"),
)
KEYS = {
    "inference": (
        *("bundle_root", "device", "dataset_dir", "output_dir", "network_def", "inferer", "evaluator", "run"),
        *("dataset", "dataset::data", "preprocessing", "postprocessing", "handlers"),
    ),
    "train": (
        *("bundle_root", "device", "dataset_dir", "output_dir", "network_def", "run"),
        *("train::trainer", "train::trainer::max_epochs", "train::dataset", "train::dataset::data", "train::handlers"),
        *("train::preprocessing", "train::inferer", "train::key_metric"),
        *("validate::evaluator", "validate::handlers", "validate::dataset", "validate::dataset::data"),
        *("validate::preprocessing", "validate::postprocessing", "validate::inferer", "validate::key_metric"),
    ),
    "evaluate": (
        *("bundle_root", "device", "dataset_dir", "output_dir", "network_def", "run"),
        *("validate::evaluator", "validate::handlers", "validate::dataset", "validate::dataset::data"),
        *("validate::preprocessing", "validate::postprocessing", "validate::inferer", "validate::key_metric"),
    ),
}
PROPERTIES = {"inference": InferProperties, "train": TrainProperties, "evaluate": TrainProperties}
# The MONAI Bundle Specification's names for what a tensor is.
TENSOR_TYPES = ("image", "series", "tuples", "probabilities")
TENSOR_FORMATS = (
    *("magnitude", "hounsfield", "kspace", "raw", "labels", "classes", "segmentation", "points", "normals"),
    *("indices", "sequence", "latent", "gradient"),
)
# Homes of users, where disks are mounted and temporary files go, drives of Windows, and where a container is mounted;
# the Zoo's own example is /workspace/data.
PERSONAL = re.compile(
    r"(?<![\w./])(?:file://[\w.-]*)?"
    r"(/home/|/Users/|/root\b|/mnt/|/media/|/scratch/|/tmp/|/private/|/var/(folders|tmp)/|/workspace\b(?!/data\b)|~/"
    r"|[A-Za-z]:(\\+|/(?!/))(?=\w))[\w./\\-]*"
)
SOURCE_PATH = re.compile(r"(?<![\w./])/[\w./+-]+\.py")  # where a network was written, as exports of it may say
LEFTOVERS = re.compile(r"__pycache__|\.pyc$|^\.|events\.out\.tfevents|\.(partial|outdated|tmp|bak|orig)$")
HASHES = ("md5", "sha1", "sha256", "sha512")


class Fault(NamedTuple):
    """What breaks a rule: the file, what was found in it, and what was expected."""

    file: str
    found: str
    expected: str


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. Its configs are those that can be read; ``unreadable`` says why the others cannot."""

    root: Path
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in sorted(self.root.glob("configs/*")):
            if path.suffix.removeprefix(".") in SUFFIXES:
                self._read(path)

    def _read(self, path: Path) -> None:
        name = path.relative_to(self.root).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
            content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        except (ValueError, yaml.YAMLError) as error:
            self.unreadable[name] = " ".join(str(error).split())
            return
        if isinstance(content, dict):
            self.configs[name] = content
        else:
            self.unreadable[name] = f"a {type(content).__name__}"

    @property
    def metadata(self) -> dict[str, Any]:
        return self.configs[METADATA]

    def find_all(self, name: str, folder: str = "configs/") -> list[str]:
        """Return the paths of a config in the bundle, one for each suffix that it is there with."""
        paths = [f"{folder}{name}.{suffix}" for suffix in SUFFIXES]
        return [path for path in paths if (self.root / path).is_file()]

    def find(self, name: str, folder: str = "configs/") -> str | None:
        """Return the path of a config in the bundle, the one that tools take that read JSON first."""
        return next(iter(self.find_all(name, folder)), None)

    @cached_property
    def is_release(self) -> bool:
        """Whether the bundle has to do without this repository."""
        return (self.root / "scripts").is_dir() or not any(_names_source(config) for config in self.configs.values())

    @cached_property
    def files(self) -> list[str]:
        """The files of the bundle. What stages wrote into one of this repository is none of them."""
        outputs = () if self.is_release else ("models/", "eval/", "runs/", "masks/")
        paths = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return sorted(path for path in paths if not path.startswith(outputs))

    @cached_property
    def large_files(self) -> list[dict[str, Any]]:
        """The entries of large_files.yml that are mappings."""
        path = self.find("large_files", folder="")
        content = ConfigParser.load_config_file(str(self.root / path)) if path else {}
        return [entry for entry in content.get("large_files") or [] if isinstance(entry, dict)]

    @property
    def weights(self) -> Path:
        return self.root / "models/model.pt"

    def parser(self, name: str = "inference") -> ConfigParser:
        """Return a config, with the metadata, ready to be evaluated."""
        parser = ConfigParser()
        parser.read_config(str(self.root / self.find(name)))
        parser.read_meta(str(self.root / METADATA))
        parser["bundle_root"] = str(self.root)
        return parser


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(item)


def _names_source(config: dict[str, Any]) -> bool:
    return any(re.search(rf"(?<![\w./@]){SOURCE}\.\w", text) for text in _strings(config))


# Files


def necessary_files(bundle: Bundle) -> Iterator[Fault]:
    for name in ("LICENSE", METADATA):
        if not (bundle.root / name).is_file():
            yield Fault(name, "no such file", "a file of this name")


def preferred_files(bundle: Bundle) -> Iterator[Fault]:
    if bundle.find("inference") is None:
        yield Fault("configs", "no inference config", "inference.json, inference.yaml or inference.yml")
    listed = {entry.get("path") for entry in bundle.large_files}
    if bundle.is_release and not bundle.weights.is_file() and "models/model.pt" not in listed:
        yield Fault("models/model.pt", "no such file", "the weights, or where to get them in large_files.yml")


def documents(bundle: Bundle) -> Iterator[Fault]:
    contents = {"docs/README.md": "what the model is for", "docs/data_license.txt": "the terms of the data"}
    for name, content in contents.items():
        path = bundle.root / name
        if not path.is_file():
            yield Fault(name, "no such file", content)
        elif not path.read_text(encoding="utf-8").strip():
            yield Fault(name, "an empty file", content)


def file_names(bundle: Bundle) -> Iterator[Fault]:
    if not re.fullmatch(r"[a-z]\w*_[A-Za-z0-9]\w*", bundle.root.name):
        yield Fault(".", bundle.root.name, "a name made of the data and the task, such as spleen_ct_segmentation")
    for name in bundle.files:
        if any(LEFTOVERS.search(part) for part in name.split("/")):
            yield Fault(name, "a file that is left over", "nothing but what belongs to the bundle")
        elif not re.fullmatch(r"[\w./-]+", name, re.ASCII):
            yield Fault(name, "a name with other characters", "letters, digits, '_', '-' and '.'")


def file_size(bundle: Bundle) -> Iterator[Fault]:
    listed = {entry.get("path") for entry in bundle.large_files}
    for name in bundle.files:
        size = (bundle.root / name).stat().st_size
        if size > MAX_BYTES and name not in listed:
            yield Fault(name, f"{size / 1e6:.1f} MB", "25 MB at most, or an entry in large_files.yml")


def large_files(bundle: Bundle) -> Iterator[Fault]:
    name = bundle.find("large_files", folder="")
    if name is not None and not bundle.large_files:
        yield Fault(name, "no files", "a list large_files with a path and a url of each")
    for entry in bundle.large_files:
        path, kind, digest = entry.get("path"), entry.get("hash_type") or "md5", entry.get("hash_val")
        if not path or not re.match(r"https?://", str(entry.get("url"))):
            yield Fault(name, f"path {path}, url {entry.get('url')}", "the path in the bundle, and where to get it")
        elif kind not in HASHES:
            yield Fault(name, f"hash_type {kind} of {path}", f"one of {', '.join(HASHES)}")
        elif digest and (bundle.root / path).is_file():
            found = hashlib.new(kind, (bundle.root / path).read_bytes()).hexdigest()
            if found != digest:
                yield Fault(path, f"{kind} {found}", f"{kind} {digest}, as in {name}")


def readable_files(bundle: Bundle) -> Iterator[Fault]:
    for name, error in bundle.unreadable.items():
        yield Fault(name, error, "a mapping in JSON or YAML")
    for name in (name for name in bundle.files if name.endswith(".py")):
        try:
            ast.parse((bundle.root / name).read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError) as error:
            yield Fault(name, str(error), "a module of Python")
    if (bundle.root / GRAPH).is_file() and _read_graph(bundle) is None:
        yield Fault(GRAPH, "something else than ONNX", "a network in ONNX")


def personal_paths(bundle: Bundle) -> Iterator[Fault]:
    texts = {name: bundle.root / name for name in bundle.files if name.startswith(("configs/", "docs/", "scripts/"))}
    for name, path in texts.items():
        if path.suffix in (".json", ".yaml", ".yml", ".md", ".txt", ".py", ".conf"):
            yield from _personal_paths(name, path.read_text(encoding="utf-8"), PERSONAL)
    for name, text in _exported_texts(bundle):
        yield from _personal_paths(name, text, PERSONAL, SOURCE_PATH)


def _exported_texts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Yield what can be read in the exports of a network, with a name of the place; not its weights."""
    script = bundle.root / "models/model.ts"
    if script.is_file() and zipfile.is_zipfile(script):
        with zipfile.ZipFile(script) as archive:
            for member in archive.namelist():
                if not re.search(r"/(data|constants)/\d+$", member):
                    yield f"models/model.ts:{member}", archive.read(member).decode("utf-8", errors="replace")
    graph = _read_graph(bundle)
    if graph is not None:
        yield from ((GRAPH, text) for text in _message_texts(graph))


def _read_graph(bundle: Bundle) -> onnx.ModelProto | None:
    """Return the network in ONNX, or None where there is none that can be read."""
    try:
        return onnx.load(bundle.root / GRAPH, load_external_data=False)
    except (FileNotFoundError, DecodeError):
        return None


def _message_texts(message: Message) -> Iterator[str]:
    for kind, value in message.ListFields():
        for item in [value] if isinstance(value, (str, bytes, int, float, Message)) else value:
            if isinstance(item, Message):
                yield from _message_texts(item)
            elif isinstance(item, str):
                yield item
            elif isinstance(item, bytes) and kind.name != "raw_data":
                yield item.decode("utf-8", errors="replace")


def _personal_paths(name: str, text: str, *patterns: re.Pattern[str]) -> Iterator[Fault]:
    for path in sorted({match[0] for pattern in patterns for match in pattern.finditer(text)}):
        yield Fault(name, path, "a path below @bundle_root, or one that names nobody, such as /data")


def self_contained(bundle: Bundle) -> Iterator[Fault]:
    if not bundle.is_release:
        return
    for name, config in bundle.configs.items():
        if _names_source(config):
            yield Fault(name, f"names the package {SOURCE}", "nothing but what is in the bundle or can be installed")
    metadata, installed = bundle.configs.get(METADATA, {}), importlib.metadata.packages_distributions()
    stated = {"monai", "torch", "numpy", *(metadata.get("required_packages_version") or ())}
    for name, module in _imports(bundle):
        top = module.split(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if top == "scripts":
            path = bundle.root / module.replace(".", "/")
            if not (path.is_dir() or path.with_suffix(".py").is_file()):
                yield Fault(name, f"imports {module}", f"a module {module.replace('.', '/')}.py in the bundle")
        elif not stated.intersection(map(_canonical, installed.get(top, [top]))):
            yield Fault(name, f"imports {top}", "a package that required_packages_version names")


def _imports(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Yield the modules that configs and scripts of a release import, each with the file."""
    for name, config in bundle.configs.items():
        for line in config.get("imports", []):
            yield from ((name, module) for module in _imported(str(line).removeprefix("$")))
        for target in (item["_target_"] for item in _components(config) if "." in str(item["_target_"])):
            if target.startswith("scripts."):
                yield name, target.rpartition(".")[0]
            else:
                yield name, target.split(".")[0]
    for name in bundle.files:
        if name.startswith("scripts/") and name.endswith(".py"):
            for module in _imported((bundle.root / name).read_text(encoding="utf-8")):
                yield name, module


def _imported(code: str) -> Iterator[str]:
    """Yield what code imports as it is loaded; what a function imports, it needs only when it is called."""
    nodes: list[ast.AST] = [ast.parse(code)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            nodes.extend(ast.iter_child_nodes(node))


def _components(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and "_target_" in value:
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _components(item)


# Names of keys


def _keys_of(name: str) -> Callable[[Bundle], Iterator[Fault]]:
    def check(bundle: Bundle) -> Iterator[Fault]:
        for path in bundle.find_all(name):
            parser = ConfigParser(bundle.configs[path])
            for key in KEYS[name]:
                if key not in parser:
                    yield Fault(path, f"no key {key}", "a key of this name")

    return check


def property_names(bundle: Bundle) -> Iterator[Fault]:
    """What MONAI looks up by name is what the workflow uses: ``train::trainer::inferer`` is ``@train::inferer``."""
    for path, properties in ((path, PROPERTIES[name]) for name in PROPERTIES for path in bundle.find_all(name)):
        if path not in bundle.configs:
            continue
        parser = ConfigParser(bundle.configs[path])
        links = [
            (item[BundlePropertyConfig.ID], parser.get(item[BundlePropertyConfig.REF_ID]))
            for item in properties.values()
            if item.get(BundlePropertyConfig.REF_ID) not in (None, "validator", "interval")  # arguments of a handler
        ]
        for handler in parser.get("train::handlers") or []:
            if isinstance(handler, dict) and handler.get("_target_") == "ValidationHandler":
                links += [("validate::evaluator", handler.get("validator")), ("val_interval", handler.get("interval"))]
        for key, used in links:
            if isinstance(used, str) and not ConfigExpression.is_expression(used) and used != f"@{key}":
                yield Fault(path, used, f"@{key}, the name that MONAI looks for")


def config_formats(bundle: Bundle) -> Iterator[Fault]:
    for name in sorted({Path(path).stem for path in bundle.configs}):
        first, *others = [path for path in bundle.find_all(name) if path in bundle.configs]
        for other in others:
            for key in _differing(bundle.configs[first], bundle.configs[other]):
                yield Fault(other, f"{key} other than in {first}", "the same in both, since tools read one of them")


def _differing(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield the paths at which two configs differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            if key in one and key in other:
                yield from _differing(one[key], other[key], f"{path}{key}::")
            else:
                yield f"{path}{key}"
    elif one != other:
        yield path.removesuffix("::")


# Metadata


def metadata_schema(bundle: Bundle) -> Iterator[Fault]:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for error in jsonschema.Draft201909Validator(schema).iter_errors(bundle.metadata):
        yield Fault(METADATA, f"{error.json_path}: {error.message}", "what the schema demands")
    url = bundle.metadata.get("schema")
    if url is not None and not OFFICIAL_SCHEMA.fullmatch(str(url)):
        yield Fault(METADATA, f"schema {url}", "the URL of an official schema, meta_schema_<date>.json")


def metadata_keys(bundle: Bundle) -> Iterator[Fault]:
    for key in METADATA_KEYS:
        if key not in bundle.metadata:
            yield Fault(METADATA, f"no key {key}", "a key of this name")


def version(bundle: Bundle) -> Iterator[Fault]:
    latest, changes = bundle.metadata.get("version"), bundle.metadata.get("changelog")
    changes = changes if isinstance(changes, dict) else {}
    odd = [name for name in (latest, *changes) if not re.fullmatch(r"\d+\.\d+\.\d+", str(name))]
    for name in odd:
        yield Fault(METADATA, f"version {name}", "numbers of the form x.y.z")
    if latest not in changes:
        yield Fault(METADATA, f"no version {latest} in changelog", "a line that says what is new in it")
    elif not odd and latest != max(changes, key=lambda name: [int(number) for number in name.split(".")]):
        yield Fault(METADATA, f"version {latest}, and later ones in changelog", "the latest version of the changelog")
    for name, change in changes.items():
        if not (isinstance(change, str) and change.strip()):
            yield Fault(METADATA, f"changelog of {name}: {change!r}", "a line that says what is new in it")


def packages(bundle: Bundle) -> Iterator[Fault]:
    metadata = bundle.metadata
    stated = {"monai": metadata.get("monai_version"), "torch": metadata.get("pytorch_version")}
    stated |= {"numpy": metadata.get("numpy_version")}
    distributions = importlib.metadata.packages_distributions().values()
    installed = {_canonical(name) for names in distributions for name in names}
    others = {}
    for key in ("required_packages_version", "optional_packages_version"):  # pip is given both
        listed = metadata.get(key)
        for name, number in listed.items() if isinstance(listed, dict) else ():
            others[name] = number
            if name in stated:
                yield Fault(METADATA, f"{name} in {key}", "its version in a key of its own")
            elif name not in installed:
                yield Fault(METADATA, f"{name} in {key}", "a package that is installed, by the name that pip knows")
    for name, number in {**stated, **others}.items():
        if not re.fullmatch(r"\d+(\.\d+){1,3}", str(number)):
            yield Fault(METADATA, f"{name} {number}", "one released version, such as 1.4.0, for pip to install")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(bundle: Bundle) -> Iterator[Fault]:
    if (bundle.root / "LICENSE").is_file():
        text = (bundle.root / "LICENSE").read_text(encoding="utf-8")
        if not re.search(r"licen[cs]e", text, re.IGNORECASE):
            yield Fault("LICENSE", "no licence", "the text of a licence")
    notice = bundle.configs.get(METADATA, {}).get("copyright", "")
    if not re.match(r"Copyright\b.*\w", str(notice)):
        yield Fault(METADATA, f"copyright {notice!r}", "a line that starts with Copyright and says whose")
    page = bundle.root / "docs/README.md"
    if page.is_file() and not re.search(r"(?im)^#+ Licen[cs]e", page.read_text(encoding="utf-8")):
        yield Fault("docs/README.md", "no section License", "a section that names the licence")


def eval_metrics(bundle: Bundle) -> Iterator[Fault]:
    metrics = bundle.metadata.get("eval_metrics")
    if not isinstance(metrics, dict):
        yield Fault(METADATA, f"eval_metrics {metrics!r}", "a score by the name of each metric")
        return
    if bundle.is_release and not metrics:
        yield Fault(METADATA, "no eval_metrics", "the scores of the weights that are released")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            yield Fault(METADATA, f"eval_metrics: {name} {value!r}", "a number")


def tensor_formats(bundle: Bundle) -> Iterator[Fault]:
    for way, name in (("inputs", "image"), ("outputs", "pred")):
        tensor = ConfigParser(bundle.metadata).get(f"network_data_format::{way}::{name}")
        if not isinstance(tensor, dict):
            yield Fault(METADATA, f"no {way} {name}", "a tensor of this name, which MONAI's own check looks for")
            continue
        for key, expected, holds in _TENSOR_RULES:
            value = tensor.get(key)
            if not holds(value, tensor):
                yield Fault(METADATA, f"{way} {name}: {key} {value!r}", expected)
        if way == "inputs" and not tensor.get("modality"):
            yield Fault(METADATA, "inputs image: no modality", "how the images were taken, such as MR, CT or US")


def _is_range(value: Any, _: dict) -> bool:
    numbers = value if isinstance(value, list) and all(isinstance(item, (int, float)) for item in value) else [0]
    return not numbers or (len(numbers) == 2 and numbers[0] < numbers[1])


def _is_shape(value: Any, _: dict) -> bool:
    if not (isinstance(value, list) and 1 <= len(value) <= 3):
        return False
    return all(size > 0 if isinstance(size, int) else size == "*" or _is_term(str(size)) for size in value)


def _is_term(text: str) -> bool:
    if not (re.fullmatch(r"[\d\s()*+/np-]+", text) and re.search("[np]", text)):
        return False
    try:
        return _value_of(text, 1) >= 1
    except (SyntaxError, TypeError, ZeroDivisionError):
        return False


def _value_of(term: str, size: int) -> float:
    """Return the value of a term of numbers, n and p, which both stand for one size."""
    return eval(term, {"__builtins__": {}}, {"n": size, "p": size})


def _is_dtype(value: Any, _: dict) -> bool:
    return isinstance(getattr(torch, str(value), None), torch.dtype)


def _names_channels(value: Any, tensor: dict) -> bool:
    count = tensor.get("num_channels")
    return isinstance(value, dict) and isinstance(count, int) and list(value) == [str(each) for each in range(count)]


_TENSOR_RULES = (
    ("type", f"one of {', '.join(TENSOR_TYPES)}", lambda value, _: value in TENSOR_TYPES),
    ("format", f"one of {', '.join(TENSOR_FORMATS)}", lambda value, _: value in TENSOR_FORMATS),
    ("num_channels", "a positive number", lambda value, _: isinstance(value, int) and value > 0),
    ("spatial_shape", "one to three sizes: numbers, '*', or terms in n and p such as '16*n'", _is_shape),
    ("dtype", "a type of torch, such as float32", _is_dtype),
    ("value_range", "[lowest, highest], or [] where it is not known", _is_range),
    ("is_patch_data", "true or false", lambda value, _: isinstance(value, bool)),
    ("channel_def", "what each channel is, by '0', '1', … num_channels - 1", _names_channels),
)


# The network


def network_format(bundle: Bundle) -> Iterator[Fault]:
    inference = bundle.find("inference")
    try:
        with _importable(bundle):
            for size in (1, 3):
                verify_net_in_out(
                    net_id="network_def",
                    meta_file=str(bundle.root / METADATA),
                    config_file=str(bundle.root / inference),
                    device="cpu",
                    **{"n": size, "p": size, "any": 16 * size, "bundle_root": str(bundle.root)},
                )
            network = bundle.parser().get_parsed_content("network_def").eval()
    except Exception as error:  # whatever the bundle's own code raises is its fault
        yield Fault(inference, _told(error), "a network_def that takes and gives what network_data_format says")
        return
    images, size = _example(bundle)
    with torch.no_grad():
        prediction = network(images)
    if list(prediction.shape[2:]) != size:
        yield Fault(METADATA, f"a prediction of size {list(prediction.shape[2:])}", f"{size}, by spatial_shape of pred")
    if not torch.isfinite(prediction).all():
        yield Fault(inference, "a prediction that is no number", "finite values for every image in value_range")
    low, high = bundle.metadata["network_data_format"]["outputs"]["pred"]["value_range"] or (-math.inf, math.inf)
    if prediction.min() < low or prediction.max() > high:
        found = f"predictions from {prediction.min():.3g} to {prediction.max():.3g}"
        yield Fault(METADATA, found, f"{low} to {high}, by value_range of pred")


def _example(bundle: Bundle, size: int = 2) -> tuple[torch.Tensor, list[int]]:
    """Return images of the shape, type and range that the metadata give, and the size that a prediction should have."""
    formats = bundle.metadata["network_data_format"]
    image, prediction = formats["inputs"]["image"], formats["outputs"]["pred"]

    def sizes(tensor: dict[str, Any]) -> list[int]:
        shape = (16 * size if value == "*" else value for value in tensor["spatial_shape"])
        return [value if isinstance(value, int) else int(_value_of(value, size)) for value in shape]

    low, high = image["value_range"] or (0, 1)
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(1, image["num_channels"], *sizes(image), generator=generator)
    return (low + (high - low) * values).to(getattr(torch, image["dtype"])), sizes(prediction)


def torchscript(bundle: Bundle) -> Iterator[Fault]:
    inference = bundle.find("inference")
    provided = bundle.root / "models/model.ts"
    try:
        with _importable(bundle), tempfile.TemporaryDirectory() as folder:
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
    except Exception as error:  # whatever the bundle's own code raises is its fault
        yield Fault(inference, _told(error), "a network_def that takes the weights and can be exported to TorchScript")


def _differences(bundle: Bundle, network: nn.Module, script: Path, name: str) -> Iterator[Fault]:
    images, _ = _example(bundle)
    exported = torch.jit.load(str(script), map_location="cpu").eval()
    with torch.no_grad():
        difference = (exported(images) - network(images)).abs().max().item()
    if not difference <= TOLERANCE:
        yield Fault(name, f"TorchScript that differs by {difference:.2g}", f"what the weights give, to {TOLERANCE}")


def _told(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextmanager
def _importable(bundle: Bundle) -> Iterator[None]:
    """Let configs import the bundle's ``scripts``, and no other bundle's."""
    sys.path.insert(0, str(bundle.root))
    try:
        yield
    finally:
        sys.path.remove(str(bundle.root))
        for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
            del sys.modules[name]


class Rule(NamedTuple):
    """What a bundle must be like.

    It is not asked where that would only say again what another rule has said: without the configs that it ``needs``,
    and of a bundle that breaks a rule that it builds on and comes ``after``.
    """

    check: Callable[[Bundle], Iterator[Fault]]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


RULES = {
    "necessary-files": Rule(necessary_files),
    "preferred-files": Rule(preferred_files),
    "documents": Rule(documents),
    "file-names": Rule(file_names),
    "file-size": Rule(file_size),
    "large-files": Rule(large_files),
    "readable-files": Rule(readable_files),
    "personal-paths": Rule(personal_paths),
    "self-contained": Rule(self_contained, after=("readable-files",)),
    "inference-keys": Rule(_keys_of("inference"), ("inference",)),
    "train-keys": Rule(_keys_of("train"), ("train",)),
    "evaluate-keys": Rule(_keys_of("evaluate"), ("evaluate",)),
    "property-names": Rule(property_names),
    "config-formats": Rule(config_formats),
    "metadata-schema": Rule(metadata_schema, ("metadata",)),
    "metadata-keys": Rule(metadata_keys, ("metadata",)),
    "version": Rule(version, ("metadata",)),
    "packages": Rule(packages, ("metadata",)),
    "licence": Rule(licence, ("metadata",)),
    "eval-metrics": Rule(eval_metrics, ("metadata",)),
    "tensor-formats": Rule(tensor_formats, ("metadata",)),
    "network-format": Rule(network_format, ("metadata", "inference"), after=("tensor-formats",)),
    "torchscript": Rule(torchscript, ("metadata", "inference"), after=("tensor-formats", "network-format")),
}


def verify(bundle_root: Path) -> dict[str, list[Fault]]:
    """Return the faults of a bundle by the rule that they break; rules that are kept are not in it."""
    bundle = Bundle(bundle_root.resolve())
    faults: dict[str, list[Fault]] = {}
    with _quiet():
        for name, rule in RULES.items():
            needed = [bundle.find_all(config) for config in rule.needs]
            readable = all(paths and bundle.configs.keys() >= set(paths) for paths in needed)
            if readable and not faults.keys() & set(rule.after):
                found = list(rule.check(bundle))
                if found:
                    faults[name] = found
    return faults


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def main() -> None:
    """Verify the bundles that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="folder of a bundle or a release")
    bundles = parser.parse_args().bundles
    strangers = [str(bundle) for bundle in bundles if not (bundle / "configs").is_dir()]
    if strangers:
        sys.exit(f"error: {', '.join(strangers)}: no bundle; expected a folder with configs/")
    broken = False
    for bundle in bundles:
        faults = verify(bundle)
        broken |= bool(faults)
        for rule, found in faults.items():
            for fault in found:
                print(f"{bundle}: {rule}: {fault.file}: found {fault.found}; expected {fault.expected}", flush=True)
        if not faults:
            print(f"{bundle}: all {len(RULES)} rules are kept", flush=True)
    sys.exit(int(broken))


if __name__ == "__main__":
    main()
