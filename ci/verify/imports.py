"""What a release imports is in it, or in a package that its metadata name."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import packages_distributions
from typing import Any

from verify.bundle import METADATA, SOURCE, Bundle, Issue, names_source


def self_contained(bundle: Bundle) -> Iterator[Issue]:
    if not bundle.is_release:
        return
    for name, config in bundle.configs.items():
        if names_source(config):
            yield Issue(name, f"names the package {SOURCE}", "nothing but what is in the bundle or can be installed")
    metadata, installed = bundle.configs.get(METADATA, {}), distributions()
    stated = {"monai", "torch", "numpy", *(metadata.get("required_packages_version") or ())}
    for name, module in _imports(bundle):
        top = module.split(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if top == bundle.package:
            path = bundle.root / module.replace(".", "/")
            if not (path.is_dir() or path.with_suffix(".py").is_file()):
                yield Issue(name, f"imports {module}", f"a module {module.replace('.', '/')}.py in the bundle")
        elif not stated.intersection(map(canonical, installed.get(top, [top]))):
            yield Issue(name, f"imports {top}", "a package that required_packages_version names")


@cache
def distributions() -> Mapping[str, Sequence[str]]:
    """Return the installed distributions by the packages that they bring; looked up once, since it takes long."""
    return packages_distributions()


def canonical(name: str) -> str:
    """Return the name of a distribution as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _imports(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Yield the modules that configs and the own code of a release import, each with the file."""
    for name, config in bundle.configs.items():
        for line in config.get("imports", []):
            yield from ((name, module) for module in _imported(str(line).removeprefix("$")))
        for target in (item["_target_"] for item in _components(config) if "." in str(item["_target_"])):
            if target.split(".")[0] == bundle.package:
                yield name, target.rpartition(".")[0]
            else:
                yield name, target.split(".")[0]
    for name in bundle.files:
        if name.split("/")[0] == bundle.package and name.endswith(".py"):
            for module in _imported((bundle.root / name).read_text(encoding="utf-8")):
                yield name, module


def _imported(code: str) -> Iterator[str]:
    """Yield what code imports as it is loaded; what a function imports, it needs when it is called; types never."""
    nodes: list[ast.AST] = [ast.parse(code)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            nodes.extend(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            nodes.extend(ast.iter_child_nodes(node))


def _components(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and "_target_" in value:
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _components(item)
