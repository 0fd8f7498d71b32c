"""Which files a bundle has: necessary ones, none that is left over, none that is too large, all of them readable."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verify.bundle import METADATA, Bundle, Issue
from verify.paths import GRAPH, read_graph

_MAX_BYTES = 25_000_000
_LEFTOVERS = re.compile(r"__pycache__|\.pyc$|^\.|events\.out\.tfevents|\.(partial|outdated|tmp|bak|orig)$")
_HASHES = ("md5", "sha1", "sha256", "sha512")


def necessary_files(bundle: Bundle) -> Iterator[Issue]:
    for name in ("LICENSE", METADATA):
        if not (bundle.root / name).is_file():
            yield Issue(name, "no such file", "a file of this name")


def preferred_files(bundle: Bundle) -> Iterator[Issue]:
    if bundle.find("inference") is None:
        yield Issue("configs", "no inference config", "inference.json, inference.yaml or inference.yml")
    listed = {entry.get("path") for entry in bundle.large_files}
    if bundle.is_release and not bundle.weights.is_file() and "models/model.pt" not in listed:
        yield Issue("models/model.pt", "no such file", "the weights, or where to get them in large_files.yml")


def documents(bundle: Bundle) -> Iterator[Issue]:
    contents = {"docs/README.md": "what the model is for", "docs/data_license.txt": "the terms of the data"}
    for name, content in contents.items():
        path = bundle.root / name
        if not path.is_file():
            yield Issue(name, "no such file", content)
        elif not path.read_text(encoding="utf-8").strip():
            yield Issue(name, "an empty file", content)


def file_names(bundle: Bundle) -> Iterator[Issue]:
    if not re.fullmatch(r"[a-z]\w*_[A-Za-z0-9]\w*", bundle.root.name):
        yield Issue(".", bundle.root.name, "a name made of the data and the task, such as spleen_ct_segmentation")
    for name in bundle.files:
        if any(_LEFTOVERS.search(part) for part in name.split("/")):
            yield Issue(name, "a file that is left over", "nothing but what belongs to the bundle")
        elif not re.fullmatch(r"[\w./-]+", name, re.ASCII):
            yield Issue(name, "a name with other characters", "letters, digits, '_', '-' and '.'")


def file_size(bundle: Bundle) -> Iterator[Issue]:
    listed = {entry.get("path") for entry in bundle.large_files}
    for name in bundle.files:
        size = (bundle.root / name).stat().st_size
        if size > _MAX_BYTES and name not in listed:
            yield Issue(name, f"{size / 1e6:.1f} MB", "25 MB at most, or an entry in large_files.yml")


def large_files(bundle: Bundle) -> Iterator[Issue]:
    name = bundle.find("large_files", folder="")
    if name is not None and not bundle.large_files:
        yield Issue(name, "no files", "a list large_files with a path and a url of each")
    for entry in bundle.large_files:
        path, kind, digest = entry.get("path"), entry.get("hash_type") or "md5", entry.get("hash_val")
        if not path or not re.match(r"https?://", str(entry.get("url"))):
            yield Issue(name, f"path {path}, url {entry.get('url')}", "the path in the bundle, and where to get it")
        elif kind not in _HASHES:
            yield Issue(name, f"hash_type {kind} of {path}", f"one of {', '.join(_HASHES)}")
        elif digest and (bundle.root / path).is_file():
            found = hashlib.new(kind, (bundle.root / path).read_bytes()).hexdigest()
            if found != digest:
                yield Issue(path, f"{kind} {found}", f"{kind} {digest}, as in {name}")


def readable_files(bundle: Bundle) -> Iterator[Issue]:
    for name, error in bundle.unreadable.items():
        yield Issue(name, error, "a mapping in JSON or YAML")
    for name in (name for name in bundle.files if name.endswith(".py")):
        try:
            ast.parse((bundle.root / name).read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError) as error:
            yield Issue(name, str(error), "a module of Python")
    if (bundle.root / GRAPH).is_file() and read_graph(bundle) is None:
        yield Issue(GRAPH, "something else than ONNX", "a network in ONNX")


def config_formats(bundle: Bundle) -> Iterator[Issue]:
    """The Zoo takes a config as JSON or as YAML; where a bundle has both, they must say the same."""
    for name in sorted({Path(path).stem for path in bundle.configs}):
        first, *others = [path for path in bundle.find_all(name) if path in bundle.configs]
        for other in others:
            for key in _differing(bundle.configs[first], bundle.configs[other]):
                yield Issue(other, f"{key} other than in {first}", "the same in both, since tools read one of them")


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
