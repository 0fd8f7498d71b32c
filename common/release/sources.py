"""The modules that a release needs: found by what its configs and they themselves import, renamed to its package.

What a module imports at its top is needed to import it, and comes along. What a function imports when it is called is
left behind: that is how a module marks what a student does without, such as a teacher or the phantoms of a dataset.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import common
from common.errors import InputError
from common.release.config_text import strings_in
from common.release.configs import PACKAGE

_ROOT = Path(common.__file__).parent
_SOURCE = "common"


def find_modules(configs: Iterable[Any]) -> list[str]:
    """Return the names of the modules that configs need, sorted, packages whose own content they need included.

    Args:
        configs: contents of a release's configs.

    Raises:
        InputError: if a config names a module that does not exist.
    """
    texts = strings_in(list(configs))
    named = {name for text in texts for name in re.findall(rf"\b{PACKAGE}((?:\.[A-Za-z]\w*)+)", text)}
    waiting = sorted(_module_of(_SOURCE + name) for name in named)
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += sorted(_imports(name))
    return sorted(found)


def required_packages(modules: Iterable[str]) -> list[str]:
    """Return the distributions, such as ``pillow``, of which modules import something at their top."""
    distributions = _distributions()
    tops = {top for name in modules for top in _outside(name)}
    return sorted({distributions[top][0].lower() for top in tops if top in distributions})


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()  # takes half a second


def write_modules(modules: Iterable[str], folder: Path) -> None:
    """Write modules to the package ``scripts`` in a folder, with their imports renamed."""
    modules = set(modules)
    for name in sorted(modules):
        path = folder / PACKAGE / _path(name).relative_to(_ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rename_imports(_path(name).read_text(encoding="utf-8")), encoding="utf-8")
    package = folder / PACKAGE
    for directory in [package, *sorted(path for path in package.rglob("*") if path.is_dir())]:
        init = directory / "__init__.py"
        if not init.exists():
            init.write_text('"""Part of a released student; see docs/README.md."""\n', encoding="utf-8")


def rename_imports(source: str) -> str:
    """Return the source of a module in which every reference to ``common`` is one to the release's package."""
    tree = ast.parse(source)
    plain = any(
        alias.name.split(".")[0] == _SOURCE and alias.asname is None
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    )  # ``import common.x`` binds the name common, so that it is used as such
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for node in sorted(_references(tree, plain), key=lambda node: (node.lineno, node.col_offset), reverse=True):
        last = node.lineno if isinstance(node, ast.ImportFrom) else node.end_lineno
        for number in range(last, node.lineno - 1, -1):
            line = lines[number - 1]
            start = node.col_offset if number == node.lineno else 0
            end = node.end_col_offset if number == node.end_lineno else len(line)
            times = 1 if isinstance(node, ast.ImportFrom) else 0  # what is imported may be called common too
            part = re.sub(rb"(?<![\w.])common(?!\w)", PACKAGE.encode(), line[start:end], count=times)
            lines[number - 1] = line[:start] + part + line[end:]
    text = b"".join(lines).decode()
    return re.sub(rf"\b{_SOURCE}\.(?=(?:{'|'.join(_submodules())})\b)", f"{PACKAGE}.", text)  # in strings, comments


def _references(tree: ast.AST, plain: bool) -> Iterator[ast.AST]:
    """Yield the imports from this package, and where its name is used if ``plain``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            if any(alias.name.split(".")[0] == _SOURCE for alias in node.names):
                yield node
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and node.module.split(".")[0] == _SOURCE:
                yield node
        elif isinstance(node, ast.Name) and plain and node.id == _SOURCE:
            yield node


def _submodules() -> list[str]:
    return sorted({path.stem for path in _ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()})


def _path(name: str) -> Path:
    """Return the file of a module or a package."""
    path = _ROOT.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _module_of(name: str) -> str:
    """Return the module that a dotted name, such as that of a class in it, starts with."""
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        module = ".".join(parts[:length])
        if _path(module).is_file():
            return module
    raise InputError(f"a config names {name}, but there is no such module")


def _top_level(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:  # what type checkers alone import stays behind
                yield from _top_level(ast.Module([other], []))
        elif not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _top_level(child)


def _imported(name: str) -> Iterator[str]:
    """Yield the absolute dotted names of what a module imports at its top, names from within modules included."""
    path = _path(name)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in _top_level(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _imports(name: str) -> set[str]:
    inside = {target for target in _imported(name) if target.split(".")[0] == _SOURCE and target != _SOURCE}
    return {_module_of(target) for target in inside}


def _outside(name: str) -> set[str]:
    tops = {target.split(".")[0] for target in _imported(name)}
    return tops - {_SOURCE} - set(sys.stdlib_module_names)
